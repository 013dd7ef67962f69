"""Programs over grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import combinations

import torch

from support.peers.lines import arriving
from support.peers.row import Given, Row, Tensors

PLSTM = "closed form: the transitions between all edges as one matrix, M (I - T)^-1 S"
States = tuple[torch.Tensor, ...]


def _heads_first(given: Given, sides: int) -> Tensors:
    """Inputs [B, N, *sides, *shape]."""
    return {name: tensor.movedim(1 + sides, 1) for name, tensor in given.inputs.items()}


def _plstm(given: Given, states: str, gates: Callable[[Tensors], tuple[torch.Tensor, ...]]) -> Tensors:
    """One layer of state tracking: `gates` gives transitions [..., A, A], sources and marks [..., A]."""
    axes = len(states)
    a = _heads_first(given, axes)
    q, k, v = a["q"], a["k"], a["v"]
    transition, source, mark = gates(a)
    kv = torch.einsum("...k,...v->...kv", k, v).flatten(-2)
    written = source[..., None, None] * kv[..., None, None, :]
    border = [given.state[name].movedim(axes, 1).flatten(-2)[..., None, :] for name in states]
    found, ends = arriving(transition[..., None, None], written, border)
    inner = (k.shape[-1], v.shape[-1])
    read = (mark[..., None] * found[..., 0, :]).sum(-2).unflatten(-1, inner)
    out = torch.einsum("...k,...kv->...v", q, read) + (a["d"] * (q * k).sum(-1))[..., None] * v
    last = {f"state.{name}": end.squeeze(-2).unflatten(-1, inner).movedim(1, axes) for name, end in zip(states, ends)}
    return {"o": (out / k.shape[-1] ** 0.5).movedim(1, 1 + axes), **last}


def _matrix(*rows: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _chain(a: Tensors) -> tuple[torch.Tensor, ...]:
    return a["f"][..., None, None], a["s"][..., None], a["m"][..., None]


def _marks(a: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources and marks along y, x: D is the state along y."""
    return torch.stack([a["sd"], a["sr"]], -1), torch.stack([a["md"], a["mr"]], -1)


def _p_mode(a: Tensors) -> tuple[torch.Tensor, ...]:
    right, down = a["gamma"] * a["a"], a["gamma"] * (1 - a["a"])
    return _matrix((down, down), (right, right)), *_marks(a)


def _p_code(a: Tensors) -> tuple[torch.Tensor, ...]:
    t, s = a["t"], a["s"]
    return _matrix((1 - t, 1 - t), (t, t)), torch.stack([1 - s, s], -1), torch.stack([a["m"], a["m"]], -1)


def _d_mode(a: Tensors) -> tuple[torch.Tensor, ...]:
    return _matrix((a["dd"], torch.zeros_like(a["dd"])), (a["rd"], a["rr"])), *_marks(a)


def _d_mirrored(a: Tensors) -> tuple[torch.Tensor, ...]:
    return _matrix((a["dd"], a["dr"]), (torch.zeros_like(a["rr"]), a["rr"])), *_marks(a)


def _cube(a: Tensors) -> tuple[torch.Tensor, ...]:
    return (a["gamma"][..., None] * a["p"])[..., None].expand(*a["p"].shape, 3), a["s"], a["m"]


def _tracking(given: Given) -> Tensors:
    a = _heads_first(given, 2)
    q, k, v, d = a["q"], a["k"], a["v"], a["d"]
    transition = torch.stack([torch.stack([a["dd"], a["dr"]], -3), torch.stack([a["rd"], a["rr"]], -3)], -4)
    source, mark = torch.stack([a["sd"], a["sr"]], -4), torch.stack([a["md"], a["mr"]], -4)
    written = torch.einsum("...aijk,...dj,...vk->...aidv", source, k, v).flatten(-2)
    border = [given.state[name].movedim(2, 1).movedim(-1, -3).flatten(-2) for name in "DR"]
    found, ends = arriving(transition, written, border)
    inner = (k.shape[-2], v.shape[-2])
    read = torch.einsum("...aijk,...dj,...akdv->...vi", mark, q, found.unflatten(-1, inner))
    direct = torch.einsum("...ijkl,...dj,...dk,...vl->...vi", d, q, k, v)
    last = {f"state.{name}": end.unflatten(-1, inner).movedim(-3, -1).movedim(1, 2) for name, end in zip("DR", ends)}
    return {"o": ((read + direct) / k.shape[-2] ** 0.5).movedim(1, 3), **last}


