"""Blocks of RWKV, xLSTM and gated linear attention."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, ExitStack
from types import ModuleType
from unittest import mock

import fla.ops.gla.naive as fla_gla
import torch
import torch.nn.functional as F
import transformers.models.kimi_linear.modeling_kimi_linear as hf_kimi
import transformers.models.olmo_hybrid.modeling_olmo_hybrid as hf_olmo

from support.peers import blocks_rwkv, blocks_xlstm
from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors


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


def _in_torch(module: ModuleType, name: str) -> AbstractContextManager[object]:
    """In double precision, with the module's own text of a function whose kernel it would take."""
    stack = ExitStack()
    stack.enter_context(in_double(module))
    stack.enter_context(mock.patch.object(module, name, inspect.unwrap(getattr(module, name))))
    return stack


def _convolutions(params: Tensors) -> torch.Tensor:
    """Those of queries, keys and values as one: [channels, 1, taps]."""
    return torch.cat([params[f"{name}_conv1d"] for name in "qkv"])[:, None]


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
    *blocks_rwkv.ROWS,
    *blocks_xlstm.ROWS,
    Row("blocks/gated_norm", {"N": 2, "V": 5}, "torch rms_norm and silu", gated_norm),
    Row("blocks/gla", {"D": 7, "N": 2, "K": 3, "V": 5, "R": 4}, "fla.ops.gla.naive, between torch's parts", gla),
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
)
