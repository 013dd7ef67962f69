"""Delta rules: matrix states that are corrected before they are written."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import fla.ops.comba.naive as fla_comba
import fla.ops.delta_rule.naive as fla_delta
import fla.ops.gdn2.naive as fla_gdn2
import fla.ops.generalized_delta_rule.dplr.naive as fla_dplr
import fla.ops.generalized_delta_rule.iplr.naive as fla_iplr
import fla.ops.kda.naive as fla_kda
import torch
from torch.nn.functional import normalize

from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors, negative, unit

HEADS = {"N": 2, "K": 3, "V": 5}


def _head_first(
    run: Callable[..., tuple[torch.Tensor, torch.Tensor]], *inputs: torch.Tensor, start: torch.Tensor
) -> Tensors:
    """Functions of fla on [B, N, T, K], which scale queries by 1 / sqrt(K); here without that."""
    q, *others = (x.transpose(1, 2) for x in inputs)
    o, S = run(q * q.shape[-1] ** 0.5, *others, initial_state=start)
    return {"o": o.transpose(1, 2), "state.S": S}


def delta(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_delta):
        return _head_first(fla_delta.delta_rule_recurrence, i["q"], i["k"], i["v"], i["b"], start=given.state["S"])


def kda(given: Given) -> Tensors:
    i = given.inputs
    arguments = (i["q"], i["k"], i["v"], i["a"].log(), i["b"])
    with in_double(fla_kda):
        o, S = fla_kda.naive_recurrent_kda(
            *arguments, scale=1.0, initial_state=given.state["S"], output_final_state=True
        )
    return {"o": o, "state.S": S}


def gdn2(given: Given) -> Tensors:
    i = given.inputs
    arguments = (i["q"], i["k"], i["v"], i["a"].log(), i["b"], i["w"])
    with in_double(fla_gdn2):
        o, S = fla_gdn2.naive_recurrent_gdn2(
            *arguments, scale=1.0, initial_state=given.state["S"], output_final_state=True
        )
    return {"o": o, "state.S": S}


def comba(given: Given) -> Tensors:
    i = given.inputs
    p = given.params["b"].sigmoid()[:, None] * i["k"]
    q = i["q"] - given.params["d"][:, None] * i["k"]
    with in_double(fla_comba):
        o, S = fla_comba.naive_chunk_comba(
            q, i["k"], i["v"], p, i["a"].log(), i["beta"], 4, 1.0, given.state["S"], output_final_state=True
        )
    return {"o": o, "state.S": S}


def dplr(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_dplr):
        return _head_first(
            fla_dplr.dplr_recurrence, *(i[name] for name in ("q", "k", "v", "a", "b", "g")), start=given.state["S"]
        )


def iplr(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_iplr):
        return _head_first(
            fla_iplr.iplr_recurrence, *(i[name] for name in ("q", "k", "v", "a", "b")), start=given.state["S"]
        )


def rwkv7(given: Given) -> Tensors:
    """RWKV-7 as a diagonal-plus-low-rank delta rule, whose state has keys as rows."""
    i = given.inputs
    removed = normalize(i["kappa"], dim=-1)
    log_w = -exp(-0.5) * torch.sigmoid(i["d"])
    arguments = (i["r"], i["k"], i["v"], -removed, removed * i["a"], log_w)
    with in_double(fla_dplr):
        found = _head_first(fla_dplr.dplr_recurrence, *arguments, start=given.state["S"].transpose(-1, -2))
    return {"o": found["o"], "state.S": found["state.S"].transpose(-1, -2)}


ROWS: tuple[Row, ...] = (
    Row("delta", HEADS, "fla.ops.delta_rule.naive.delta_rule_recurrence", delta, ranges={"b": unit}),
    Row("kda", HEADS, "fla.ops.kda.naive.naive_recurrent_kda", kda, ranges={"a": unit, "b": unit}),
    Row(
        "gdn2",
        HEADS,
        "fla.ops.gdn2.naive.naive_recurrent_gdn2",
        gdn2,
        ranges={"a": unit, "b": unit, "w": unit},
    ),
    Row(
        "comba",
        HEADS,
        "fla.ops.comba.naive.naive_chunk_comba",
        comba,
        ranges={"a": unit, "beta": unit},
        slip="fla's naive_recurrent_comba corrects the memory after its decay; the paper and fla's kernels do so before.",
    ),
    Row("dplr", HEADS, "fla.ops.generalized_delta_rule.dplr.naive.dplr_recurrence", dplr, ranges={"g": negative}),
    Row("iplr", HEADS, "fla.ops.generalized_delta_rule.iplr.naive.iplr_recurrence", iplr),
    Row(
        "rwkv7",
        HEADS,
        "fla.ops.generalized_delta_rule.dplr.naive.dplr_recurrence",
        rwkv7,
        ranges={"a": unit},
    ),
)