def _nonlinear(
    given: Given, states: str, step: Callable[[torch.Tensor, States, States], tuple[torch.Tensor, States, States]]
) -> Tensors:
    """Place by place, from the last place backwards to what it needs.

    Args:
        states: names of the states along each axis; those along both have the same.
        step: from an input and what arrives along y and x to an output and what leaves along y and x.
    """
    u = given.inputs["u"]
    rows, columns = u.shape[1:3]

    @cache
    def place(y: int, x: int) -> tuple[torch.Tensor, States, States]:
        return step(u[:, y, x], above(y, x), left(y, x))

    def above(y: int, x: int) -> States:
        return place(y - 1, x)[1] if y else tuple(given.state[name][:, x] for name in names[0])

    def left(y: int, x: int) -> States:
        return place(y, x - 1)[2] if x else tuple(given.state[name][:, y] for name in names[1])

    names = [[name for name in states.split() if name.endswith(axis)] for axis in "yx"]
    outputs = torch.stack([torch.stack([place(y, x)[0] for x in range(columns)], 1) for y in range(rows)], 1)
    ends = [
        [torch.stack([place(rows - 1, x)[1][i] for x in range(columns)], 1) for i in range(len(names[0]))],
        [torch.stack([place(y, columns - 1)[2][i] for y in range(rows)], 1) for i in range(len(names[1]))],
    ]
    last = {f"state.{name}": end for each, found in zip(names, ends) for name, end in zip(each, found)}
    return {"h": outputs, **last}


def _md_rnn(given: Given) -> Tensors:
    p = given.params

    def step(u: torch.Tensor, above: States, left: States) -> tuple[torch.Tensor, States, States]:
        joined = torch.cat([p["W"], p["U_y"], p["U_x"]], 1)
        h = torch.tanh(torch.nn.functional.linear(torch.cat([u, *above, *left], 1), joined, p["b"]))
        return h, (h,), (h,)

    return _nonlinear(given, "h.y h.x", step)


def _preactivations(p: Tensors, u: torch.Tensor, above: States, left: States) -> States:
    joined = torch.cat([p["W"], p["U_y"], p["U_x"]], 1)
    whole = torch.nn.functional.linear(torch.cat([u, above[0], left[0]], 1), joined, p["b"])
    return whole.unflatten(1, (5, -1)).unbind(1)


def _mdlstm(given: Given) -> Tensors:
    p = given.params

    def step(u: torch.Tensor, above: States, left: States) -> tuple[torch.Tensor, States, States]:
        i, fy, fx, g, o = _preactivations(p, u, above, left)
        memories = torch.stack([above[1], left[1]])
        forget = torch.sigmoid(torch.stack([fy, fx]) + torch.stack([p["pf_y"], p["pf_x"]])[:, None] * memories)
        write = torch.sigmoid(i + torch.einsum("ah,abh->bh", torch.stack([p["pi_y"], p["pi_x"]]), memories))
        c = write * torch.tanh(g) + (forget * memories).sum(0)
        h = torch.sigmoid(o + p["po"] * c) * torch.tanh(c)
        return h, (h, c), (h, c)

    return _nonlinear(given, "h.y c.y h.x c.x", step)


def _mdlstm_stable(given: Given) -> Tensors:
    p = given.params

    def step(u: torch.Tensor, above: States, left: States) -> tuple[torch.Tensor, States, States]:
        i, f, part, g, o = _preactivations(p, u, above, left)
        shares = torch.softmax(torch.stack([part, torch.zeros_like(part)]), 0)
        c = torch.sigmoid(f) * (shares * torch.stack([above[1], left[1]])).sum(0) + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c), (h, c)

    return _nonlinear(given, "h.y c.y h.x c.x", step)


def _grid_lstm(given: Given) -> Tensors:
    """`torch.nn.LSTMCell` along each axis; its own hidden state is among its inputs."""
    hidden = given.sizes["H"]
    cell = torch.nn.LSTMCell(given.sizes["D"] + 2 * hidden, hidden, dtype=torch.float64)

    def run(axis: str, z: torch.Tensor, memory: torch.Tensor) -> States:
        """The package's gates are in the order i, f, cell, o."""
        parts = (given.params[f"{name}_{axis}"].unflatten(0, (4, -1)) for name in "Wb")
        weight, bias = (part[[0, 1, 3, 2]].flatten(0, 1) for part in parts)
        none = torch.zeros(4 * hidden, hidden, dtype=torch.float64)
        weights = {"weight_ih": weight, "bias_ih": bias, "weight_hh": none, "bias_hh": none[:, 0]}
        return torch.func.functional_call(cell, weights, (z, (torch.zeros_like(memory), memory)))

    def step(u: torch.Tensor, above: States, left: States) -> tuple[torch.Tensor, States, States]:
        z = torch.cat([u, above[0], left[0]], 1)
        down, right = run("y", z, above[1]), run("x", z, left[1])
        return torch.cat([down[0], right[0]], 1), down, right

    found = _nonlinear(given, "h_y m_y h_x m_x", step)
    down, right = found.pop("h").chunk(2, -1)
    return {"h_y": down, "h_x": right, **found}


