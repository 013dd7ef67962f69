"""Delta rules: matrix states that are corrected before they are written."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import fla.ops.comba.naive as fla_comba
import fla.ops.delta_rule.naive as fla_delta
import fla.ops.gated_delta_product.naive as fla_product
import fla.ops.gdn2.naive as fla_gdn2
import fla.ops.generalized_delta_rule.dplr.naive as fla_dplr
import fla.ops.generalized_delta_rule.iplr.naive as fla_iplr
import fla.ops.kda.naive as fla_kda
import fla.ops.momentum_delta_rule.naive as fla_momentum
import fla.ops.precond_kda.naive as fla_precond
import torch
from torch.nn.functional import normalize

from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors, negative, positive, unit

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
        found = _head_first(fla_dplr.dplr_recurrence, *arguments, start=given.state["S"].mT)
    return {"o": found["o"], "state.S": found["state.S"].mT}


def delta_product(given: Given) -> Tensors:
    """The published code has the n rows of a position one after the other in time."""
    i = given.inputs
    k, v, b = (i[name].transpose(2, 3).flatten(1, 2) for name in ("k", "v", "b"))
    with in_double(fla_product):
        o, S = fla_product.naive_recurrent_gated_delta_product(
            i["q"], k, v, i["a"].log(), b, 1.0, None, given.state["S"], num_householder=given.sizes["n"]
        )
    return {"o": o, "state.S": S}


def oja(given: Given) -> Tensors:
    """The transitions of all positions, multiplied out; the state is a sum of what was written, each carried on."""
    i, columns = given.inputs, torch.eye(given.sizes["V"], dtype=torch.float64)
    strength, v = i["b"][..., None, None], i["v"]
    steps = i["g"].exp()[..., None] * (columns - strength * v[..., :, None] * v[..., None, :])
    writes = strength * i["k"][..., :, None] * v[..., None, :]
    written = torch.cat([given.state["S"][:, None], writes], 1)
    S = [_carried(written[:, : t + 2], steps[:, : t + 1]) for t in range(given.length)]
    o = [torch.einsum("bnk,bnkv->bnv", i["q"][:, t], each) for t, each in enumerate(S)]
    return {"o": torch.stack(o, 1), "state.S": S[-1]}


def _carried(written: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The sum of what was written, each times the product of all steps behind it."""
    behind, total = torch.eye(steps.shape[-1], dtype=steps.dtype), written[:, -1]
    for place in range(steps.shape[1] - 1, -1, -1):
        behind = steps[:, place] @ behind
        total = total + written[:, place] @ behind
    return total


def mdn(given: Given) -> Tensors:
    i, start = given.inputs, given.state
    with in_double(fla_momentum):
        o, last = fla_momentum.recurrent_momentum_delta_rule_ref(
            *(i[name] for name in ("q", "k", "v", "log_alpha", "log_mu", "p")),
            i["beta"],
            i["eta"],
            scale=1.0,
            initial_S=start["S"],
            initial_M=start["M"],
            output_final_state=True,
        )
    return {"o": o, "state.S": last[0], "state.M": last[1]}


def precond_kda(given: Given) -> Tensors:
    """Also for one decay per head, which is the same decay for every channel."""
    i, start = given.inputs, given.state
    g = i["g"] if i["g"].dim() == i["q"].dim() else i["g"][..., None].expand_as(i["q"])
    with in_double(fla_precond):
        o, S, A = fla_precond.naive_recurrent_precond_kda(
            *(i["q"], i["k"], i["v"], g, i["g_A"], i["b_A"], i["b"], 1.0, start["S"], start["A"], True),
            log_atk_scale=given.params["center"],
        )
    return {"o": o, "state.S": S, "state.A": A}


DECAYS = {"g": negative, "g_A": negative, "b": unit, "b_A": unit, "A": positive}

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
        slip="fla's naive_recurrent_comba reads what it removes after the decay; the paper, fla's kernels and its "
        "naive_chunk_comba do so before.",
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
    Row(
        "delta_product",
        {"N": 2, "K": 3, "V": 5, "n": 4},
        "fla.ops.gated_delta_product.naive.naive_recurrent_gated_delta_product",
        delta_product,
        ranges={"a": unit, "b": unit},
    ),
    Row("oja", HEADS, "closed form: all transitions multiplied out", oja, ranges={"g": negative, "b": unit}),
    Row(
        "mdn",
        HEADS,
        "fla.ops.momentum_delta_rule.naive.recurrent_momentum_delta_rule_ref",
        mdn,
        ranges={"log_alpha": negative, "log_mu": negative, "beta": unit, "eta": unit},
    ),
    Row("precond_delta", HEADS, "fla.ops.precond_kda.naive.naive_recurrent_precond_kda", precond_kda, ranges=DECAYS),
    Row("precond_kda", HEADS, "fla.ops.precond_kda.naive.naive_recurrent_precond_kda", precond_kda, ranges=DECAYS),
)
