"""Convolutions of states, and refinement in depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torchrecurrent
from torch.nn.functional import conv1d, conv2d, gelu, grid_sample, linear, max_pool1d, max_pool2d

from support.peers import finite_memory
from support.peers.row import B, Given, Row, T, Tensors

# Cells on maps, as cells of a package on all numbers of the maps, with matrices that convolve


def _matrix(kernel: torch.Tensor, places: tuple[int, int]) -> torch.Tensor:
    """The matrix of a convolution with padding: what it makes of every map that is 1 at one place."""
    channels = kernel.shape[1]
    basis = torch.eye(channels * places[0] * places[1], dtype=kernel.dtype).unflatten(1, (channels, *places))
    return conv2d(basis, kernel, padding="same").flatten(1).T


def _on_maps(
    given: Given, cell: type[torch.nn.Module], gates: Mapping[str, Sequence[str]], *states: str
) -> list[torch.Tensor]:
    """What a cell of torchrecurrent gives, [B, T, H, Y, X]; `gates` names its parameters, block upon block."""
    x, p, places = given.inputs["x"], given.params, (given.sizes["Y"], given.sizes["X"])
    start = tuple(given.state[name].flatten(1) for name in states)
    weights = {
        "weight_ih": torch.cat([_matrix(p[name], places) for name in gates["W"]]),
        "weight_hh": torch.cat([_matrix(p[name], places) for name in gates["U"]]),
        "bias_ih": torch.cat([p[name].repeat_interleave(places[0] * places[1]) for name in gates["b"]]),
    }
    weights["bias_hh"] = torch.zeros_like(weights["bias_ih"])
    if "p" in gates:
        weights["weight_ph"] = torch.cat([p[name].flatten() for name in gates["p"]])
    module = cell(x[0, 0].numel(), start[0].shape[-1], dtype=torch.float64)
    steps = []
    for t in range(T):
        told = start if len(start) > 1 else start[0]
        found = torch.func.functional_call(module, weights, (x[:, t].flatten(1), told))
        found = found if isinstance(found, tuple) else (found,)
        start = found[-len(states) :]
        steps.append(found)
    return [torch.stack(step, dim=1).unflatten(-1, given.state[states[0]].shape[1:]) for step in zip(*steps)]


def conv_lstm(given: Given) -> Tensors:
    gates = {"W": ("Wxi", "Wxf", "Wxc", "Wxo"), "U": ("Whi", "Whf", "Whc", "Who")}
    more = {"b": ("bi", "bf", "bc", "bo"), "p": ("Wci", "Wcf", "Wco")}
    h, c = _on_maps(given, torchrecurrent.PeepholeLSTMCell, {**gates, **more}, "h", "c")
    return {"h": h, "state.h": h[:, -1], "state.c": c[:, -1]}


def conv_gru(given: Given) -> Tensors:
    gates = {"W": ("Wz", "Wr", "W"), "U": ("Uz", "Ur", "U"), "b": ("bz", "br", "b")}
    (h,) = _on_maps(given, torchrecurrent.MUT2Cell, gates, "h")
    return {"h": h, "state.h": h[:, -1]}


def conv_ugrnn(given: Given) -> Tensors:
    (h,) = _on_maps(given, torchrecurrent.UGRNNCell, {"W": ("Wc", "Wg"), "U": ("Uc", "Ug"), "b": ("bc", "bg")}, "h")
    return {"h": h, "state.h": h[:, -1]}


def conv_intersection_rnn(given: Given) -> Tensors:
    gates = {letter: [f"{letter}{gate}" for gate in ("y", "h", "gy", "gh")] for letter in "WUb"}
    y, h = _on_maps(given, torchrecurrent.IntersectionRNNCell, gates, "h")
    return {"y": y, "state.h": h[:, -1]}


def predrnn(given: Given) -> Tensors:
    """The gates of a layer as one convolution of everything that it reads."""
    (h, c), m, steps = ({}, {}), given.state["m"], []
    levels = [f"layers.{i}" for i in range(given.sizes["L"])]
    for level in levels:
        h[level], c[level] = given.state[f"{level}.h"], given.state[f"{level}.c"]
    for t in range(T):
        x = given.inputs["x"][:, t]
        for level in levels:
            h[level], c[level], m = _predrnn_layer(given.params, level, x, h[level], c[level], m)
            x = h[level]
        steps.append(x)
    last = {f"state.{level}.{name}": s[level] for name, s in (("h", h), ("c", c)) for level in levels}
    return {"y": torch.stack(steps, 1), "state.m": m, **last}


def _predrnn_layer(params: Tensors, level: str, *read: torch.Tensor) -> tuple[torch.Tensor, ...]:
    p = {name.removeprefix(f"{level}."): value for name, value in params.items() if name.startswith(f"{level}.")}
    x, h, c, m = read
    none = torch.zeros_like(p["Whg"])
    of_x = torch.cat([p[f"Wx{gate}"] for gate in ("g", "i", "f", "g2", "i2", "f2", "o")])
    of_h = torch.cat([p["Whg"], p["Whi"], p["Whf"], none, none, none, p["Who"]])
    of_m = torch.cat([none, none, none, p["Wmg"], p["Wmi"], p["Wmf"], none])
    bias = torch.cat([p[f"b{gate}"] for gate in ("g", "i", "f", "g2", "i2", "f2", "o")])
    all_ = conv2d(torch.cat([x, h, m], 1), torch.cat([of_x, of_h, of_m], 1), bias, padding="same")
    g, i, f, g2, i2, f2, o = all_.chunk(7, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    m = f2.sigmoid() * m + i2.sigmoid() * g2.tanh()
    both = torch.cat([c, m], 1)
    o = o + conv2d(both, torch.cat([p["Wco"], p["Wmo"]], 1), padding="same")
    return o.sigmoid() * conv2d(both, p["W"]).tanh(), c, m


# Recurrence in depth


def point_gru(given: Given) -> Tensors:
    """All points at once, and a package's cell, whose weights of h and x are apart."""
    p, sizes = given.params, given.sizes
    rows = {k: torch.cat([p[f"gru.{k}{gate}"] for gate in "zrq"]) for k in "Wb"}
    weights = {"weight_hh": rows["W"][:, : sizes["H"]], "weight_ih": rows["W"][:, sizes["H"] :], "bias_ih": rows["b"]}
    weights["bias_hh"] = torch.zeros_like(rows["b"])
    cell = torchrecurrent.MUT2Cell(sizes["D"], sizes["H"], dtype=torch.float64)
    x = linear(given.inputs["offset"], p["W_offset"], p["b_offset"]).flatten(0, 1)
    h = given.inputs["v"].flatten(0, 1)
    for _ in range(sizes["K"]):
        h = torch.func.functional_call(cell, weights, (x, h))
    flow = linear(gelu(linear(torch.cat([h, x], 1), p["W1"], p["b1"])), p["W2"], p["b2"])
    return {"flow": flow.unflatten(0, (B, T)), "h": h.unflatten(0, (B, T))}


