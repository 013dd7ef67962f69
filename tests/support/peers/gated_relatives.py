"""Cells made of an LSTM or a GRU and something before, after or around it; oscillators and reservoirs."""

from __future__ import annotations

import numpy as np
import torch
import torchrecurrent
from torch.func import functional_call
from torch.nn.functional import layer_norm, linear, max_pool1d, pad

from lsrl.backends.arrays import Array
from support.peers.row import B, Given, Row, T, Tensors, positive, unit

RNN = {"D": 3, "H": 5}


def _lstm_cell(given: Given) -> torch.nn.LSTMCell:
    """torch's LSTM cell, which takes weights from functional calls."""
    return torch.nn.LSTMCell(given.sizes["D"], given.sizes["H"], dtype=torch.float64)


def _lstm_weights(given: Given) -> Tensors:
    p = given.params
    return {"weight_ih": p["W_ih"], "weight_hh": p["W_hh"], "bias_ih": p["b"], "bias_hh": torch.zeros_like(p["b"])}


def mogrifier_lstm(given: Given) -> Tensors:
    cell, weights = _lstm_cell(given), _lstm_weights(given)
    rounds = [(name[-1], p) for name, p in given.params.items() if name[-1] in "QR"]  # in the order of declaration
    h, c, steps = given.state["h"], given.state["c"], []
    for t in range(T):
        x = given.inputs["x"][:, t]
        for name, weight in rounds:
            if name == "Q":
                x = 2 * torch.sigmoid(linear(h, weight)) * x
            else:
                h = 2 * torch.sigmoid(linear(x, weight)) * h
        h, c = functional_call(cell, weights, (x, (h, c)))
        steps.append(h)
    return {"h": torch.stack(steps, 1), "state.h": h, "state.c": c}


def time_aware_lstm(given: Given) -> Tensors:
    p, cell, weights = given.params, _lstm_cell(given), _lstm_weights(given)
    h, c, steps = given.state["h"], given.state["c"], []
    for t in range(T):
        discount = 1 / torch.log(torch.e + given.inputs["elapsed"][:, t, None])
        short = torch.tanh(linear(c, p["W_d"], p["b_d"]))
        h, c = functional_call(cell, weights, (given.inputs["x"][:, t], (h, (c - short) + discount * short)))
        steps.append(h)
    return {"h": torch.stack(steps, 1), "state.h": h, "state.c": c}


def phased_lstm(given: Given) -> Tensors:
    """How far a clock is open, as a triangle that is clipped, instead of by cases."""
    p, cell = given.params, torchrecurrent.PeepholeLSTMCell(given.sizes["D"], given.sizes["H"], dtype=torch.float64)
    weights = {**_lstm_weights(given), "weight_ph": torch.cat([p["w_ci"], p["w_cf"], p["w_co"]])}
    phase = torch.frac((given.inputs["time"][..., None] - p["s"]) / p["tau"])
    phase = phase + (phase < 0)
    triangle = 1 - torch.abs(2 * phase / p["r_on"] - 1)
    opened = torch.where(triangle > 0, triangle, phase / 1000)
    h, c, steps = given.state["h"], given.state["c"], []
    for t in range(T):
        new_h, new_c = functional_call(cell, weights, (given.inputs["x"][:, t], (h, c)))
        h, c = torch.lerp(h, new_h, opened[:, t]), torch.lerp(c, new_c, opened[:, t])
        steps.append(h)
    return {"h": torch.stack(steps, 1), "state.h": h, "state.c": c}


