"""Programs over graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

from support.peers.lines import along_edges
from support.peers.row import Given, Row, Tensors

Memory = tuple[torch.Tensor, torch.Tensor]


def _plstm(given: Given, transition: Callable[[Given], torch.Tensor]) -> Tensors:
    a = given.inputs
    q, k, v, edges = a["q"], a["k"], a["v"], a["edges"]
    kv = torch.einsum("enk,env->enkv", k[edges[:, 0]], v[edges[:, 0]])
    inner = kv.shape[2:]
    passed = along_edges(transition(given), (a["s"][..., None, None] * kv).flatten(2), a["turns"]).unflatten(2, inner)
    enters = torch.nn.functional.one_hot(edges[:, 1], len(q)).to(q.dtype)  # [E, nodes]
    read = torch.einsum("ep,en,enkv,pnk->pnv", enters, a["m"], passed, q)
    out = read + (a["d"] * (q * k).sum(-1))[..., None] * v
    return {"o": out / k.shape[-1] ** 0.5, "state.C": passed}


def _given(given: Given) -> torch.Tensor:
    return given.inputs["t"]


def _normalised(given: Given) -> torch.Tensor:
    """As the columns of a matrix between edges: none has a sum of absolute values above 1."""
    t, turns, edges = given.inputs["t"], given.inputs["turns"], given.inputs["edges"]
    leaves = torch.nn.functional.one_hot(turns[:, 0], len(edges)).to(t.dtype)  # [n, E]
    return t / (leaves @ (leaves.T @ t.abs())).clamp(min=1)


def _upwards(given: Given, update: Callable[[int, list[int], list[Memory]], Memory]) -> tuple[Tensors, list[Memory]]:
    """Node by node, from the last one backwards to what it needs; edges pass on what is at the node they leave."""
    edges = given.inputs["edges"].tolist()

    @cache
    def node(place: int) -> Memory:
        into = [number for number, (_, end) in enumerate(edges) if end == place]
        return update(place, into, [node(edges[number][0]) for number in into])

    nodes = [node(place) for place in range(len(given.inputs["x"]))]
    h, c = (torch.stack(list(each)) for each in zip(*nodes))
    start = given.inputs["edges"][:, 0]
    return {"state.h": h[start], "state.c": c[start]}, nodes


def _tree_lstm(given: Given) -> Tensors:
    p = given.params
    size = given.sizes["H"]

    def update(place: int, into: list[int], children: list[Memory]) -> Memory:
        x = given.inputs["x"][place]
        W, b = p["W"].split(size), p["b"].split(size)
        U = p["U"].split(size)
        total = sum((h for h, _ in children), torch.zeros(size, dtype=x.dtype))
        i, o, u = (torch.mv(W[n], x) + torch.mv(U[n], total) + b[n] for n in range(3))
        c = torch.sigmoid(i) * torch.tanh(u)
        for h, memory in children:
            c = c + torch.sigmoid(torch.mv(W[3], x) + torch.mv(p["U_f"], h) + b[3]) * memory
        return torch.sigmoid(o) * torch.tanh(c), c

    return _told(*_upwards(given, update))


def _tree_lstm_nary(given: Given) -> Tensors:
    p = given.params
    size = given.sizes["H"]

    def update(place: int, into: list[int], children: list[Memory]) -> Memory:
        x = given.inputs["x"][place]
        which = [int(given.inputs["place"][number]) for number in into]
        W, b = p["W"].split(size), p["b"].split(size)
        i, o, u = (torch.mv(W[n], x) + b[n] for n in range(3))
        for one, (h, _) in zip(which, children):
            parts = torch.mv(p["U"][one], h).split(size)
            i, o, u = i + parts[0], o + parts[1], u + parts[2]
        c = torch.sigmoid(i) * torch.tanh(u)
        for forgotten, (_, memory) in zip(which, children):
            others = sum(torch.mv(p["U_f"][forgotten, one], h) for one, (h, _) in zip(which, children))
            c = c + torch.sigmoid(torch.mv(W[3], x) + b[3] + others) * memory
        return torch.sigmoid(o) * torch.tanh(c), c

    return _told(*_upwards(given, update))


def _told(states: Tensors, nodes: list[Memory]) -> Tensors:
    hidden, memory = (torch.stack(list(each)) for each in zip(*nodes))
    return {"hidden": hidden, "memory": memory, **states}


def _dag_gru(given: Given) -> Tensors:
    p = given.params
    cell = torch.nn.GRUCell(given.sizes["D"], given.sizes["H"], dtype=torch.float64)
    weights = {name.replace("W_", "weight_").replace("b_", "bias_"): p[name] for name in p if name != "w"}

    def update(place: int, into: list[int], before: list[Memory]) -> Memory:
        message = torch.zeros(given.sizes["H"], dtype=torch.float64)
        if before:
            h = torch.stack([each for each, _ in before])
            message = torch.softmax(h @ p["w"], 0) @ h
        hidden = torch.func.functional_call(cell, weights, (given.inputs["x"][place], message))
        return hidden, hidden

    states, nodes = _upwards(given, update)
    return {"hidden": torch.stack([h for h, _ in nodes]), "state.h": states["state.h"]}


EQUATIONS = "closed form: the transitions between all edges as one matrix, M (I - T)^-1 S"
NODE_BY_NODE = "node by node, from the last one backwards"
GATES = {"N": 2, "K": 3, "V": 4}

ROWS = (
    Row("plstm_graph", GATES, EQUATIONS, lambda given: _plstm(given, _given)),
    Row("plstm_graph_p", GATES, EQUATIONS, lambda given: _plstm(given, _normalised), ranges={"t": lambda t: 2 * t}),
    Row("tree_lstm", {"D": 3, "H": 4}, NODE_BY_NODE, _tree_lstm),
    Row("tree_lstm_nary", {"M": 3, "D": 2, "H": 4}, NODE_BY_NODE, _tree_lstm_nary),
    Row("dag_gru", {"D": 3, "H": 4}, f"torch.nn.GRUCell and torch.softmax, {NODE_BY_NODE}", _dag_gru),
)
