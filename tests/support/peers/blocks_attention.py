"""Blocks of RWKV, xLSTM and gated linear attention."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import ModuleType
from unittest import mock

import fla.ops.gla.naive as fla_gla
import mlstm_kernels.torch.chunkwise.native.fw as xlstm_kernel
import torch
import torch.nn.functional as F
import transformers.models.kimi_linear.modeling_kimi_linear as hf_kimi
import transformers.models.olmo_hybrid.modeling_olmo_hybrid as hf_olmo
import transformers.models.rwkv.modeling_rwkv as hf_rwkv
import transformers.models.xlstm.modeling_xlstm as hf_xlstm
import xlstm.xlstm_large.components as xlstm_components
from xlstm.blocks.mlstm.backends import parallel_stabilized_simple
from xlstm.blocks.mlstm.block import mLSTMBlock, mLSTMBlockConfig
from xlstm.blocks.mlstm.layer import mLSTMLayerConfig
from xlstm.blocks.slstm.block import sLSTMBlock, sLSTMBlockConfig
from xlstm.blocks.slstm.layer import sLSTMLayerConfig
from xlstm.components.feedforward import FeedForwardConfig

from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors, positive


class Slot:
    """A layer's place in the state of a model that overwrites it: what was there stays, for gradients."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __getitem__(self, _: object) -> torch.Tensor:
        return self.tensor

    def __setitem__(self, _: object, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def _rwkv_config(sizes: Mapping[str, int]) -> hf_rwkv.RwkvConfig:
    return hf_rwkv.RwkvConfig(
        vocab_size=sizes.get("V", 2),
        hidden_size=sizes["D"],
        attention_hidden_size=sizes["A"],
        intermediate_size=sizes["I"],
        num_hidden_layers=2,
    )


def _rwkv_weights(params: Tensors) -> Tensors:
    """Parameters of blocks by the package's names."""
    weights = {}
    for name, tensor in params.items():
        path = name.replace("_weight", ".weight").replace("_bias", ".bias").replace("attention.out", "attention.output")
        weights[f"{path}.weight" if tensor.ndim == 2 else path] = tensor[None, None] if "time_mix" in name else tensor
    return weights


def rwkv4(given: Given) -> Tensors:
    block = hf_rwkv.RwkvBlock(_rwkv_config(given.sizes), layer_id=1).double()
    names = ("feed_forward.x[t-1]", "attention.x[t-1]", "attention.a", "attention.b", "attention.m")
    state = [Slot(given.state[name]) for name in names]
    with in_double(hf_rwkv):
        x, last, _ = torch.func.functional_call(block, _rwkv_weights(given.params), (given.inputs["x"], state, True))
    return {"x": x, **{f"state.{name}": slot.tensor for name, slot in zip(names, last)}}


def rwkv4_lm(given: Given) -> Tensors:
    """In training: for inference the package rescales its weights in place."""
    model = hf_rwkv.RwkvForCausalLM(_rwkv_config(given.sizes)).double().train()
    weights = {
        name if name.startswith("head") else "rwkv." + name.replace("pre_ln", "blocks.0.pre_ln"): tensor
        for name, tensor in _rwkv_weights(given.params).items()
    }
    with in_double(hf_rwkv):
        return {"logits": torch.func.functional_call(model, weights, (given.inputs["token"],)).logits}


def _xlstm_config(sizes: Mapping[str, int], value: str) -> hf_xlstm.xLSTMConfig:
    """The package takes widths as multiples of D, cut off to whole numbers."""
    d, heads = sizes["D"], sizes["N"]
    return hf_xlstm.xLSTMConfig(
        vocab_size=sizes.get("V", 5),
        hidden_size=d,
        num_hidden_layers=sizes.get("L", 1),
        num_heads=heads,
        qk_dim_factor=(heads * sizes["K"] + 0.5) / d,
        v_dim_factor=(heads * sizes[value] + 0.5) / d,
        ffn_proj_factor=(sizes["F"] + 0.5) / d,
        ffn_round_up_to_multiple_of=1,
        mode="train",
        chunk_size=T,
        autocast_kernel_dtype="float32",
    )


def _xlstm_weights(params: Tensors) -> Tensors:
    """Parameters by the package's names."""
    weights = {}
    for name, tensor in params.items():
        path = name.replace("_weight", ".weight").replace("_bias", ".bias")
        weights[path if path.endswith((".weight", ".bias")) else f"{path}.weight"] = tensor
    return weights


def mlstm(given: Given) -> Tensors:
    block = hf_xlstm.xLSTMBlock(_xlstm_config(given.sizes, "V").to_xlstm_block_config()).double()
    C, n, m = (given.state[f"mlstm_layer.memory.{name}"] for name in "Cnm")
    with in_double(xlstm_components, xlstm_kernel):
        x, (C, n, m) = torch.func.functional_call(
            block, _xlstm_weights(given.params), (given.inputs["x"], (C, n, m[..., None]))
        )
    last = {"C": C, "n": n, "m": m[..., 0]}
    return {"x": x, **{f"state.mlstm_layer.memory.{name}": tensor for name, tensor in last.items()}}


def _block_weights(params: Tensors) -> Tensors:
    """Parameters of the first paper's blocks by the package's names; those of the cells are given apart."""
    weights = {}
    for name, tensor in params.items():
        path = name.replace("igate_", "mlstm_cell.igate.").replace("fgate_", "mlstm_cell.fgate.")
        path = path.replace("outnorm", "mlstm_cell.outnorm").replace("conv1d", "conv1d.conv")
        bare = path.endswith((".weight", ".bias", "learnable_skip"))
        weights[path if bare else f"{path}.weight"] = tensor[:, None] if name.endswith("conv1d.weight") else tensor
    return weights


def slstm_2024(given: Given) -> Tensors:
    """The package's fgate feeds the input gate, its igate the forget gate."""
    n, p, f = (given.sizes[name] for name in "NPF")
    layer = sLSTMLayerConfig(embedding_dim=n * p, num_heads=n, backend="vanilla", dtype="float32")
    ffn = FeedForwardConfig(proj_factor=f / (n * p), round_proj_up_to_multiple_of=1)
    block = sLSTMBlock(sLSTMBlockConfig(slstm=layer, feedforward=ffn, _num_blocks=1, _block_idx=0)).double()
    cell = {name.rpartition(".")[2]: tensor for name, tensor in given.params.items() if "slstm_cell" in name}
    swapped = {"xlstm.igate": "xlstm.fgate", "xlstm.fgate": "xlstm.igate"}
    rest = {swapped.get(name, name): tensor for name, tensor in given.params.items() if "slstm_cell" not in name}
    weights = {
        **_block_weights(rest),
        "xlstm.slstm_cell._recurrent_kernel_": torch.cat([cell[f"R{gate}"] for gate in "ifzo"], 1),
        "xlstm.slstm_cell._bias_": torch.cat([cell[f"b{gate}"].flatten() for gate in "ifzo"]),
    }
    return {"x": torch.func.functional_call(block, weights, (given.inputs["x"],))}


def mlstm_2024(given: Given) -> Tensors:
    """Without the number that the package adds to divisors."""
    d, n, p, q = (given.sizes[name] for name in "DNPQ")
    layer = mLSTMLayerConfig(
        embedding_dim=d,
        num_heads=n,
        proj_factor=n * p / d,
        round_proj_up_to_multiple_of=1,
        qkv_proj_blocksize=q,
        context_length=T,
    )
    block = mLSTMBlock(mLSTMBlockConfig(mlstm=layer, _num_blocks=1, _block_idx=0)).double()
    block.xlstm.mlstm_cell.backend_fn = partial(parallel_stabilized_simple, eps=0.0)
    return {"y": torch.func.functional_call(block, _block_weights(given.params), (given.inputs["x"],))}


def xlstm_lm(given: Given) -> Tensors:
    model = hf_xlstm.xLSTMForCausalLM(_xlstm_config(given.sizes, "P")).double()
    params = {("lm_" if name == "head" else "backbone.") + name: tensor for name, tensor in given.params.items()}
    with in_double(xlstm_components, xlstm_kernel):
        outputs = torch.func.functional_call(
            model, _xlstm_weights(params), (given.inputs["token"],), {"use_cache": False}
        )
    return {"logits": outputs.logits}


def gated_norm(given: Given) -> Tensors:
    o, weight = given.inputs["o"], given.params["weight"]
    return {"y": F.rms_norm(o, o.shape[-1:], weight, 1e-5) * F.silu(given.inputs["g"])}


def _in_heads(x: torch.Tensor, weight: torch.Tensor, heads: int) -> torch.Tensor:
    """A projection to all heads at once, taken apart: [B, T, N, width of a head]."""
    return F.linear(x, weight).unflatten(-1, (heads, -1))


def gla(given: Given) -> Tensors:
    p, x, heads = given.params, given.inputs["x"], given.sizes["N"]
    q, k, v, g = (_in_heads(x, p[f"{name}_proj"], heads) for name in "qkvg")
    decay = F.linear(F.linear(x, p["gk_proj_0"]), p["gk_proj_1"], p["gk_proj_1_bias"])
    log_a = F.logsigmoid(decay).unflatten(-1, (heads, -1)) / 16
    with in_double(fla_gla):
        o, last = fla_gla.naive_recurrent_gla(q, k, v, log_a, given.state["attention.S"], output_final_state=True)
    y = F.rms_norm(o, o.shape[-1:], p["g_norm_swish_gate.weight"], 1e-5) * F.silu(g)
    return {"y": F.linear(y.flatten(2), p["o_proj"]), "state.attention.S": last}


def _convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Channel by channel over earlier positions: the package's Conv1d, padded on both sides and cut off."""
    taps = weight.shape[-1]
    y = F.conv1d(x.transpose(1, 2), weight[:, None], padding=taps - 1, groups=len(weight))
    return F.silu(y[..., : -(taps - 1)]).transpose(1, 2)


def short_conv(given: Given) -> Tensors:
    return {"y": _convolved(given.inputs["x"], given.params["weight"])}


def _in_torch(module: ModuleType, name: str) -> AbstractContextManager[object]:
    """In double precision, with the module's own text of a function whose kernel it would take."""
    stack = ExitStack()
    stack.enter_context(in_double(module))
    stack.enter_context(mock.patch.object(module, name, inspect.unwrap(getattr(module, name))))
    return stack


def _convolutions(params: Tensors) -> torch.Tensor:
    """Those of queries, keys and values as one: [channels, 1, taps]."""
    return torch.cat([params[f"{name}_conv1d.weight"] for name in "qkv"])[:, None]


def gated_delta(given: Given) -> Tensors:
    sizes = given.sizes
    config = hf_olmo.OlmoHybridConfig(
        hidden_size=sizes["D"],
        num_hidden_layers=2,
        num_attention_heads=sizes["N"],
        linear_key_head_dim=sizes["K"],
        linear_value_head_dim=sizes["V"],
        linear_allow_neg_eigval=sizes["rate"] == 2,
        layer_types=["linear_attention", "full_attention"],
    )
    layer = hf_olmo.OlmoHybridGatedDeltaNet(config, 0).double()
    plain = {name: tensor for name, tensor in given.params.items() if "_conv1d" not in name}
    weights = {f"{name}.weight" if name.endswith("proj") else name: tensor for name, tensor in plain.items()}
    weights["conv1d.weight"] = _convolutions(given.params)
    with _in_torch(hf_olmo, "torch_chunk_gated_delta_rule"):
        return {"y": torch.func.functional_call(layer, weights, (given.inputs["x"],))}


def kda(given: Given) -> Tensors:
    """Written in two steps there: a gate that forgets, and the rest."""
    sizes, p = given.sizes, given.params
    config = hf_kimi.KimiLinearConfig(
        hidden_size=sizes["D"], linear_num_heads=sizes["N"], linear_head_dim=sizes["K"], num_hidden_layers=4
    )
    layer = hf_kimi.KimiLinearDeltaAttention(config, 0).double()
    plain = {name: tensor for name, tensor in p.items() if name.endswith("proj")}
    weights = {f"forget_gate.{name}.weight" if name[0] == "f" else f"{name}.weight": plain[name] for name in plain}
    weights |= {"forget_gate.A_log": p["A_log"][None, None, :, None], "forget_gate.dt_bias": p["dt_bias"]}
    weights |= {"conv1d.weight": _convolutions(p), "o_norm.weight": p["o_norm.weight"]}
    with _in_torch(hf_kimi, "chunk_kimi_delta_attention"):
        return {"y": torch.func.functional_call(layer, weights, (given.inputs["x"],))}


def retnet(given: Given) -> Tensors:
    """All pairs: pairs of channels as complex numbers, whose product turns and decays with the distance."""
    p, x, n, k = given.params, given.inputs["x"], given.sizes["N"], given.sizes["K"]
    q, key = (torch.view_as_complex(_in_heads(x, p[f"{name}_proj"], n).unflatten(-1, (-1, 2))) for name in "qk")
    theta = 10000.0 ** -torch.linspace(0, 1, k // 2, dtype=torch.float64)
    lag = torch.arange(T)[:, None] - torch.arange(T)
    turned = torch.polar(torch.ones(T, T, k // 2, dtype=torch.float64), lag[..., None] * theta)
    gamma = 1 - 2.0 ** (-5 - torch.arange(n, dtype=torch.float64))
    kept = torch.where(lag >= 0, gamma[:, None, None] ** lag.clamp(min=0), 0)
    scores = torch.einsum("btnk,bsnk,tsk->bnts", q, key.conj(), turned).real * kept / k**0.5
    o = torch.einsum("bnts,bsnv->btnv", scores, _in_heads(x, p["v_proj"], n))
    y = F.rms_norm(o, o.shape[-1:], eps=1e-6).flatten(2) * F.silu(F.linear(x, p["g_proj"]))
    return {"y": F.linear(y, p["out_proj"])}


ROWS: tuple[Row, ...] = (
    Row("blocks/rwkv4", {"D": 3, "A": 5, "I": 7}, "transformers RwkvBlock", rwkv4, {"attention.b": positive}),
    Row(
        "blocks/rwkv4_lm",
        {"V": 7, "D": 3, "L": 2, "A": 4, "I": 5},
        "transformers RwkvForCausalLM",
        rwkv4_lm,
        starts=False,
    ),
    Row("blocks/mlstm", {"D": 6, "N": 2, "K": 3, "V": 5, "F": 7}, "transformers xLSTMBlock", mlstm),
    Row(
        "blocks/xlstm_lm",
        {"V": 7, "D": 6, "L": 2, "N": 2, "K": 2, "P": 3, "F": 5},
        "transformers xLSTMForCausalLM",
        xlstm_lm,
        starts=False,
    ),
    Row("blocks/gated_norm", {"N": 2, "V": 5}, "torch rms_norm and silu", gated_norm),
    Row("blocks/gla", {"D": 7, "N": 2, "K": 3, "V": 5, "R": 4}, "fla.ops.gla.naive, between torch's parts", gla),
    Row("blocks/short_conv", {"C": 3, "K": 4}, "torch conv1d", short_conv, starts=False),
    Row(
        "blocks/gated_delta",
        {"D": 7, "N": 2, "K": 3, "V": 5, "rate": 2},
        "transformers OlmoHybridGatedDeltaNet",
        gated_delta,
        starts=False,
    ),
    Row("blocks/kda", {"D": 7, "N": 2, "K": 3}, "transformers KimiLinearDeltaAttention", kda, starts=False),
    Row(
        "blocks/retnet",
        {"D": 7, "N": 2, "K": 4, "V": 3},
        "second derivation: retention of all pairs, complex",
        retnet,
        starts=False,
    ),
    Row(
        "blocks/slstm",
        {"N": 2, "P": 3, "F": 5},
        "xlstm sLSTMBlock",
        slstm_2024,
        starts=False,
        flat=("xlstm.slstm_cell.bi",),
        slip="the package hands the projection that it calls fgate to the input gate, and igate to the forget gate",
    ),
    Row("blocks/mlstm_2024", {"D": 5, "N": 2, "P": 6, "Q": 4}, "xlstm mLSTMBlock", mlstm_2024, starts=False),
)
