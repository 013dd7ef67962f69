"""Relatives of the LSTM and the GRU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchrecurrent
from torch.nn.functional import layer_norm, linear

from support.peers import gated_composed, gated_relatives
from support.peers.row import Given, Row, T, Tensors

RNN = {"D": 3, "H": 5}
NARX = {"D": 3, "H": 5, "O": 2, "P": 2, "Q": 3}
HEADS = {"N": 2, "P": 3}


def _unroll(cell: torch.nn.Module, weights: Tensors, x: torch.Tensor, *start: torch.Tensor) -> list[torch.Tensor]:
    """What a package's cell makes of a sequence: each of its states, [B, T, …]."""
    states, steps = start, []
    for t in range(T):
        found = torch.func.functional_call(cell, weights, (x[:, t], states if len(states) > 1 else states[0]))
        states = found if isinstance(found, tuple) else (found,)
        steps.append(states)
    return [torch.stack(step, dim=1) for step in zip(*steps)]


def _last(**states: torch.Tensor) -> Tensors:
    return {f"state.{name}": values[:, -1] for name, values in states.items()}


# torch.nn.LSTM and its options

GATES = {"W_ih": "weight_ih", "W_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}


def _torch_lstm(
    given: Given, weights: Tensors, h: torch.Tensor, c: torch.Tensor, **options: int | bool
) -> tuple[torch.Tensor, ...]:
    layer = torch.nn.LSTM(given.sizes["D"], given.sizes["H"], batch_first=True, dtype=torch.float64, **options)
    outputs, last = torch.func.functional_call(layer, weights, (given.inputs["x"], (h, c)))
    return outputs, *last


def lstm_projection(given: Given) -> Tensors:
    names = {**GATES, "W_hr": "weight_hr"}
    weights = {f"{theirs}_l0": given.params[ours] for ours, theirs in names.items()}
    start = (given.state["r"][None], given.state["c"][None])
    outputs, r, c = _torch_lstm(given, weights, *start, proj_size=given.sizes["R"])
    return {"r": outputs, "state.r": r[0], "state.c": c[0]}


def _several(given: Given, endings: Mapping[str, str], **options: int | bool) -> Tensors:
    """The LSTMs that a cell uses, by scope, as layers or directions of one module."""
    weights = {
        theirs + ending: given.params[f"{scope}.{ours}"]
        for scope, ending in endings.items()
        for ours, theirs in GATES.items()
    }
    start = [torch.stack([given.state[f"{scope}.{name}"] for scope in endings]) for name in "hc"]
    outputs, h, c = _torch_lstm(given, weights, *start, **options)
    last = {f"state.{scope}.{name}": s for name, all_ in (("h", h), ("c", c)) for scope, s in zip(endings, all_)}
    return {"h": outputs, **last}


def bidirectional_lstm(given: Given) -> Tensors:
    return _several(given, {"lstm": "_l0", "lstm_2": "_l0_reverse"}, bidirectional=True)


def stacked_lstm(given: Given) -> Tensors:
    turns = range(given.sizes["L"])
    return _several(given, {f"layers.{i}": f"_l{i}" for i in turns}, num_layers=len(turns))


def _headwise(given: Given, module: type[torch.nn.RNNBase], gates: str, weights: Mapping[str, str]) -> Tensors:
    """A layer of torch for each head, whose input weights let the gates' inputs through as they are."""
    (n, width), heads = (given.sizes["N"], given.sizes["P"]), []
    x = torch.cat([given.inputs[gate] for gate in gates], -1)
    layer = module(len(gates) * width, width, batch_first=True, dtype=torch.float64)
    start = [given.state[name] for name in "hc" if name in given.state]
    for i in range(n):
        named = {
            f"{theirs}_l0": torch.cat(
                [
                    given.params[name][i] if name else torch.zeros_like(given.state["h"][0, i])
                    for name in ours.split(",")
                ]
            )
            for theirs, ours in weights.items()
        }
        named["weight_ih_l0"] = torch.eye(len(gates) * width, dtype=torch.float64)
        at = tuple(state[None, :, i] for state in start)
        heads.append(torch.func.functional_call(layer, named, (x[:, :, i], at if len(at) > 1 else at[0]))[0])
    return {"h": torch.stack(heads, 2)}


def headwise_rnn(given: Given) -> Tensors:
    return _headwise(given, torch.nn.RNN, "x", {"weight_hh": "R", "bias_ih": "b", "bias_hh": ""})


def headwise_lstm(given: Given) -> Tensors:
    rows = {"weight_hh": "Ri,Rf,Rz,Ro", "bias_ih": "bi,bf,bz,bo", "bias_hh": ",,,"}
    return _headwise(given, torch.nn.LSTM, "ifzo", rows)


def headwise_gru(given: Given) -> Tensors:
    return _headwise(given, torch.nn.GRU, "rzn", {"weight_hh": "Rr,Rz,Rg", "bias_ih": "br,bz,bn", "bias_hh": ",,bg"})


# Cells of torchrecurrent, with weights that make them the cell in question


def _packed(
    cell: type[torch.nn.Module], rows: Mapping[str, torch.Tensor], x: torch.Tensor, *start: torch.Tensor
) -> list[torch.Tensor]:
    """A cell whose W, U, b (and peepholes p) are given gate upon gate; its second bias is not needed."""
    names = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "p": "weight_ph"}
    weights = {names[letter]: values for letter, values in rows.items()}
    module = cell(x.shape[-1], start[0].shape[-1], dtype=torch.float64)
    return _unroll(module, {**weights, "bias_hh": torch.zeros_like(rows["b"])}, x, *start)


