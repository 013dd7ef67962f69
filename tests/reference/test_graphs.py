"""Recurrences over graphs: sums over all paths, node by node evaluation, gradients, and graphs that are refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.backends.arrays import ArrayError
from lsrl.backends.topology import longest_path, make_topology
from lsrl.ir import ops
from lsrl.ir.build import add, div, dot, matmul, mul, outer, reduce, unary
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import PipelineError
from lsrl.ir.value import Domain, Kind, Value
from support.cells import arrives, cell_of, input_, param, state
from support.differences import check_gradients

Array = np.ndarray[Any, np.dtype[Any]]
NODE, EDGE, TURN = Domain.NODE, Domain.EDGE, Domain.TURN
K, V, H = Dim.of("K"), Dim.of("V"), Dim.of("H")
GRAPH = ("graph",)
EDGES = np.array([(4, 0), (0, 3), (4, 3), (0, 2), (3, 2), (3, 1), (2, 1), (4, 1), (5, 2)])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def read(value: Value, via: str) -> Value:
    return ops.apply("read", value, via=via)


def sum_in(value: Value, via: str) -> Value:
    return ops.apply("sum_in", value, via=via)


def plstm() -> Cell:
    """pLSTM on a graph (Poeppel et al. 2025, eqs. 5-7)."""
    q, k, v, d = (input_(n, *shape, domain=NODE) for n, shape in (("q", (K,)), ("k", (K,)), ("v", (V,)), ("d", ())))
    s, m, t = input_("s", domain=EDGE), input_("m", domain=EDGE), input_("t", domain=TURN)
    memory = arrives("C", K, V, axis="graph", domain=EDGE)
    passed = sum_in(mul(t, read(memory, "turn.in")), "turn.out")
    following = add(passed, mul(s, outer(read(k, "edge.from"), read(v, "edge.from"))))
    output = add(matmul(q, sum_in(mul(m, memory), "edge.to")), mul(mul(d, dot(q, k)), v))
    return cell_of({"o": output}, [state(memory, following)], GRAPH)


def plstm_inputs(rng: np.random.Generator) -> dict[str, Array]:
    turns = make_topology(6, EDGES).turns
    arrays = {"q": rng.normal(size=(6, 2)), "k": rng.normal(size=(6, 2)), "v": rng.normal(size=(6, 3))}
    arrays |= {"d": rng.normal(size=6), "s": rng.normal(size=9), "m": rng.normal(size=9)}
    return {**arrays, "t": rng.normal(size=len(turns)), "edges": EDGES, "turns": turns}


def paths(first: int) -> list[list[int]]:
    """All paths of edges that begin with the edge `first`."""
    onward = [path for e in np.flatnonzero(EDGES[:, 0] == EDGES[first, 1]) for path in paths(int(e))]
    return [[first], *([first, *path] for path in onward)]


def test_plstm_sums_over_all_paths(rng: np.random.Generator) -> None:
    a = plstm_inputs(rng)
    gate = {tuple(turn): weight for turn, weight in zip(a["turns"].tolist(), a["t"])}
    expected = (a["d"] * (a["q"] * a["k"]).sum(-1))[:, None] * a["v"]
    for first, (source, _) in enumerate(EDGES):
        for path in paths(first):
            weight = a["s"][first] * np.prod([gate[pair] for pair in pairwise(path)]) * a["m"][path[-1]]
            node = EDGES[path[-1], 1]
            expected[node] += weight * (a["q"][node] @ a["k"][source]) * a["v"][source]
    found = reference.run(plstm(), {"K": 2, "V": 3}, {}, a)
    np.testing.assert_allclose(found.outputs["o"], expected, rtol=1e-12, atol=1e-14)
    assert found.state["C"].shape == (9, 2, 3)
    check_gradients(plstm(), {"K": 2, "V": 3}, {"params": {}, "inputs": a})


def test_turns_may_be_left_out_of_the_graph(rng: np.random.Generator) -> None:
    """A path goes only where a turn leads."""
    a = plstm_inputs(rng)
    kept = np.array([0, 3, 4])
    some = {**a, "turns": a["turns"][kept], "t": a["t"][kept]}
    none = {**a, "t": np.where(np.isin(np.arange(len(a["t"])), kept), a["t"], 0)}
    results = [reference.run(plstm(), {"K": 2, "V": 3}, {}, inputs).outputs["o"] for inputs in (some, none)]
    np.testing.assert_allclose(*results, rtol=1e-13)


def attentive() -> Cell:
    """A nonlinear graph network: messages are weighed by a softmax over the edges into a node.

    The same params are used at nodes and at edges, and a state is read at both ends of its edge.
    """
    w, u, x, g = param("W", H, H), param("u", H), input_("x", H, domain=NODE), input_("g")
    message = arrives("c", H, axis="graph", domain=EDGE)
    weight = unary("exp", dot(u, message))
    share = div(weight, read(sum_in(weight, "edge.to"), "edge.to"))
    inner = unary("tanh", add(matmul(w, sum_in(mul(share, message), "edge.to")), x))
    sent = add(read(inner, "edge.from"), mul(mul(g, input_("e", domain=EDGE)), matmul(w, read(x, "edge.to"))))
    outputs = {"y": add(inner, u), "share": share, "W": reduce("reduce_sum", w)}
    return cell_of(outputs, [state(message, sent)], GRAPH)


def test_nonlinear_graph_node_by_node(rng: np.random.Generator) -> None:
    params = {"W": rng.normal(size=(2, 2)), "u": rng.normal(size=2)}
    inputs = {"x": rng.normal(size=(6, 2)), "e": rng.normal(size=9), "g": np.array(0.7), "edges": EDGES}
    c, y, share = np.zeros((9, 2)), np.zeros((6, 2)), np.zeros(9)
    for node in (4, 5, 0, 3, 2, 1):
        into = np.flatnonzero(EDGES[:, 1] == node)
        weights = np.exp(c[into] @ params["u"])
        share[into] = weights / weights.sum()
        inner = np.tanh(params["W"] @ (share[into] @ c[into]) + inputs["x"][node])
        y[node] = inner + params["u"]
        for edge in np.flatnonzero(EDGES[:, 0] == node):
            c[edge] = inner + 0.7 * inputs["e"][edge] * (params["W"] @ inputs["x"][EDGES[edge, 1]])
    found = reference.run(attentive(), {"H": 2}, params, inputs)
    np.testing.assert_allclose(found.state["c"], c, rtol=1e-12)
    np.testing.assert_allclose(found.outputs["y"], y, rtol=1e-12)
    np.testing.assert_allclose(found.outputs["share"], share, rtol=1e-12)
    assert found.outputs["W"] == pytest.approx(params["W"].sum())
    check_gradients(attentive(), {"H": 2}, {"params": params, "inputs": inputs})


def test_longest_path_by_max_plus() -> None:
    length = arrives("n", axis="graph", kind=Kind.FLOAT, domain=EDGE)
    weight = input_("w", domain=EDGE)
    far = ops.apply("max_in", length, via="edge.to")
    from_source = ops.apply("max", read(far, "edge.from"), ops.const(0.0))
    cell = cell_of({"far": far}, [state(length, add(from_source, weight))], GRAPH)
    inputs = {"w": np.ones(9), "edges": EDGES}
    with pytest.raises(ArrayError, match=r"tells nodes"):
        reference.run(cell, {}, {}, inputs)
    far_found = reference.run(cell, {}, {}, inputs, extent={"nodes": 6}).outputs["far"]
    assert far_found.tolist() == [1, 4, 3, 2, -np.inf, -np.inf]
    assert longest_path(make_topology(6, EDGES)) == 4


def test_a_chain_is_a_sequence(rng: np.random.Generator) -> None:
    """Nodes in a row, given in any order, compute what the cell along time does."""
    h, x, w = arrives("h", H), input_("x", H), param("W", H, H)
    following = unary("tanh", add(matmul(w, h), x))
    line = cell_of({"h'": following}, [state(h, following)])
    x_node = input_("x", H, domain=NODE)
    message = arrives("h", H, axis="graph", domain=EDGE)
    here = unary("tanh", add(matmul(w, sum_in(message, "edge.to")), x_node))
    chain = cell_of({"h'": here}, [state(message, read(here, "edge.from"))], GRAPH)
    params, xs, order = {"W": rng.normal(size=(2, 2))}, rng.normal(size=(7, 2)), rng.permutation(7)
    places = np.argsort(order)
    edges = np.stack([places[:-1], places[1:]], 1)
    expected = reference.run(line, {"H": 2}, params, {"x": xs[None]}).outputs["h'"][0]
    found = reference.run(chain, {"H": 2}, params, {"x": xs[order], "edges": edges}).outputs["h'"]
    np.testing.assert_allclose(found[places], expected, rtol=1e-13)
    both = [
        reference.gradients(line, {"H": 2}, params, {"x": xs[None]}).params["W"],
        reference.gradients(chain, {"H": 2}, params, {"x": xs[order], "edges": edges}).params["W"],
    ]
    np.testing.assert_allclose(*both, rtol=1e-12)


@pytest.mark.parametrize(
    ("edges", "turns", "message"),
    [
        ([(0, 1), (1, 7)], None, r"edge 1 \(1 -> 7\) leads outside the nodes 0\.\.2"),
        ([(0, 1), (-1, 2)], None, r"edge 1 \(-1 -> 2\) leads outside"),
        (
            [(0, 1), (1, 2), (2, 1)],
            None,
            r"edges (1 \(1 -> 2\), 2|2 \(2 -> 1\), 1) .* form a cycle",
        ),
        ([(0, 0)], None, r"edges 0 \(0 -> 0\) form a cycle"),
        ([(0, 1), (1, 2)], [(0, 2)], r"turn 0 \(0, 2\) names an edge outside 0\.\.1"),
        ([(0, 1), (0, 2)], [(0, 1)], r"turn 0 leads from edge 0 \(0 -> 1\) to edge 1 \(0 -> 2\), which does not start"),
    ],
)
def test_graphs_that_are_refused(edges: list[tuple[int, int]], turns: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        make_topology(3, np.array(edges), None if turns is None else np.array(turns))


def test_every_pair_of_edges_at_a_node_is_a_turn() -> None:
    found = make_topology(4, np.array([(0, 2), (1, 2), (2, 3)])).turns
    assert found.tolist() == [[0, 2], [1, 2]]
    assert make_topology(2, np.array([(0, 1)])).turns.shape == (0, 2)


C = arrives("c", axis="graph", domain=EDGE)
AT_NODE = sum_in(C, "edge.to")


@pytest.mark.parametrize(
    "following",
    [
        C,
        read(AT_NODE, "edge.to"),
        read(sum_in(C, "edge.from"), "edge.from"),
        sum_in(read(C, "turn.out"), "turn.out"),
        sum_in(read(C, "turn.out"), "turn.in"),
        read(sum_in(C, "edge"), "edge"),
        add(C, read(AT_NODE, "edge.from")),
    ],
)
def test_reading_ahead_is_refused(following: Value) -> None:
    cell = cell_of({"y": AT_NODE}, [state(C, following)], GRAPH)
    with pytest.raises(PipelineError, match="c' reads states other than"):
        reference.run(cell, {}, {}, {"edges": EDGES}, extent={"nodes": 6})


def test_a_graph_cannot_be_reversed() -> None:
    cell = cell_of({"y": AT_NODE}, [state(C, read(AT_NODE, "edge.from"), reverse=True)], GRAPH)
    with pytest.raises(PipelineError, match="c is reversed"):
        reference.run(cell, {}, {}, {"edges": EDGES}, extent={"nodes": 6})


def test_graphs_without_edges(rng: np.random.Generator) -> None:
    inputs = {**plstm_inputs(rng), "edges": np.zeros((0, 2), int), "turns": np.zeros((0, 2), int)}
    inputs |= {name: np.zeros(0) for name in ("s", "m", "t")}
    found = reference.run(plstm(), {"K": 2, "V": 3}, {}, inputs).outputs["o"]
    direct = (inputs["d"] * (inputs["q"] * inputs["k"]).sum(-1))[:, None] * inputs["v"]
    np.testing.assert_allclose(found, direct, rtol=1e-13)