def raft_gru(given: Given) -> Tensors:
    """All frames at once, with torch's sampling of images."""
    p = {name.removeprefix("update."): value for name, value in given.params.items()}
    radius, wide = given.sizes["R"], given.sizes["X"]
    h, context, volume = (given.inputs[name].flatten(0, 1) for name in ("h", "context", "volume"))
    lines = volume.reshape(-1, 1, 1, wide)
    left = torch.arange(wide, dtype=torch.float64)
    shifts = torch.arange(-radius, radius + 1, dtype=torch.float64)

    def convolved(maps: torch.Tensor, name: str) -> torch.Tensor:
        return conv2d(maps, p[f"W{name}"], p[f"b{name}"], padding="same")

    flow = torch.zeros_like(volume[..., 0])[:, None]
    for _ in range(given.sizes["K"]):
        flow = flow.detach()
        at = (left + flow[:, 0]).reshape(-1, 1, 1) + shifts
        grid = torch.stack([2 * at / (wide - 1) - 1, torch.zeros_like(at)], dim=-1)
        found = grid_sample(lines, grid, align_corners=True).reshape(*volume.shape[:3], -1).movedim(-1, 1)
        motion = torch.cat([convolved(found, "c").relu(), convolved(flow, "d").relu()], 1)
        x = torch.cat([context, convolved(motion, "m").relu(), flow], 1)
        z, r = (convolved(torch.cat([h, x], 1), gate).sigmoid() for gate in "zr")
        h = torch.lerp(h, convolved(torch.cat([r * h, x], 1), "q").tanh(), z)
        flow = flow + convolved(convolved(h, "f1").relu(), "f2")
    return {"d": flow[:, 0].unflatten(0, (B, T)), "h": h.unflatten(0, (B, T))}