def lstm_1997(given: Given) -> Tensors:
    """Gates repeated for every cell of a block; 2 sigmoid(x) - 1 is tanh(x/2), so halves of the cells are kept."""
    p, cells = given.params, given.sizes["S"]
    gate = {name: p[name].repeat_interleave(cells, 0) for name in p if not name.endswith("_c")}
    rows = {k: torch.cat([gate[f"{k}_in"], p[f"{k}_c"] / 2, gate[f"{k}_out"]]) for k in "WUb"}
    start = given.state["y"].flatten(1), given.state["s"].flatten(1) / 2
    found = _packed(torchrecurrent.OriginalLSTMCell, rows, given.inputs["x"], *start)
    y, half = (values.unflatten(-1, (-1, cells)) for values in found)
    return {"y": y, **_last(y=y, s=2 * half)}


def coupled_lstm(given: Given) -> Tensors:
    """1 - sigmoid(x) is sigmoid(-x): the forget gate has the input gate's weights, with the other sign."""
    p = given.params
    rows = {k: torch.cat([p[f"{k}i"], -p[f"{k}i"], p[f"{k}z"], p[f"{k}o"]]) for k in "WRb"}
    peepholes = torch.cat([p["pi_"], -p["pi_"], p["po"]])
    weights = {"W": rows["W"], "U": rows["R"], "b": rows["b"], "p": peepholes}
    y, c = _packed(torchrecurrent.PeepholeLSTMCell, weights, given.inputs["x"], given.state["y"], given.state["c"])
    return {"y": y, **_last(y=y, c=c)}


def gru_chung(given: Given) -> Tensors:
    p = given.params
    rows = {k: torch.cat([p[f"{k}z"], p[f"{k}r"], p[k]]) for k in "WUb"}
    (h,) = _packed(torchrecurrent.MUT2Cell, rows, given.inputs["x"], given.state["h"])
    return {"h": h, **_last(h=h)}


def _dense(given: Given, gates: str) -> dict[str, torch.Tensor]:
    """Vectors of recurrent weights, and matrices for each head, as the dense matrices of a cell without heads."""
    p = given.params
    return {
        "W": torch.cat([torch.block_diag(*p[f"B{gate}"]) for gate in gates]),
        "U": torch.cat([torch.diag(p[f"a{gate}"].flatten()) for gate in gates]),
        "b": torch.cat([p[f"b{gate}"].flatten() for gate in gates]),
    }


def para_gru(given: Given) -> Tensors:
    start = given.state["h"]
    (h,) = _packed(torchrecurrent.MUT2Cell, _dense(given, "zrh"), given.inputs["x"].flatten(2), start.flatten(1))
    return {"h": h.unflatten(-1, start.shape[1:]), **_last(h=h.unflatten(-1, start.shape[1:]))}


def para_lstm(given: Given) -> Tensors:
    """The input gate is 1 - f: the forget gate's weights, with the other sign."""
    opposite = {**given.params, **{f"{k}i": -given.params[f"{k}f"] for k in "aBbc"}}
    given = Given(opposite, given.inputs, given.state, given.sizes)
    peepholes = torch.cat([given.params[f"c{gate}"].flatten() for gate in "ifo"])
    weights = {**_dense(given, "ifzo"), "p": peepholes}
    start = [given.state[name].flatten(1) for name in "hc"]
    found = _packed(torchrecurrent.PeepholeLSTMCell, weights, given.inputs["x"].flatten(2), *start)
    h, c = (values.unflatten(-1, given.state["h"].shape[1:]) for values in found)
    return {"h": h, **_last(h=h, c=c)}


