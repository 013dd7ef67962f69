"""Layers of pLSTM from four corners, and vision blocks of them."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn import functional as F

from support.peers.lines import arriving
from support.peers.row import Given, Row, Tensors


def _norm(x: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def _of(params: Tensors, scope: str) -> Tensors:
    return {name.removeprefix(f"{scope}."): tensor for name, tensor in params.items() if name.startswith(f"{scope}.")}


def _transitions(p: Tensors, u: torch.Tensor, heads: int) -> torch.Tensor:
    """[..., N, A, A] of the axes y, x: P-mode where there are directions, otherwise D-mode."""
    if "W_a" in p:
        a = torch.sigmoid(F.linear(u, p["W_a"], p["b_a"]))
        parts = torch.stack([1 - a, a], -1) * torch.tanh(5 + 5 * F.linear(u, p["W_gamma"]))[..., None]
        return parts[..., None].expand(*parts.shape, 2)
    right, turn, down = torch.tanh(5 + 5 * F.linear(u, p["W_t"])).unflatten(-1, (3, heads)).unbind(-2)
    return torch.stack([torch.stack([down, torch.zeros_like(down)], -1), torch.stack([turn, right], -1)], -2)


def _way(p: Tensors, u: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Heads [B, Y, X, N, ...] from the first place to the last, by the solution of all edges' equations."""
    heads, inner = q.shape[3], (k.shape[-1], v.shape[-1])
    source, mark = (
        torch.sigmoid(F.linear(u, p[f"W_{gate}"], p[f"b_{gate}"])).unflatten(-1, (2, heads)).flip(-2).movedim(-2, -1)
        for gate in "sm"
    )
    written = source[..., None] * torch.einsum("...k,...v->...kv", k, v).flatten(-2)[..., None, :]
    first = torch.zeros_like(written.movedim(3, 1)[..., :1, :])  # [B, N, Y, X, 1, F]
    found, _ = arriving(
        _transitions(p, u, heads).movedim(3, 1)[..., None, None],
        written.movedim(3, 1)[..., None, :],
        [first[:, :, 0], first[:, :, :, 0]],
    )
    read = torch.einsum("...a,...af->...f", mark, found[..., 0, :].movedim(1, 3)).unflatten(-1, inner)
    direct = torch.sigmoid(F.linear(u, p["W_d"], p["b_d"])) * (q * k).sum(-1)
    return (torch.einsum("...k,...kv->...v", q, read) + direct[..., None] * v) / inner[0] ** 0.5


def _layer(p: Tensors, way: str, u: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = (F.linear(u, p[f"W{name}"]).unflatten(-1, (heads, -1)) for name in "qkv")
    h = torch.zeros_like(v)
    for number, axes in enumerate(((), (2,), (1,), (1, 2)), start=1):
        own = _of(p, way if number == 1 else f"{way}_{number}")
        h = h + _way(own, *(tensor.flip(axes) for tensor in (u, q, k, v))).flip(axes)
    return F.linear((p["head_norm.weight"] * _norm(h)).flatten(-2), p["Wo"])


def plstm2d_four(given: Given, way: str) -> Tensors:
    return {"y": _layer(given.params, way, given.inputs["u"], given.sizes["N"])}


def plstm_vision(given: Given) -> Tensors:
    x, heads = given.inputs["u"], given.sizes["N"]
    for block in range(given.sizes["L"]):
        p = _of(given.params, f"blocks.{block}")
        for mode, network in (("p", "ffn"), ("d", "ffn_2")):
            x = x + _layer(_of(p, f"{mode}_layer"), f"{mode}_way", p[f"norm_{mode}"] * _norm(x), heads)
            hidden = F.gelu(F.linear(p[f"norm_ffn_{mode}"] * _norm(x), p[f"{network}.W_in"]))
            x = x + F.linear(hidden, p[f"{network}.W_out"])
    return {"y": x}


CLOSED = "closed form: the transitions between all edges as one matrix, of the grid turned in all four ways"
SIZES = {"D": 4, "N": 2, "K": 3, "V": 2}
ROWS = (
    Row("plstm2d_four", SIZES, CLOSED, partial(plstm2d_four, way="p_way"), starts=False),
    Row("plstm2d_d_four", SIZES, CLOSED, partial(plstm2d_four, way="d_way"), starts=False),
    Row("blocks/plstm_vision", {**SIZES, "F": 5, "L": 1}, CLOSED, plstm_vision, starts=False),
)