def lrcn(given: Given) -> Tensors:
    """All frames at once; the LSTMs are torch's."""
    p = {name.removeprefix("vision."): value for name, value in given.params.items()}
    maps = given.inputs["frame"].flatten(0, 1)
    for layer in "12":
        maps = max_pool2d(conv2d(maps, p[f"W{layer}"], p[f"b{layer}"], padding="same").relu(), 2)
    features = linear(maps.flatten(1), p["W"], p["b"]).relu().unflatten(0, (B, T))
    width, x, last = given.sizes["H"], given.inputs["word"], {}
    for scope in ("lstm", "lstm_2"):
        layer = torch.nn.LSTM(x.shape[-1], width, batch_first=True, dtype=torch.float64)
        names = {"W_ih": "weight_ih_l0", "W_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
        weights = {theirs: p[f"{scope}.{ours}"] for ours, theirs in names.items()}
        start = tuple(given.state[f"{scope}.{name}"][None] for name in "hc")
        h, (last_h, last_c) = torch.func.functional_call(layer, weights, (x, start))
        last |= {f"state.{scope}.h": last_h[0], f"state.{scope}.c": last_c[0]}
        x = torch.cat([h, features], -1)
    return {"h": h, **last}


def recursive_conv(given: Given) -> Tensors:
    p = {name.removeprefix("group."): value for name, value in given.params.items()}
    x = given.inputs["text"].flatten(0, 1)
    for _ in range(given.sizes["L"]):
        y = conv1d(x, p["W1"], p["b1"], padding="same").relu()
        x = max_pool1d((x + conv1d(y, p["W2"], p["b2"], padding="same")).relu(), 2)
    return {"y": x.unflatten(0, (B, T))}


MAPS = {"C": 2, "H": 3, "Y": 2, "X": 4, "K": 3}
INTERSECTION = {"H": 2, "Y": 3, "X": 4, "K": 3}
PREDRNN = {"C": 1, "H": 2, "Y": 2, "X": 3, "L": 2, "K": 3}
LRCN = {"C": 2, "M": 3, "F": 4, "D": 3, "H": 5, "Y": 1, "X": 2, "K": 3}
RAFT = {"H": 2, "C": 1, "M": 3, "Y": 2, "X": 5, "R": 1, "K": 2}

ROWS: tuple[Row, ...] = (
    Row(
        "conv_lstm",
        MAPS,
        "torchrecurrent.PeepholeLSTM on all numbers of the maps, with matrices that convolve",
        conv_lstm,
    ),
    Row("conv_gru", MAPS, "torchrecurrent.MUT2 with matrices that convolve", conv_gru),
    Row("conv_ugrnn", MAPS, "torchrecurrent.UGRNN with matrices that convolve", conv_ugrnn),
    Row(
        "conv_intersection_rnn",
        INTERSECTION,
        "torchrecurrent.IntersectionRNN with matrices that convolve",
        conv_intersection_rnn,
    ),
    Row("predrnn", PREDRNN, "torch.nn.functional.conv2d, once for all gates of a layer", predrnn),
    Row("point_gru", {"D": 5, "H": 3, "K": 3}, "torchrecurrent.MUT2, one input K times", point_gru),
    Row("raft_gru", RAFT, "torch.nn.functional.grid_sample and conv2d", raft_gru),
    Row("lrcn", LRCN, "torch.nn.LSTM on torch.nn.functional.conv2d and max_pool2d", lrcn),
    Row(
        "recursive_conv", {"C": 3, "N": 20, "L": 2, "K": 3}, "torch.nn.functional.conv1d and max_pool1d", recursive_conv
    ),
    *finite_memory.ROWS,
)