# Second derivations


def jordan(given: Given) -> Tensors:
    """The context as the sum over all earlier outputs, instead of a running trace."""
    p, x = given.params, given.inputs["x"]
    outputs: list[torch.Tensor] = []
    for t in range(T):
        traces = [p["mu"] ** (t - s - 1) * y for s, y in enumerate(outputs)]
        context = sum(traces, p["mu"] ** t * given.state["s"])
        hidden = torch.sigmoid(linear(torch.cat([x[:, t], context], 1), torch.cat([p["W"], p["U"]], 1), p["b"]))
        outputs.append(torch.sigmoid(linear(hidden, p["V"], p["c"])))
    return {"y": torch.stack(outputs, dim=1)}


def narx(given: Given) -> Tensors:
    """The last outputs from a list of all, as one vector with the last inputs."""
    p, (reach, back), width = given.params, (given.sizes["P"], given.sizes["Q"]), given.sizes["O"]
    x = torch.nn.functional.pad(given.inputs["x"], (0, 0, reach, 0))
    outputs = list(torch.zeros(back, x.shape[0], width, dtype=torch.float64))
    weight = torch.cat([*p["W"], *p["U"]], -1)
    for t in range(T):
        read = torch.cat([x[:, t : t + reach + 1].flatten(1), *outputs[t : t + back]], -1)
        outputs.append(linear(linear(read, weight, p["b"]).tanh(), p["V"], p["c"]))
    return {"y": torch.stack(outputs[back:], 1)}


def layer_norm_lstm(given: Given) -> Tensors:
    p, h, c, steps = given.params, given.state["h"], given.state["c"], []

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(values, values.shape[-1:], p[f"gain_{name}"], p[f"bias_{name}"])

    below = norm(given.inputs["x"] @ p["Wx"].T, "x") + p["b"]
    for t in range(T):
        gates = (below[:, t] + norm(h @ p["Wh"].T, "h")).unflatten(-1, (4, -1))
        f, i, o = gates[:, :3].sigmoid().unbind(1)
        c = f * c + i * gates[:, 3].tanh()
        h = o * norm(c, "c").tanh()
        steps.append(h)
    return {"h": torch.stack(steps, dim=1), "state.h": h, "state.c": c}


ROWS: tuple[Row, ...] = (
    Row("lstm_projection", {**RNN, "R": 2}, "torch.nn.LSTM(proj_size=R)", lstm_projection),
    Row("bidirectional_lstm", RNN, "torch.nn.LSTM(bidirectional=True)", bidirectional_lstm),
    Row("stacked_lstm", {**RNN, "L": 3}, "torch.nn.LSTM(num_layers=L)", stacked_lstm),
    Row("headwise_rnn", HEADS, "torch.nn.RNN, one for each head", headwise_rnn),
    Row("headwise_lstm", HEADS, "torch.nn.LSTM, one for each head", headwise_lstm),
    Row("headwise_gru", HEADS, "torch.nn.GRU, one for each head", headwise_gru),
    Row(
        "coupled_lstm",
        RNN,
        "torchrecurrent.PeepholeLSTM, input gate with the forget gate's weights negated",
        coupled_lstm,
    ),
    Row("lstm_1997", {"D": 3, "N": 2, "S": 3}, "torchrecurrent.OriginalLSTM, gates repeated over a block", lstm_1997),
    Row("gru_chung", RNN, "torchrecurrent.MUT2", gru_chung),
    Row("para_gru", {"N": 2, "P": 3, "H": 5}, "torchrecurrent.MUT2 with diagonal matrices", para_gru),
    Row("para_lstm", {"N": 2, "P": 3, "H": 5}, "torchrecurrent.PeepholeLSTM with diagonal matrices", para_lstm),
    Row("jordan", {"D": 3, "H": 5, "O": 2}, "second derivation: the context as a sum over all earlier outputs", jordan),
    Row("layer_norm_lstm", RNN, "torch.nn.functional.layer_norm in a loop", layer_norm_lstm),
    Row("narx", NARX, "second derivation: the last outputs from a list of all", narx, starts=False),
    *gated_relatives.ROWS,
    *gated_composed.ROWS,
)
