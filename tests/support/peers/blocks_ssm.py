"""Blocks of Mamba, Mamba-2, Griffin and Hawk, and language models of them.

The modules of transformers take their parameters under their own names; which those are, the tables of
`lsrl.checkpoints` say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import transformers.models.mamba.modeling_mamba as hf_mamba
import transformers.models.mamba2.modeling_mamba2 as hf_mamba2
import transformers.models.recurrent_gemma.modeling_recurrent_gemma as hf_gemma
from torch.nn.functional import conv1d as torch_conv1d
from torch.nn.functional import pad

from lsrl.checkpoints.convert import source_of
from lsrl.checkpoints.mamba import MAMBA
from lsrl.checkpoints.mamba2 import MAMBA2
from lsrl.checkpoints.recurrent_gemma import GRIFFIN, HAWK
from lsrl.checkpoints.table import Architecture
from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors


@contextmanager
def gemma_in_double() -> Iterator[None]:
    """RecurrentGemma in float64, with the precision that its recurrence has by default."""
    scan = hf_gemma.RecurrentGemmaRglru._rnn_scan
    with in_double(hf_gemma), mock.patch.object(scan, "__defaults__", (torch.float64,)):
        yield


def theirs(
    table: Architecture, module: torch.nn.Module, params: Tensors, ours: str, place: str, config: Mapping[str, Any]
) -> Tensors:
    """Parameters of the part of our model below `ours`, under the names of their module, which lies at `place`."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    tensors = {}
    for name, tensor in params.items():
        if ours + name not in table.computed:
            theirs_name = source_of(table, config, ours + name).tensor.removeprefix(place)
            tensors[theirs_name] = tensor.reshape(shapes[theirs_name])
    return tensors


