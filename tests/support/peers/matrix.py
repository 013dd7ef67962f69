"""Matrix states: linear attention, its gates and its kernels."""

from __future__ import annotations

import fla.ops.gla.naive as fla_gla
import fla.ops.linear_attn.naive as fla_linear
import fla.ops.rwkv6.recurrent_naive as fla_rwkv6
import fla.ops.simple_gla.naive as fla_simple_gla
import torch
from torch.nn.functional import elu, normalize, softplus

from support.peers.double import in_double
from support.peers.matrix_delta import ROWS as DELTA_ROWS
from support.peers.matrix_kernels import ROWS as KERNEL_ROWS
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


def rodimus(given: Given) -> Tensors:
    i = given.inputs
    g, tau = softplus(i["g"]), i["tau"].sigmoid()
    found = gla_unscaled(i["q"], normalize(i["k"], dim=-1) * g**tau, i["v"], -g * tau, given.state["S"])
    return {"o": found["o"], "state.S": found["S"]}


def lightning(given: Given) -> Tensors:
    i, sizes = given.inputs, given.sizes
    heads = torch.arange(sizes["N"], dtype=torch.float64)
    g = (-8 * heads / sizes["N"] * (1 - sizes["l"] / sizes["L"])).expand(i["q"].shape[:3])
    with in_double(fla_simple_gla):
        o, S = fla_simple_gla.naive_recurrent_simple_gla(i["q"], i["k"], i["v"], g, 1.0, given.state["S"])
    return {"o": o, "state.S": S}


def retnet(given: Given) -> Tensors:
    """All pairs of positions at once; what was there before counts as written before the first."""
    i, (heads, width) = given.inputs, (given.sizes["N"], given.sizes["K"])
    gamma = 1 - 2.0 ** (-5 - torch.arange(heads, dtype=torch.float64))
    theta = 10000 ** -torch.linspace(0, 1, width // 2, dtype=torch.float64)
    places = given.state["n"][:, None] + torch.arange(given.length)  # [B, T]
    turn = torch.polar(torch.ones(1, dtype=torch.float64), places[:, :, None, None] * theta)
    q, k = (turn * torch.view_as_complex(i[name].unflatten(-1, (-1, 2))) for name in ("q", "k"))
    apart = torch.arange(given.length)[:, None] - torch.arange(given.length)
    decays = gamma[:, None, None] ** apart.clamp(min=0) * (apart >= 0)
    weights = torch.einsum("btnk,bsnk->bnts", q, k.conj()).real * decays / width**0.5
    queries = torch.view_as_real(q).flatten(-2) * (gamma ** (torch.arange(given.length)[:, None] + 1))[..., None]
    before = torch.einsum("btnk,bnkv->btnv", queries, given.state["S"])
    return {"o": torch.einsum("bnts,bsnv->btnv", weights, i["v"]) + before, "state.n": given.state["n"] + given.length}


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
    Row("rodimus", HEADS, "fla.ops.gla.naive.naive_recurrent_gla", rodimus),
    Row(
        "lightning",
        {"N": 2, "K": 3, "V": 5, "l": 3, "L": 7},
        "fla.ops.simple_gla.naive.naive_recurrent_simple_gla",
        lightning,
    ),
    Row(
        "retnet",
        {"N": 2, "K": 6, "V": 5},
        "closed form: attention with the decays of all pairs, queries and keys rotated",
        retnet,
        ranges={"n": abs},
    ),
    *KERNEL_ROWS,
    *DELTA_ROWS,
)
