"""Matrix states with feature maps, slots and running normalisers, many of them in closed form."""

from __future__ import annotations

import fla.ops.abc.naive as fla_abc
import fla.ops.based.naive as fla_based
import fla.ops.gsa.naive as fla_gsa
import fla.ops.log_linear_attn.naive as fla_log_linear
import fla.ops.mesa_net.naive as fla_mesa
import fla.ops.rebased.naive as fla_rebased
import torch
from torch.nn.functional import layer_norm, softplus

from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors, unit

HEADS = {"N": 2, "K": 3, "V": 5}
SLOTS = {**HEADS, "M": 4}


def _heads_first(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [x.transpose(1, 2) for x in tensors]


def based(given: Given) -> Tensors:
    i = given.inputs
    o = fla_based.naive_parallel_based(*_heads_first(i["q"], i["k"], i["v"]))
    return {"o": o.transpose(1, 2)}


def rebased(given: Given) -> Tensors:
    i, p = given.inputs, given.params
    q, k = (layer_norm(i[name], i[name].shape[-1:]) * p[f"gamma_{name}"] + p[f"beta_{name}"] for name in ("q", "k"))
    o = fla_rebased.naive_parallel_rebased(*_heads_first(q, k, i["v"]))
    return {"o": o.transpose(1, 2)}


def gsa(given: Given) -> Tensors:
    i = given.inputs
    start = (given.state["Ks"].mT, given.state["Vs"])
    with in_double(fla_gsa):
        o, (Ks, Vs) = fla_gsa.naive_recurrent_gsa(
            i["q"], i["k"], i["v"], 1 - i["a"], i["a"].log(), None, start, output_final_state=True
        )
    return {"o": o, "state.Ks": Ks.mT, "state.Vs": Vs}


def abc(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_abc):
        o, _ = fla_abc.naive_cumsum_abc(*_heads_first(i["q"], i["k"], i["v"], i["s"]))
    return {"o": o.transpose(1, 2)}


def lightnet(given: Given) -> Tensors:
    """The average of what was there and of all values, weighted by exp of the logits."""
    i, start = given.inputs, given.state
    logits = torch.cat([start["z"][:, None], i["k"]], 1)  # [B, 1 + T, N, K]
    written = i["v"][..., None, :].expand(*i["k"].shape, -1)  # [B, T, N, K, V]
    content = torch.cat([start["S"][:, None], written], 1)
    S = [(logits[:, : t + 2].softmax(1)[..., None] * content[:, : t + 2]).sum(1) for t in range(given.length)]
    o = torch.stack([(i["q"][:, t, ..., None] * each).sum(-2) for t, each in enumerate(S)], 1)
    return {"o": o, "state.S": S[-1], "state.z": logits.logsumexp(1)}


def log_linear(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_log_linear):
        o = fla_log_linear.naive_log_linear_attn(i["q"], i["k"], i["v"], i["a"].log(), i["lambda"])
    return {"o": o}


def mesa(given: Given) -> Tensors:
    """The published code has as many channels of values as of keys."""
    i, start = given.inputs, given.state
    regularisation = softplus(given.params["lambda_params"]) + 0.25
    with in_double(fla_mesa):
        o, H, G = fla_mesa.naive_mesa_net_exact(
            i["q"], i["k"], i["v"], i["gamma"].log(), regularisation, i["beta"], start["H"], start["G"].mT
        )
    return {"o": o, "state.H": H, "state.G": G.mT}


ROWS: tuple[Row, ...] = (
    Row("based", HEADS, "fla.ops.based.naive.naive_parallel_based", based, starts=False),
    Row("rebased", HEADS, "fla.ops.rebased.naive.naive_parallel_rebased", rebased, starts=False),
    Row("gsa", SLOTS, "fla.ops.gsa.naive.naive_recurrent_gsa", gsa, ranges={"a": unit}),
    Row("abc", SLOTS, "fla.ops.abc.naive.naive_cumsum_abc", abc, starts=False),
    Row("lightnet", HEADS, "closed form: averages of the values, weighted by softmax over the past", lightnet),
    Row(
        "log_linear",
        {**HEADS, "L": 4},
        "fla.ops.log_linear_attn.naive.naive_log_linear_attn",
        log_linear,
        ranges={"a": unit},
        starts=False,
    ),
    Row(
        "mesa",
        {"N": 2, "K": 3, "V": 3},
        "fla.ops.mesa_net.naive.naive_mesa_net_exact",
        mesa,
        ranges={"gamma": unit, "beta": unit},
    ),
)