def conv1d(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"].transpose(1, 2)
    padded = pad(x, (given.sizes["K"] - 1, 0))
    return {"y": torch_conv1d(padded, p["weight"][:, None], p["bias"], groups=x.shape[1]).transpose(1, 2)}


def mamba_config(given: Given) -> hf_mamba.MambaConfig:
    s = given.sizes
    return hf_mamba.MambaConfig(
        vocab_size=s.get("vocab", 1),
        hidden_size=s["d_model"],
        num_hidden_layers=s.get("n_layer", 1),
        expand=s["d_inner"] // s["d_model"],
        state_size=s["d_state"],
        time_step_rank=s["dt_rank"],
        conv_kernel=s["d_conv"],
        use_bias=bool(s["bias"]),
        tie_word_embeddings=not s.get("untied", 0),
    )


def mamba2_config(given: Given) -> hf_mamba2.Mamba2Config:
    s = given.sizes
    return hf_mamba2.Mamba2Config(
        vocab_size=s.get("vocab", 1),
        hidden_size=s["d_model"],
        num_hidden_layers=s.get("n_layer", 1),
        expand=s["nheads"] * s["headdim"] // s["d_model"],
        num_heads=s["nheads"],
        head_dim=s["headdim"],
        n_groups=s["ngroups"],
        state_size=s["d_state"],
        conv_kernel=s["d_conv"],
        use_bias=bool(s["bias"]),
        tie_word_embeddings=not s.get("untied", 0),
        chunk_size=4,
    )


def gemma_config(given: Given) -> hf_gemma.RecurrentGemmaConfig:
    s = given.sizes
    return hf_gemma.RecurrentGemmaConfig(
        vocab_size=s.get("V", 1),
        hidden_size=s["D"],
        num_hidden_layers=s.get("L", 3),
        intermediate_size=2 * s.get("F", 1),
        num_attention_heads=s.get("N", 1),
        num_key_value_heads=s.get("G", 1),
        attention_window_size=s.get("W", 1),
        conv1d_width=s.get("K", 4),
        logits_soft_cap=float(s.get("cap", 30)),
        attention_bias=bool(s.get("bias", 0)),
        rope_parameters={"rope_type": "default", "rope_theta": s.get("base", 1), "partial_rotary_factor": 0.5},
        tie_word_embeddings=not s.get("untied", 0),
        block_types=["recurrent", "recurrent", "attention"] if "W" in s else ["recurrent"],
        pad_token_id=None,
    )


def mamba(given: Given) -> Tensors:
    with in_double(hf_mamba):
        layer = hf_mamba.MambaMixer(mamba_config(given), layer_idx=0).double()
        params = theirs(MAMBA, layer, given.params, "layers.0.mixer.", "backbone.layers.0.mixer.", {})
        return {"y": torch.func.functional_call(layer, params, given.inputs["u"])}


def mamba2(given: Given) -> Tensors:
    with in_double(hf_mamba2):
        layer = hf_mamba2.Mamba2Mixer(mamba2_config(given), layer_idx=0).double()
        params = theirs(MAMBA2, layer, given.params, "layers.0.mixer.", "backbone.layers.0.mixer.", {})
        return {"y": torch.func.functional_call(layer, params, given.inputs["u"])}


def griffin_recurrent(given: Given) -> Tensors:
    with gemma_in_double():
        layer = hf_gemma.RecurrentGemmaRecurrentBlock(gemma_config(given), layer_idx=0).double()
        params = theirs(HAWK, layer, given.params, "layers.0.temporal_block.", "model.layers.0.temporal_block.", {})
        arguments = (given.inputs["x"], torch.arange(T)[None], None, False)
        return {"o": torch.func.functional_call(layer, params, arguments)[0]}


def griffin_mlp(given: Given) -> Tensors:
    layer = hf_gemma.RecurrentGemmaMlp(gemma_config(given)).double()
    params = theirs(HAWK, layer, given.params, "layers.0.mlp_block.", "model.layers.0.mlp_block.", {})
    return {"y": torch.func.functional_call(layer, params, given.inputs["x"])}


def window_mask(width: int) -> torch.Tensor:
    """What is added to scores: 0 for the last positions, the one itself among them, else -inf."""
    back = torch.arange(T)[:, None] - torch.arange(T)
    return torch.where((back >= 0) & (back < width), 0.0, -torch.inf).double()[None, None]


def griffin_attention(given: Given) -> Tensors:
    with gemma_in_double():
        layer = hf_gemma.RecurrentGemmaAttention(gemma_config(given), layer_idx=2).double()
        place = ("groups.0.attention.temporal_block.", "model.layers.2.temporal_block.")
        params = theirs(GRIFFIN, layer, given.params, *place, {})
        arguments = (given.inputs["x"], torch.arange(T)[None], window_mask(given.sizes["W"]))
        return {"y": torch.func.functional_call(layer, params, arguments)[0]}


def hawk(given: Given) -> Tensors:
    with gemma_in_double():
        layer = hf_gemma.RecurrentGemmaDecoderLayer(gemma_config(given), 0).double()
        params = theirs(HAWK, layer, given.params, "layers.0.", "model.layers.0.", {})
        arguments = (given.inputs["x"], torch.arange(T)[None], None, False)
        return {"x": torch.func.functional_call(layer, params, arguments)}


def griffin(given: Given) -> Tensors:
    with gemma_in_double():
        config = gemma_config(given)
        layers = [hf_gemma.RecurrentGemmaDecoderLayer(config, turn).double() for turn in range(3)]
        model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList(layers)})
        params = theirs(GRIFFIN, model, given.params, "groups.0.", "model.", {})
        x = given.inputs["x"]
        for turn, layer in enumerate(layers):
            place = f"layers.{turn}."
            own = {name.removeprefix(place): tensor for name, tensor in params.items() if name.startswith(place)}
            x = torch.func.functional_call(layer, own, (x, torch.arange(T)[None], window_mask(given.sizes["W"]), False))
        return {"x": x}


def _logits(table: Architecture, model: torch.nn.Module, given: Given, config: Mapping[str, Any]) -> Tensors:
    """Of a whole model; where the head is the embedding, the package has one tensor under two names."""
    params = theirs(table, model, given.params, "", "", config)
    called = torch.func.functional_call(model, params, given.inputs["token"], {"use_cache": False}, tie_weights=True)
    return {"logits": called.logits}


def mamba_lm(given: Given) -> Tensors:
    with in_double(hf_mamba):
        return _logits(MAMBA, hf_mamba.MambaForCausalLM(mamba_config(given)).double(), given, {})


def mamba2_lm(given: Given) -> Tensors:
    with in_double(hf_mamba2):
        return _logits(MAMBA2, hf_mamba2.Mamba2ForCausalLM(mamba2_config(given)).double(), given, {})


