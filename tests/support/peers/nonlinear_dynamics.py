"""Nonlinear cells that bilinear forms, orthogonal matrices, differential equations or running sums define."""

from __future__ import annotations

from collections.abc import Callable

import torch
from ncps.torch import CfCCell, LTCCell
from ncps.wirings import FullyConnected
from torch.nn.functional import bilinear, linear, relu

from support.peers.row import Given, Row, T, Tensors, positive

SIZES = {"D": 3, "H": 5}


def irnn(given: Given) -> Tensors:
    p = given.params
    sizes = given.sizes["D"], given.sizes["H"]
    layer = torch.nn.RNN(*sizes, nonlinearity="relu", batch_first=True, dtype=torch.float64)
    weights = {"weight_ih_l0": p["W"], "weight_hh_l0": p["U"], "bias_ih_l0": p["b"], "bias_hh_l0": 0 * p["b"]}
    h, last = torch.func.functional_call(layer, weights, (given.inputs["x"], given.state["h"][None]))
    return {"h": h, "state.h": last[0]}


def positions(given: Given, step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Tensors:
    """What a step makes of x and h, position by position."""
    h = given.state["h"]
    outputs = []
    for x in given.inputs["x"].unbind(1):
        h = step(x, h)
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h}


def multiplicative_rnn(given: Given) -> Tensors:
    """With the tensor of all transition matrices, which the program holds in factors."""
    p = given.params
    tensor = torch.einsum("kf,fi,fj->kij", p["U"], p["V"], p["M"])
    return positions(given, lambda x, h: torch.tanh(bilinear(x, h, tensor, p["b"]) + x @ p["W"].T))


