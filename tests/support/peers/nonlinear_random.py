"""Nonlinear cells with random, discrete or spiking states."""

from __future__ import annotations

from typing import Any

import torch
from snntorch import Leaky, surrogate
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import linear

from support.peers.double import in_double
from support.peers.row import Array, Given, Row, T, Tensors, unit

SIZES = {"D": 3, "H": 5}


def vrnn(given: Given) -> Tensors:
    """Divergences by torch.distributions; a cell of torch."""
    p = given.params
    h = torch.zeros(len(given.inputs["x"]), given.sizes["H"], dtype=torch.float64)
    weights = [p[f"gru.{name}"] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]

    def gaussian(name: str, *inputs: torch.Tensor) -> Normal:
        mean, log_deviation = linear(torch.cat(inputs, 1), p[name], p[f"b_{name}"]).chunk(2, 1)
        return Normal(mean, log_deviation.exp())

    results: dict[str, list[torch.Tensor]] = {"h": [], "mu_x": [], "s_x": [], "kl": []}
    for x, epsilon in zip(given.inputs["x"].unbind(1), given.inputs["epsilon"].unbind(1)):
        fx = linear(x, p["phi_x"], p["bx"]).relu()
        prior, inferred = gaussian("prior", h), gaussian("encoder", fx, h)
        fz = linear(inferred.loc + inferred.scale * epsilon, p["phi_z"], p["bz"]).relu()
        decoded = gaussian("decoder", fz, h)
        h = torch.gru_cell(torch.cat([fx, fz], 1), h, *weights)
        found = (h, decoded.loc, decoded.scale.log(), kl_divergence(inferred, prior).sum(1))
        for name, value in zip(results, found):
            results[name].append(value)
    return {name: torch.stack(values, 1) for name, values in results.items()}


def all_paths(states: int, length: int) -> torch.Tensor:
    """[states ** length, length]"""
    return torch.cartesian_prod(*[torch.arange(states)] * length)


def hmm(given: Given) -> Tensors:
    """The sum over all paths of the chain."""
    p, symbols, states = given.params, given.inputs["symbol"], given.sizes["S"]
    A, B, start = p["A"].log_softmax(1), p["B"].log_softmax(0), p["start"].log_softmax(0)
    alphas = []
    for length in range(1, T + 1):
        paths = all_paths(states, length + 1)
        chain = start[paths[:, 0]] + A[paths[:, :-1], paths[:, 1:]].sum(1)
        shown = B[symbols[:, None, :length], paths[:, 1:]].sum(2)  # [B, paths]
        scores = (chain + shown).unflatten(1, (-1, states))  # the last state varies fastest
        alphas.append(scores.logsumexp(1))
    alpha = torch.stack(alphas, 1)
    return {"alpha": alpha, "likelihood": alpha.logsumexp(-1), "state.alpha": alpha[:, -1]}


def viterbi(given: Given) -> Tensors:
    """The best of all paths."""
    p, scores, states = given.params, given.inputs["score"], given.sizes["S"]
    best, before = [], []
    for length in range(1, T + 1):
        paths = all_paths(states, length + 1)
        total = given.state["delta"][:, paths[:, 0]] + p["A"][paths[:, :-1], paths[:, 1:]].sum(1)
        total = total + scores[:, torch.arange(length), paths[:, 1:]].sum(2)
        value, place = total.unflatten(1, (-1, states)).max(1)
        best.append(value)
        before.append(paths[place * states, -2])
    return {"delta": torch.stack(best, 1), "before": torch.stack(before, 1), "state.delta": best[-1]}


def spiking(given: Given, recurrent: bool) -> Tensors:
    p = given.params
    neurons = Leaky(beta=torch.full_like(p["beta"], 0.5), learn_beta=True, spike_grad=surrogate.atan(alpha=2.0))
    v = given.state["v"]
    spike = given.state.get("spike", torch.zeros_like(v))
    spikes, potentials = [], []
    with in_double(surrogate):
        for x in given.inputs["x"].unbind(1):
            current = linear(x, p["W"], p["b"]) + (spike @ p["U"].T if recurrent else 0)
            spike, v = torch.func.functional_call(neurons, {"beta": p["beta"]}, (current, v))
            spikes.append(spike)
            potentials.append(v)
    return {"spike": torch.stack(spikes, 1), "v": torch.stack(potentials, 1), "state.v": v}


def lif(given: Given) -> Tensors:
    return spiking(given, recurrent=False)


def lif_recurrent(given: Given) -> Tensors:
    return spiking(given, recurrent=True)


class Rounded(torch.autograd.Function):
    """Rounding, with the derivative of the identity."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor) -> torch.Tensor:
        return u.round()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def skip_rnn(given: Given) -> Tensors:
    """Whether to update is known at every position, so that the state is chosen."""
    p, s, u = given.params, given.state["s"], given.state["u"]
    weights = [p[name] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    states, updates = [], []
    for x in given.inputs["x"].unbind(1):
        updated = Rounded.apply(u)
        s = torch.lerp(s, torch.gru_cell(x, s, *weights), updated[:, None])
        du = (s @ p["Wp"] + p["bp"]).sigmoid()
        u = torch.lerp((u + du).clamp(max=1), du, updated)
        states.append(s)
        updates.append(updated)
    return {"s": torch.stack(states, 1), "updated": torch.stack(updates, 1), "state.s": s, "state.u": u}


def strong(array: Array) -> Array:
    """Currents that make units spike at some positions."""
    return 2 * array


ROWS: tuple[Row, ...] = (
    Row("vrnn", {"D": 3, "H": 5, "Z": 4, "F": 6}, "torch.distributions; torch.gru_cell", vrnn, starts=False),
    Row("hmm", {"S": 3, "V": 4}, "brute force: the sum over all paths", hmm, starts=False),
    Row("viterbi", {"S": 3}, "brute force: the best of all paths", viterbi),
    Row("skip_rnn", SIZES, "torch.gru_cell", skip_rnn, ranges={"u": unit}),
    Row("lif", SIZES, "snntorch.Leaky", lif, ranges={"x": strong, "W": strong, "beta": unit}),
    Row("lif_recurrent", SIZES, "snntorch.Leaky", lif_recurrent, ranges={"x": strong, "W": strong, "beta": unit}),
)