def gemma_lm(table: Architecture, given: Given) -> Tensors:
    """With the scale of embeddings among the parameters, where the package keeps it elsewhere."""
    with gemma_in_double():
        config = gemma_config(given)
        model = hf_gemma.RecurrentGemmaForCausalLM(config).double()
        model.model.normalizer = given.params["normalizer"]
        return _logits(table, model, given, config.to_dict())


def griffin_lm(given: Given) -> Tensors:
    return gemma_lm(GRIFFIN, given)


def hawk_lm(given: Given) -> Tensors:
    return gemma_lm(HAWK, given)


MAMBA_SIZES = {"d_model": 4, "d_inner": 8, "d_state": 3, "dt_rank": 2, "d_conv": 5}
MAMBA2_SIZES = {"d_model": 5, "nheads": 4, "headdim": 5, "d_state": 3, "d_conv": 4}
HEADS = {"N": 2, "P": 4}

ROWS: tuple[Row, ...] = (
    Row("blocks/conv1d", {"C": 3, "K": 4}, "torch.nn.functional.conv1d", conv1d, starts=False),
    Row("blocks/mamba", {**MAMBA_SIZES, "bias": 0}, "transformers.MambaMixer", mamba, starts=False),
    Row("blocks/mamba", {**MAMBA_SIZES, "bias": 1}, "transformers.MambaMixer with biases", mamba, starts=False),
    Row(
        *("blocks/mamba2", {**MAMBA2_SIZES, "ngroups": 1, "bias": 0}),
        *("transformers.Mamba2Mixer", mamba2),
        starts=False,
    ),
    Row(
        *("blocks/mamba2", {**MAMBA2_SIZES, "ngroups": 2, "bias": 1}),
        *("transformers.Mamba2Mixer with groups and biases", mamba2),
        starts=False,
    ),
    Row(
        *("blocks/mamba_lm", {**MAMBA_SIZES, "vocab": 7, "n_layer": 2, "bias": 0, "untied": 0}),
        *("transformers.MambaForCausalLM", mamba_lm),
        starts=False,
    ),
    Row(
        *("blocks/mamba2_lm", {**MAMBA2_SIZES, "vocab": 7, "n_layer": 2, "ngroups": 2, "bias": 0, "untied": 1}),
        *("transformers.Mamba2ForCausalLM", mamba2_lm),
        starts=False,
    ),
    Row(
        *("blocks/griffin_recurrent", {**HEADS, "D": 8, "K": 4}),
        *("transformers.RecurrentGemmaRecurrentBlock", griffin_recurrent),
        starts=False,
    ),
    Row(
        *("blocks/griffin_mlp", {"D": 5, "F": 7}),
        *("transformers.RecurrentGemmaMlp", griffin_mlp),
        starts=False,
    ),
    Row(
        *("blocks/griffin_attention", {**HEADS, "D": 8, "G": 1, "W": 3, "base": 100, "bias": 0}),
        *("transformers.RecurrentGemmaAttention", griffin_attention),
        starts=False,
    ),
    Row(
        *("blocks/griffin_attention", {**HEADS, "D": 8, "G": 2, "W": 4, "base": 100, "bias": 1}),
        *("transformers.RecurrentGemmaAttention with biases", griffin_attention),
        starts=False,
    ),
    Row(
        *("blocks/hawk", {**HEADS, "D": 8, "F": 5, "K": 4}),
        *("transformers.RecurrentGemmaDecoderLayer", hawk),
        starts=False,
    ),
    Row(
        *("blocks/griffin", {**HEADS, "D": 8, "F": 5, "G": 1, "W": 3, "base": 100, "K": 4, "bias": 0}),
        *("transformers.RecurrentGemmaDecoderLayer", griffin),
        starts=False,
    ),
    Row(
        *("blocks/hawk_lm", {**HEADS, "V": 7, "D": 8, "L": 2, "F": 5, "K": 4, "cap": 3, "untied": 1}),
        *("transformers.RecurrentGemmaForCausalLM", hawk_lm),
        starts=False,
    ),
    Row(
        "blocks/griffin_lm",
        {**HEADS, "V": 7, "D": 8, "L": 4, "F": 5, "G": 1, "W": 3, "base": 9, "K": 4, "cap": 3, "bias": 0, "untied": 0},
        *("transformers.RecurrentGemmaForCausalLM", griffin_lm),
        starts=False,
    ),
)
