"""Matrix states: linear attention, its gates and its kernels."""

from __future__ import annotations

import fla.ops.gla.naive as fla_gla
import fla.ops.linear_attn.naive as fla_linear
import fla.ops.rwkv6.recurrent_naive as fla_rwkv6
import fla.ops.simple_gla.naive as fla_simple_gla
import torch
from torch.nn.functional import elu

from support.peers.double import in_double
from support.peers.matrix_delta import ROWS as DELTA_ROWS
from support.peers.row import Given, Row, Tensors, negative, unit

HEADS = {"N": 2, "K": 3, "V": 5}


def linear_attention(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_linear):
        o, S = fla_linear.naive_recurrent_linear_attn(
            i["q"], i["k"], i["v"], scale=1.0, initial_state=given.state["S"], output_final_state=True
        )
    return {"o": o, "state.S": S}


def linear_attention_normalised(given: Given) -> Tensors:
    """The published code adds 1e-10 to the denominator, which the tolerance does not see."""
    i, start = given.inputs, (given.state["S"], given.state["z"][:, None])
    q, k = elu(i["q"]) + 1, elu(i["k"]) + 1
    with in_double(fla_linear):
        o, (S, z) = fla_linear.naive_recurrent_linear_attn(
            q, k, i["v"], scale=1.0, initial_state=start, output_final_state=True, normalize=True
        )
    return {"o": o, "state.S": S, "state.z": z[:, 0]}


def simple_gla(given: Given) -> Tensors:
    i = given.inputs
    with in_double(fla_simple_gla):
        o, S = fla_simple_gla.naive_recurrent_simple_gla(
            i["q"], i["k"], i["v"], i["g"], scale=1.0, initial_state=given.state["S"]
        )
    return {"o": o, "state.S": S}


def gla_unscaled(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, start: torch.Tensor) -> Tensors:
    """The gated linear attention of fla, which scales queries by 1 / sqrt(K), without that."""
    with in_double(fla_gla):
        o, S = fla_gla.naive_recurrent_gla(q * q.shape[-1] ** 0.5, k, v, g, start, output_final_state=True)
    return {"o": o, "S": S}


def hgrn2(given: Given) -> Tensors:
    i = given.inputs
    found = gla_unscaled(i["o"], 1 - i["f"], i["i"], i["f"].log(), given.state["h"])
    return {"y": found["o"], "state.h": found["S"]}


def _rwkv(given: Given, log_w: torch.Tensor) -> Tensors:
    i = given.inputs
    r, k, v, w = (x.transpose(1, 2) for x in (i["r"], i["k"], i["v"], log_w.expand_as(i["k"])))
    with in_double(fla_rwkv6):
        o, S = fla_rwkv6.naive_recurrent_rwkv6(r, k, v, w, given.params["u"], 1.0, given.state["S"], True)
    return {"o": o.transpose(1, 2), "state.S": S}


def rwkv5(given: Given) -> Tensors:
    return _rwkv(given, -given.params["w0"].exp())


def rwkv6(given: Given) -> Tensors:
    return _rwkv(given, -given.inputs["d"].exp())


ROWS: tuple[Row, ...] = (
    Row("linear_attention", HEADS, "fla.ops.linear_attn.naive.naive_recurrent_linear_attn", linear_attention),
    Row(
        "linear_attention_normalised",
        HEADS,
        "fla.ops.linear_attn.naive.naive_recurrent_linear_attn",
        linear_attention_normalised,
        ranges={"z": abs},
    ),
    Row("simple_gla", HEADS, "fla.ops.simple_gla.naive.naive_recurrent_simple_gla", simple_gla, ranges={"g": negative}),
    Row("hgrn2", HEADS, "fla.ops.gla.naive.naive_recurrent_gla", hgrn2, ranges={"f": unit}),
    Row("rwkv5", HEADS, "fla.ops.rwkv6.recurrent_naive.naive_recurrent_rwkv6", rwkv5),
    Row("rwkv6", HEADS, "fla.ops.rwkv6.recurrent_naive.naive_recurrent_rwkv6", rwkv6),
    *DELTA_ROWS,
)