def _rnnt(given: Given) -> Tensors:
    """Every way of reading t frames and writing u labels, one by one."""
    blank, label = given.inputs["blank"], given.inputs["label"]
    frames, labels = blank.shape[1:]

    def ways(t: int, u: int) -> Iterator[torch.Tensor]:
        for written in combinations(range(t + u), u):
            at, total = [0, 0], torch.zeros(len(blank), dtype=blank.dtype)
            for turn in range(t + u):
                total = total + (label if turn in written else blank)[:, at[0], at[1]]
                at[turn in written] += 1
            yield total

    alpha = torch.stack(
        [
            torch.stack([torch.logsumexp(torch.stack([*ways(t, u)]), 0) for u in range(labels)], 1)
            for t in range(frames)
        ],
        1,
    )
    return {"alpha": alpha, "finished": alpha + blank}


def _trellis(given: Given) -> Tensors:
    """Level after level, each a convolution of the whole text; what is before the text is given for each level."""
    p, hidden = given.params, given.sizes["H"]
    before = given.state["below[t-1]"]
    below, outputs, last = torch.cat([given.state[name] for name in "xzc"], -1), [], []
    for level in range(before.shape[1]):
        whole = torch.cat([before[:, level, None], below], 1)
        last.append(whole[:, -1])
        gates = torch.nn.functional.conv1d(whole[..., :-hidden].mT, p["W"], p["b"]).mT
        i, o, g, f = gates.unflatten(-1, (4, hidden)).unbind(-2)
        c = torch.sigmoid(f) * whole[:, :-1, -hidden:] + torch.sigmoid(i) * torch.tanh(g)
        z = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(z)
        below = torch.cat([below[..., : given.sizes["D"]], z, c], -1)
    x, z, c = below.split([given.sizes["D"], hidden, hidden], -1)
    final = {"x": x, "z": z, "c": c, "below[t-1]": torch.stack(last, 1)}
    return {"z": torch.stack(outputs, 1), **{f"state.{name}": tensor for name, tensor in final.items()}}


PLACE_BY_PLACE = "place by place, from the last one backwards"
GATES = {"N": 2, "K": 3, "V": 4}

ROWS = (
    Row("plstm1d", GATES, PLSTM, partial(_plstm, states="C", gates=_chain)),
    Row("plstm2d", GATES, PLSTM, partial(_plstm, states="DR", gates=_p_mode)),
    Row(
        "plstm2d_code",
        GATES,
        PLSTM,
        partial(_plstm, states="DR", gates=_p_code),
        slip="The paper has gamma a and gamma (1 - a), the code t and 1 - t; this is the code's form.",
    ),
    Row("plstm2d_d", GATES, PLSTM, partial(_plstm, states="DR", gates=_d_mode)),
    Row("plstm2d_d_mirrored", GATES, PLSTM, partial(_plstm, states="DR", gates=_d_mirrored)),
    Row("plstm2d_tracking", {"N": 2, "K": 3, "V": 4, "J": 2}, PLSTM, _tracking),
    Row("plstm3d", GATES, PLSTM, partial(_plstm, states="ABC", gates=_cube)),
    Row("md_rnn", {"D": 3, "H": 4}, PLACE_BY_PLACE, _md_rnn),
    Row("mdlstm", {"D": 3, "H": 4}, PLACE_BY_PLACE, _mdlstm),
    Row("mdlstm_stable", {"D": 3, "H": 4}, PLACE_BY_PLACE, _mdlstm_stable),
    Row("grid_lstm", {"D": 3, "H": 4}, f"torch.nn.LSTMCell along each axis, {PLACE_BY_PLACE}", _grid_lstm),
    Row("trellis_grid", {"D": 3, "H": 2}, "torch.nn.functional.conv1d, level after level", _trellis),
    Row("rnnt_lattice", {}, "brute force: every path to every place", _rnnt, starts=False),
)