def integrated(given: Given, U: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """tanh of the general bilinear form whose second-order part is alpha * W x * U h."""
    p = given.params
    tensor = torch.einsum("k,ki,kj->kij", p["alpha"], p["W"], U)
    both = torch.cat([p["beta2"][:, None] * p["W"], p["beta1"][:, None] * U], 1)
    return lambda x, h: torch.tanh(bilinear(x, h, tensor) + linear(torch.cat([x, h], 1), both, p["b"]))


def mi_rnn(given: Given) -> Tensors:
    return positions(given, integrated(given, given.params["U"]))


def delta_rnn(given: Given) -> Tensors:
    p, proposal = given.params, integrated(given, given.params["V"])
    return positions(
        given, lambda x, h: torch.tanh(torch.lerp(proposal(x, h), h, linear(x, p["W"], p["br"]).sigmoid()))
    )


def lipschitz_rnn(given: Given) -> Tensors:
    """By symmetric and skew parts; tanh is a cell of torch."""
    p, beta, gamma, epsilon = given.params, 0.75, 0.001, 0.03

    def mixed(M: torch.Tensor) -> torch.Tensor:
        symmetric, skew = (M + M.T) / 2, (M - M.T) / 2
        return 2 * (1 - beta) * symmetric + 2 * beta * skew - gamma * torch.eye(len(M), dtype=M.dtype)

    A, W, none = mixed(p["MA"]), mixed(p["MW"]), 0 * p["b"]
    return positions(given, lambda x, h: h + epsilon * (h @ A.T + torch.rnn_tanh_cell(x, h, p["U"], W, p["b"], none)))


def exp_rnn(given: Given) -> Tensors:
    p = given.params
    B = torch.matrix_exp(p["A"] - p["A"].T)

    def step(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        z = h @ B.T + x @ p["T"].T
        return torch.copysign(relu(z.abs() + p["b"]), z)

    return positions(given, step)


def urnn(given: Given) -> Tensors:
    """With the fast Fourier transform, and reflections as matrices."""
    p, width, stride = given.params, given.sizes["N"], given.sizes["stride"]
    eye = torch.eye(width, dtype=torch.complex128)
    R1, R2 = (eye - 2 * torch.outer(v, v.conj()) / v.abs().square().sum() for v in (p["r1"], p["r2"]))
    D1, D2, D3 = (torch.polar(torch.ones_like(p[name]), p[name]) for name in ("d1", "d2", "d3"))
    permuted = torch.arange(width) * stride % width

    def step(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        u = torch.fft.fft(D1 * h, norm="ortho") @ R1.T
        v = D3 * (torch.fft.ifft(D2 * u[:, permuted], norm="ortho") @ R2.T)
        z = v + x.to(v.dtype) @ p["V"].T
        return torch.polar(relu(z.abs() + p["b"]), z.angle())

    start = p["h0"].expand(len(given.inputs["x"]), -1)
    return positions(Given(p, given.inputs, {"h": start}, given.sizes), step)


def rwa(given: Given) -> Tensors:
    """The softmax of all scores so far, taken anew at each position."""
    p = given.params
    h = torch.tanh(p["s0"]).expand(len(given.inputs["x"]), -1)
    scores, values, outputs = [], [], []
    for x in given.inputs["x"].unbind(1):
        both = torch.cat([x, h], 1)
        scores.append(both @ p["Wa"].T)
        values.append(linear(x, p["Wu"], p["bu"]) * torch.tanh(linear(both, p["Wg"], p["bg"])))
        h = torch.tanh((torch.stack(scores).softmax(0) * torch.stack(values)).sum(0))
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h}


def statistical_recurrent_unit(given: Given) -> Tensors:
    """Moving averages as sums over all earlier positions."""
    p, start = given.params, given.state["mu"]
    alpha = torch.tensor([0, 0.25, 0.5, 0.9, 0.99], dtype=torch.float64)
    powers = alpha ** torch.arange(T + 1)[:, None]  # [T + 1, 5]
    features: list[torch.Tensor] = []

    def averages() -> torch.Tensor:
        past = len(features)
        mean = powers[past][:, None] * start
        if past:
            weights = (1 - alpha) * powers[:past].flip(0)
            mean = mean + torch.einsum("ta,tbp->bap", weights, torch.stack(features))
        return mean.flatten(1)

    outputs = []
    for x in given.inputs["x"].unbind(1):
        r = relu(linear(averages(), p["Wr"], p["br"]))
        features.append(relu(linear(r, p["Wp"], p["bp"]) + x @ p["Wx"].T))
        outputs.append(relu(linear(averages(), p["Wo"], p["bo"])))
    return {"o": torch.stack(outputs, 1), "state.mu": averages().reshape(start.shape)}


def ltc(given: Given) -> Tensors:
    """Every unit and every input has a synapse to every unit."""
    width = given.sizes["H"]
    cell = LTCCell(
        FullyConnected(width), given.sizes["D"], input_mapping=None, output_mapping=None, ode_unfolds=given.sizes["L"]
    ).double()
    cell._params.update(given.params)
    v = given.state["v"]
    outputs = []
    for x, dt in zip(given.inputs["x"].unbind(1), given.inputs["dt"].unbind(1)):
        _, v = cell(x, v, dt[:, None])
        outputs.append(v)
    return {"v": torch.stack(outputs, 1), "state.v": v}


def cfc(given: Given) -> Tensors:
    p, heads = given.params, ("ff1", "ff2", "time_a", "time_b")
    cell = CfCCell(given.sizes["D"], given.sizes["H"], backbone_units=given.sizes["B"]).double()
    weights = {f"{name}.weight": p[name] for name in heads} | {f"{name}.bias": p[f"{name}_bias"] for name in heads}
    weights |= {"backbone.0.weight": p["backbone"], "backbone.0.bias": p["backbone_bias"]}
    h = given.state["h"]
    outputs = []
    for x, dt in zip(given.inputs["x"].unbind(1), given.inputs["dt"].unbind(1)):
        h, _ = torch.func.functional_call(cell, weights, (x, h, dt[:, None]))
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h}


ROWS: tuple[Row, ...] = (
    Row("irnn", SIZES, "torch.nn.RNN: with relu", irnn),
    Row("multiplicative_rnn", {**SIZES, "F": 4}, "torch.nn.functional.bilinear", multiplicative_rnn),
    Row("mi_rnn", SIZES, "torch.nn.functional.bilinear", mi_rnn),
    Row("delta_rnn", SIZES, "torch.nn.functional.bilinear", delta_rnn),
    Row("lipschitz_rnn", SIZES, "torch.rnn_tanh_cell: in a step of Euler's method", lipschitz_rnn),
    Row("exp_rnn", SIZES, "torch.matrix_exp", exp_rnn),
    Row("urnn", {"D": 3, "N": 8, "stride": 5}, "torch.fft: and reflections as matrices", urnn, starts=False),
    Row("rwa", SIZES, "closed form: softmax over all positions so far", rwa, {"d": positive}, starts=False),
    Row(
        "statistical_recurrent_unit",
        {"D": 3, "R": 4, "P": 5, "O": 6},
        "closed form: averages as sums over all earlier positions",
        statistical_recurrent_unit,
    ),
    Row(
        "ltc",
        {"D": 3, "H": 5, "L": 3},
        "ncps.torch.LTCCell",
        ltc,
        ranges=dict.fromkeys(("w", "sensory_w", "cm", "gleak", "dt"), positive),
    ),
    Row("cfc", {"D": 3, "H": 5, "B": 7}, "ncps.torch.CfCCell", cfc, ranges={"dt": positive}),
)
