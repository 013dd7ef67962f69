"""Blocks of Mamba, Mamba-2, Griffin and Hawk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import transformers.models.mamba.modeling_mamba as hf_mamba
import transformers.models.mamba2.modeling_mamba2 as hf_mamba2
from torch.nn.functional import conv1d as torch_conv1d
from torch.nn.functional import pad

from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors


def renamed(params: Tensors, names: Mapping[str, str]) -> Tensors:
    """Parameters under the names of a module of transformers, with its layout of convolutions."""
    return {
        names.get(name, name): conv(tensor) if name == "conv1d.weight" else tensor for name, tensor in params.items()
    }


def conv(weight: torch.Tensor) -> torch.Tensor:
    """[C, K] as [C, 1, K]"""
    return weight[:, None]


def conv1d(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"].transpose(1, 2)
    padded = pad(x, (given.sizes["K"] - 1, 0))
    return {"y": torch_conv1d(padded, conv(p["weight"]), p["bias"], groups=x.shape[1]).transpose(1, 2)}


MIXER_NAMES = {
    "in_proj": "in_proj.weight",
    "biased.0.in_proj_bias": "in_proj.bias",
    "x_proj": "x_proj.weight",
    "dt_proj": "dt_proj.weight",
    "dt_proj_bias": "dt_proj.bias",
    "norm_weight": "norm.weight",
    "out_proj": "out_proj.weight",
    "biased_2.0.out_proj_bias": "out_proj.bias",
}


def mamba(given: Given) -> Tensors:
    s = given.sizes
    config = hf_mamba.MambaConfig(
        hidden_size=s["d_model"],
        expand=s["d_inner"] // s["d_model"],
        state_size=s["d_state"],
        time_step_rank=s["dt_rank"],
        conv_kernel=s["d_conv"],
        use_bias=bool(s["bias"]),
        num_hidden_layers=1,
    )
    layer = hf_mamba.MambaMixer(config, layer_idx=0).double()
    with in_double(hf_mamba):
        return {"y": torch.func.functional_call(layer, renamed(given.params, MIXER_NAMES), given.inputs["u"])}


def mamba2(given: Given) -> Tensors:
    s = given.sizes
    config = hf_mamba2.Mamba2Config(
        hidden_size=s["d_model"],
        expand=s["nheads"] * s["headdim"] // s["d_model"],
        num_heads=s["nheads"],
        head_dim=s["headdim"],
        n_groups=s["ngroups"],
        state_size=s["d_state"],
        conv_kernel=s["d_conv"],
        use_bias=bool(s["bias"]),
        num_hidden_layers=1,
        chunk_size=4,
    )
    layer = hf_mamba2.Mamba2Mixer(config, layer_idx=0).double()
    with in_double(hf_mamba2):
        return {"y": torch.func.functional_call(layer, renamed(given.params, MIXER_NAMES), given.inputs["u"])}


ROWS: tuple[Row, ...] = (
    Row("blocks/conv1d", {"C": 3, "K": 4}, "torch.nn.functional.conv1d", conv1d, starts=False),
    *(
        Row(
            "blocks/mamba",
            {"d_model": 4, "d_inner": 8, "d_state": 3, "dt_rank": 2, "d_conv": 5, "bias": bias},
            f"transformers.MambaMixer: use_bias={bool(bias)}",
            mamba,
            starts=False,
        )
        for bias in (0, 1)
    ),
    *(
        Row(
            "blocks/mamba2",
            {"d_model": 5, "nheads": 4, "headdim": 5, "ngroups": groups, "d_state": 3, "d_conv": 4, "bias": bias},
            f"transformers.Mamba2Mixer: n_groups={groups}, use_bias={bool(bias)}",
            mamba2,
            starts=False,
        )
        for groups, bias in ((1, 0), (2, 1))
    ),
)
