"""Nonlinear cells with stacks, slots of memory, discrete states or spikes."""

from __future__ import annotations

import torch
from snntorch import Leaky, surrogate
from torch.nn.functional import cosine_similarity, linear, softplus

from support.peers.double import in_double
from support.peers.row import Array, Given, Row, T, Tensors, unit

SIZES = {"D": 3, "H": 5}


def stack_rnn(given: Given) -> Tensors:
    """Number by number."""
    p, depth, seen = given.params, given.sizes["N"], given.sizes["K"]
    h, stack = given.state["h"], list(given.state["s"].unbind(1))
    empty = torch.full_like(stack[0], -1)
    outputs = []
    for x in given.inputs["x"].unbind(1):
        h = (linear(x, p["U"]) + linear(h, p["R"]) + linear(torch.stack(stack[:seen], 1), p["P"])).sigmoid()
        push, pop = (h @ p["A"].T).softmax(1).unbind(1)
        above = [(h @ p["E"]).sigmoid(), *stack]
        stack = [push * above[i] + pop * (stack[i + 1] if i + 1 < depth else empty) for i in range(depth)]
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h, "state.s": torch.stack(stack, 1)}


def ntm(given: Given) -> Tensors:
    """Shifts as circular convolutions by the fast Fourier transform; the controller is a cell of torch."""
    p, state, width = given.params, dict(given.state), given.sizes["M"]
    slots = given.sizes["N"]

    def focus(head: str, w: torch.Tensor) -> torch.Tensor:
        k, beta, g, s, gamma = linear(h, p[f"W_{head}"], p[f"b_{head}"]).split([width, 1, 1, 3, 1], 1)
        content = (softplus(beta) * cosine_similarity(memory, k[:, None], dim=-1, eps=0)).softmax(1)
        mixed = torch.lerp(w, content, g.sigmoid())
        kernel = torch.zeros_like(mixed).index_add(1, torch.tensor([-1, 0, 1]) % slots, s.softmax(1))
        shifted = torch.fft.irfft(torch.fft.rfft(mixed) * torch.fft.rfft(kernel), n=slots)
        sharp = shifted ** (1 + softplus(gamma))
        return sharp / sharp.sum(1, keepdim=True)

    memory, read, write, r = (state[name] for name in ("memory", "read", "write", "r"))
    h, c = state["lstm.h"], state["lstm.c"]
    weights = [p[f"lstm.{name}"] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    outputs, reads = [], []
    for x in given.inputs["x"].unbind(1):
        h, c = torch.lstm_cell(torch.cat([x, r], 1), (h, c), *weights)
        write = focus("write", write)
        erase, add = linear(h, p["W_erase"], p["b_erase"]).sigmoid(), linear(h, p["W_add"], p["b_add"]).tanh()
        memory = memory - write[..., None] * (erase[:, None] * memory - add[:, None])
        read = focus("read", read)
        r = torch.einsum("bn,bnm->bm", read, memory)
        outputs.append(h)
        reads.append(r)
    finals = {"state.memory": memory, "state.read": read, "state.write": write}
    return {"h": torch.stack(outputs, 1), "r": torch.stack(reads, 1), **finals}


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


def strong(array: Array) -> Array:
    """Currents that make units spike at some positions."""
    return 2 * array


ROWS: tuple[Row, ...] = (
    Row("stack_rnn", {**SIZES, "N": 6, "K": 2}, "brute force: number by number", stack_rnn),
    Row(
        "ntm",
        {"D": 3, "H": 4, "N": 6, "M": 5},
        "torch.fft: circular convolutions as shifts; torch.lstm_cell",
        ntm,
        ranges={"read": unit, "write": unit},
        flat=("start",),  # the memory is given
    ),
    Row("hmm", {"S": 3, "V": 4}, "brute force: the sum over all paths", hmm, starts=False),
    Row("viterbi", {"S": 3}, "brute force: the best of all paths", viterbi),
    Row("lif", SIZES, "snntorch.Leaky", lif, ranges={"x": strong, "W": strong, "beta": unit}),
    Row("lif_recurrent", SIZES, "snntorch.Leaky", lif_recurrent, ranges={"x": strong, "W": strong, "beta": unit}),
)
