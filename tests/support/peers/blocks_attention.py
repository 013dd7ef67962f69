"""Blocks of RWKV, xLSTM and gated linear attention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import transformers.models.rwkv.modeling_rwkv as hf_rwkv

from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors, positive


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


ROWS: tuple[Row, ...] = (
    Row("blocks/rwkv4", {"D": 3, "A": 5, "I": 7}, "transformers RwkvBlock", rwkv4, {"attention.b": positive}),
    Row(
        "blocks/rwkv4_lm",
        {"V": 7, "D": 3, "L": 2, "A": 4, "I": 5},
        "transformers RwkvForCausalLM",
        rwkv4_lm,
        starts=False,
    ),
)