def _cumulated(p: Tensors, gate: str, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """The cumulated softmax of a master gate, as a product with a triangle."""
    split = linear(x, p[f"Wm{gate}"], p[f"bm{gate}"]) + linear(h, p[f"Um{gate}"])
    return split.softmax(-1) @ torch.triu(torch.ones_like(p[f"bm{gate}"]).repeat(len(p[f"bm{gate}"]), 1))


def on_lstm(given: Given) -> Tensors:
    """A usual LSTM, between the parts that only keep and only write."""
    p, (n, width) = given.params, (given.sizes["N"], given.sizes["C"])
    cell = torch.nn.LSTMCell(given.sizes["D"], n * width, dtype=torch.float64)
    rows = {letter: torch.cat([p[f"{letter}{gate}"] for gate in "ifco"]) for letter in "WUb"}
    weights = {"weight_ih": rows["W"], "weight_hh": rows["U"], "bias_ih": rows["b"], "bias_hh": 0 * rows["b"]}
    h, c, steps = given.state["h"], given.state["c"].flatten(1), []
    for t in range(T):
        x, past = given.inputs["x"][:, t], c
        keep, write = _cumulated(p, "f", x, h), 1 - _cumulated(p, "i", x, h)
        o, g = (linear(x, p[f"W{k}"], p[f"b{k}"]) + linear(h, p[f"U{k}"]) for k in "oc")
        _, usual = functional_call(cell, weights, (x, (h, past)))
        keep, write = (gate.repeat_interleave(width, -1) for gate in (keep, write))
        c = keep * write * usual + keep * (1 - write) * past + write * (1 - keep) * g.tanh()
        h = o.sigmoid() * c.tanh()
        steps.append(h)
    return {"h": torch.stack(steps, 1), "state.h": h, "state.c": c.unflatten(-1, (n, width))}


def _last_seen(given: Given, t: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The last value seen of every series up to a position, and the time since the one before; found by search."""
    x, seen, elapsed = (given.inputs[name] for name in ("x", "seen", "elapsed"))
    values, ages = given.state["last"], elapsed[:, : t + 1].sum(1, keepdim=True) + given.state["since"]
    for s in range(t + 1):
        values = torch.where(seen[:, s], x[:, s], values)
        if s < t:
            ages = torch.where(seen[:, s], elapsed[:, s + 1 : t + 1].sum(1, keepdim=True), ages)
    return values, ages


def gru_d(given: Given) -> Tensors:
    p, sizes = given.params, given.sizes
    rows = {letter: torch.cat([p[f"{letter}{gate}"] for gate in ("z", "r", "")]) for letter in "WUVb"}
    weights = {"weight_ih": torch.cat([rows["W"], rows["V"]], 1), "weight_hh": rows["U"], "bias_ih": rows["b"]}
    weights["bias_hh"] = torch.zeros_like(rows["b"])
    cell = torchrecurrent.MUT2Cell(2 * sizes["D"], sizes["H"], dtype=torch.float64)
    h, steps = given.state["h"], []
    for t in range(T):
        last, age = _last_seen(given, t)
        keeps = torch.exp(-torch.relu(p["w_x"] * age + p["b_x"]))
        seen = given.inputs["seen"][:, t]
        x = torch.where(seen, given.inputs["x"][:, t], torch.lerp(p["mean_x"].expand_as(last), last, keeps))
        faded = h * torch.exp(-torch.relu(linear(age, p["W_h"], p["b_h"])))
        h = functional_call(cell, weights, (torch.cat([x, seen.double()], 1), faded))
        steps.append(h)
    return {"h": torch.stack(steps, 1), "state.h": h, "state.last": last, "state.since": torch.where(seen, 0, age)}


def langevin_flow(given: Given) -> Tensors:
    """The dynamics are affine: places as sums over powers of one matrix."""
    p, n, dt = given.params, given.sizes["Z"], 0.1
    one = torch.eye(n, dtype=torch.float64)
    edges = one - one.roll(1, 1)
    stiffness = torch.diag(p["spring"]) + edges.T @ torch.diag(p["tie"]) @ edges
    from_v, from_z = (1 - dt * p["gamma"]) * one, -dt * stiffness
    step = torch.cat([torch.cat([from_v, from_z], 1), torch.cat([dt * from_v, one + dt * from_z], 1)])
    kick = dt * given.inputs["x"] @ p["W"].T
    kick = kick + torch.sqrt(2 * dt * p["gamma"] * p["temperature"]) * given.inputs["eps"]
    pushes = torch.cat([kick, dt * kick], -1)
    powers = [torch.linalg.matrix_power(step, k) for k in range(T + 1)]
    start = torch.cat([given.state["v"], given.state["z"]], -1)
    states = [start @ powers[t + 1].T + sum(pushes[:, s] @ powers[t - s].T for s in range(t + 1)) for t in range(T)]
    z = torch.stack(states, 1)[..., n:]
    return {"z": z, "state.v": states[-1][:, :n], "state.z": z[:, -1]}


def dilated_rnn(given: Given) -> Tensors:
    """Every chain of a layer is a sequence of its own for torch's network."""
    y = given.inputs["x"]
    for i in range(given.sizes["L"]):
        p = {name: given.params[f"layers.{i}.{name}"] for name in "WUb"}
        layer = torch.nn.RNN(y.shape[-1], given.sizes["H"], batch_first=True, dtype=torch.float64)
        weights = {"weight_ih_l0": p["W"], "weight_hh_l0": p["U"], "bias_ih_l0": p["b"], "bias_hh_l0": 0 * p["b"]}
        below, y = y, torch.zeros(B, T, given.sizes["H"], dtype=torch.float64)
        for chain in range(2**i):
            places = torch.arange(chain, T, 2**i)
            y = y.index_copy(1, places, functional_call(layer, weights, (below[:, places],))[0])
    return {"y": y}


def echo_state(given: Given) -> Tensors:
    p, (d, width) = given.params, (given.sizes["D"], given.sizes["H"])
    cell, h, steps = torch.nn.RNNCell(d, width, bias=False, dtype=torch.float64), given.state["h"], []
    for t in range(T):
        new = functional_call(cell, {"weight_ih": p["W"], "weight_hh": p["U"]}, (given.inputs["x"][:, t], h))
        h = torch.lerp(h, new, p["leak"])
        steps.append(h)
    return {"y": linear(torch.stack(steps, 1), p["V"], p["c"]), "state.h": h}


def nested_lstm(given: Given) -> Tensors:
    """The inner LSTM is torch's; what the outer one keeps is its hidden state, what it writes its input."""
    p, inner = given.params, torch.nn.LSTMCell(given.sizes["H"], given.sizes["H"], dtype=torch.float64)
    weights = {"weight_ih": p["V_ih"], "weight_hh": p["V_hh"], "bias_ih": p["d"], "bias_hh": torch.zeros_like(p["d"])}
    h, c, memory, steps = given.state["h"], given.state["c"], given.state["c_inner"], []
    for t in range(T):
        gates = linear(given.inputs["x"][:, t], p["W_ih"], p["b"]) + linear(h, p["W_hh"])
        i, f, g, o = gates.unflatten(-1, (4, -1)).unbind(1)
        c, memory = functional_call(inner, weights, (i.sigmoid() * g.tanh(), (f.sigmoid() * c, memory)))
        h = o.sigmoid() * c.tanh()
        steps.append(h)
    return {"h": torch.stack(steps, 1), "state.h": h, "state.c": c, "state.c_inner": memory}


def hyper_lstm(given: Given) -> Tensors:
    """The scales as weights: every position has matrices of its own, made by one product."""
    p, (d, width, m) = given.params, (given.sizes[name] for name in "DHM")
    small = torch.nn.LSTMCell(d + width, m, dtype=torch.float64)
    names = {"weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    weights = {theirs: p[f"lstm.{ours}"] for theirs, ours in names.items()}
    h, c, hyper, steps = given.state["h"], given.state["c"], (given.state["lstm.h"], given.state["lstm.c"]), []

    def made(letter: str, bias: torch.Tensor | None) -> torch.Tensor:
        z = linear(hyper[0], p[f"Z{letter}"], bias).unflatten(-1, (4, -1, 1))
        return (p[f"D{letter}"] @ z).squeeze(-1)

    for t in range(T):
        x = given.inputs["x"][:, t]
        hyper = functional_call(small, weights, (torch.cat([x, h], -1), hyper))
        from_h = made("h", p["bh"]).flatten(1)[..., None] * p["Wh"]
        from_x = made("x", p["bx"]).flatten(1)[..., None] * p["Wx"]
        sums = (torch.cat([from_h, from_x], -1) @ torch.cat([h, x], -1)[..., None]).unflatten(1, (4, -1))[..., 0]
        gates = layer_norm(sums + made("b", None) + p["b0"], (width,)) * p["gain"] + p["bias"]
        i, g, f, o = gates.unbind(1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * layer_norm(c, (width,), p["gain_c"], p["bias_c"]).tanh()
        steps.append(h)
    last = {"state.h": h, "state.c": c, "state.lstm.h": hyper[0], "state.lstm.c": hyper[1]}
    return {"h": torch.stack(steps, 1), **last}


def encoder_decoder(given: Given) -> Tensors:
    """The decoder as torch's GRU on the state and the context, of which it changes the state alone."""
    p, (d, n) = given.params, (given.sizes["D"], given.sizes["H"])
    own = {name.removeprefix("encoder.gru2014."): value for name, value in p.items()}
    reads = {k: torch.cat([-own[f"{k}z"], own[f"{k}r"], own[k]]) for k in "WUb"}  # there z writes
    reads = {"weight_ih": reads["W"], "weight_hh": reads["U"], "bias_ih": reads["b"], "bias_hh": 0 * reads["b"]}
    encoder = torchrecurrent.MUT2Cell(d, n, dtype=torch.float64)
    decoder = torch.nn.GRUCell(d, 2 * n, bias=False, dtype=torch.float64)
    both = {gate: torch.cat([p[f"U{gate}"], p[f"C{gate}"]], 1) for gate in ("r", "z", "")}
    writes = {
        "weight_ih": torch.cat([pad(p[f"W{gate}"], (0, 0, 0, n)) for gate in both]),
        "weight_hh": torch.cat([pad(rows, (0, 0, 0, n)) for rows in both.values()]),
    }
    seen, h, steps = given.state["encoder.gru2014.h"], given.state["h"], []
    for t in range(T):
        x, target, first = (given.inputs[name][:, t] for name in ("x", "target", "first"))
        seen = torch.where(target[:, None], seen, functional_call(encoder, reads, (x, seen)))
        context = torch.tanh(linear(seen, p["V"]))
        h = torch.where(first[:, None], torch.tanh(linear(context, p["V_start"])), h)
        h = functional_call(decoder, writes, (x, torch.cat([h, context], 1)))[:, :n]
        steps.append(linear(torch.cat([h, x, context], 1), torch.cat([p["Oh"], p["Oy"], p["Oc"]], 1)))
    s = max_pool1d(torch.stack(steps, 1).flatten(0, 1), 2).unflatten(0, (B, T))
    return {"s": s, "state.h": h, "state.encoder.gru2014.h": seen}




def _after_start(drawn: Array) -> Array:
    """The distance of each position from where its sequence's targets start."""
    batch, length = drawn.shape
    return np.arange(length) - (np.arange(batch)[:, None] + 3)


TEXTS = {"target": lambda drawn: _after_start(drawn) >= 0, "first": lambda drawn: _after_start(drawn) == 0}

ROWS: tuple[Row, ...] = (
    Row("mogrifier_lstm", {**RNN, "L": 2, "E": 1}, "torch.nn.LSTMCell after rounds of gates", mogrifier_lstm),
    Row("time_aware_lstm", RNN, "torch.nn.LSTMCell with aged cells", time_aware_lstm, ranges={"elapsed": positive}),
    Row(
        "phased_lstm",
        RNN,
        "torchrecurrent.PeepholeLSTM, and its steps in proportion",
        phased_lstm,
        ranges={"tau": positive, "r_on": unit},
    ),
    Row(
        "on_lstm", {"D": 3, "N": 4, "C": 2}, "torch.nn.LSTMCell, in the share where both master gates are open", on_lstm
    ),
    Row("gru_d", RNN, "torchrecurrent.MUT2, last values found by search", gru_d, ranges={"elapsed": positive}),
    Row(
        "langevin_flow",
        {"D": 3, "Z": 5},
        "closed form: sums over powers of the matrix of the dynamics",
        langevin_flow,
        ranges={"spring": positive, "tie": positive, "gamma": positive, "temperature": positive},
    ),
    Row("dilated_rnn", {**RNN, "L": 3}, "torch.nn.RNN on every chain of a layer", dilated_rnn, starts=False),
    Row("echo_state", {**RNN, "O": 2}, "torch.nn.RNNCell, leaking", echo_state),
    Row("nested_lstm", RNN, "torch.nn.LSTMCell inside", nested_lstm),
    Row("hyper_lstm", {**RNN, "M": 4, "E": 2}, "torch.nn.LSTMCell that makes weights", hyper_lstm),
    Row(
        "encoder_decoder",
        {**RNN, "S": 2},
        "torchrecurrent.MUT2, then torch.nn.GRUCell with a context",
        encoder_decoder,
        ranges=TEXTS,
    ),
)
