"""Programs over graphs in JAX and PyTorch: values and derivatives, held to the reference and to sums over paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import jax
import networkx as nx
import numpy as np
import pytest

import lsrl
from lsrl.backends.arrays import Array, ArrayError
from lsrl.backends.topology import make_topology
from lsrl.compiled import Compiled
from lsrl.ir.fault import Refusal
from lsrl.random_arrays import random_weights
from lsrl.random_graphs import random_graph_arrays
from lsrl.verify import relative_errors
from support.graph_programs import GRAPHS, PLSTM

TARGETS = ("jax", "triton")
DIAMOND = np.array([(4, 0), (0, 3), (4, 3), (0, 2), (3, 2), (3, 1), (2, 1), (4, 1), (5, 2)])


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def compiled(name: str, target: str) -> Compiled:
    graph = GRAPHS[name]
    return lsrl.compile(lsrl.parse(graph.text), target=target, sizes=graph.sizes, dtype="float64")


def arrays(name: str, nodes: int, seed: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    """Params and inputs on a random graph."""
    cell, sizes = lsrl.parse(GRAPHS[name].text).bind(GRAPHS[name].sizes)
    groups = random_graph_arrays(cell, sizes, nodes, seed)
    params, inputs = ({n: a / 2 if a.dtype.kind in "fc" else a for n, a in each.items()} for each in groups[:2])
    return params, inputs


def numbers(found: Compiled, named: Mapping[str, Any]) -> dict[str, Array]:
    return {name: found.engine.to_numpy(array) for name, array in named.items()}


def close(found: Compiled, named: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert max(relative_errors(numbers(found, named), dict(wanted)).values(), default=0.0) <= 1e-10


@pytest.mark.parametrize("nodes", [1, 2, 23])
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("target", TARGETS)
def test_values_and_gradients(target: str, name: str, nodes: int) -> None:
    params, inputs = arrays(name, nodes)
    ours, truth = compiled(name, target), compiled(name, "reference")
    found, wanted = ours(params, inputs), truth(params, inputs)
    close(ours, found.outputs, wanted.outputs)
    close(ours, found.state, wanted.state)
    weights = random_weights({**wanted.outputs, **{f"state.{n}": a for n, a in wanted.state.items()}})
    mine, theirs = (each.gradients(params, inputs, cotangents=weights) for each in (ours, truth))
    close(ours, mine.params, theirs.params)
    close(ours, mine.inputs, theirs.inputs)
    assert mine.state == {}


def paths(edges: Array, first: int) -> list[list[int]]:
    """All paths of edges that begin with one."""
    onward = [path for e in np.flatnonzero(edges[:, 0] == edges[first, 1]) for path in paths(edges, int(e))]
    return [[first], *([first, *path] for path in onward)]


@pytest.mark.parametrize("target", TARGETS)
def test_plstm_sums_over_all_paths(target: str) -> None:
    generator = np.random.default_rng(3)
    turns = make_topology(6, DIAMOND).turns
    shapes = {"q": (6, 2), "k": (6, 2), "v": (6, 3), "d": (6,), "s": (9,), "m": (9,), "t": (len(turns),)}
    a = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    gate = {tuple(turn): weight for turn, weight in zip(turns.tolist(), a["t"], strict=True)}
    expected = (a["d"] * (a["q"] * a["k"]).sum(-1))[:, None] * a["v"]
    for first, (source, _) in enumerate(DIAMOND):
        for path in paths(DIAMOND, first):
            weight = a["s"][first] * np.prod([gate[pair] for pair in pairwise(path)]) * a["m"][path[-1]]
            node = DIAMOND[path[-1], 1]
            expected[node] += weight * (a["q"][node] @ a["k"][source]) * a["v"][source]
    ours = compiled("plstm", target)
    close(ours, ours({}, {**a, "edges": DIAMOND, "turns": turns}).outputs, {"o": expected})


@pytest.mark.parametrize("name", ["tree_lstm", "attention", "plstm"])
@pytest.mark.parametrize("target", TARGETS)
def test_numbering_changes_nothing_but_the_order(target: str, name: str) -> None:
    params, inputs = arrays(name, 15)
    generator = np.random.default_rng(5)
    cell = lsrl.parse(GRAPHS[name].text).graph
    nodes, edges, turns = (generator.permutation(n) for n in (15, len(inputs["edges"]), len(inputs["turns"])))
    orders = {"node": nodes, "edge": edges, "turn": turns}
    moved = {declared.name: inputs[declared.name][orders[declared.domain]] for declared in cell.inputs}
    moved["edges"] = np.argsort(nodes)[inputs["edges"][edges]]
    moved["turns"] = np.argsort(edges)[inputs["turns"][turns]]
    ours = compiled(name, target)
    found, wanted = ours(params, moved), ours(params, inputs)
    close(ours, found.outputs, {n: a[nodes] for n, a in numbers(ours, wanted.outputs).items()})
    close(ours, found.state, {n: a[edges] for n, a in numbers(ours, wanted.state).items()})


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_is_a_union(target: str) -> None:
    params, first = arrays("tree_lstm", 8, 1)
    second = arrays("tree_lstm", 5, 2)[1]
    both = {
        "x": np.concatenate([first["x"], second["x"]]),
        "edges": np.concatenate([first["edges"], 8 + second["edges"]]),
    }
    ours = compiled("tree_lstm", target)
    apart = [numbers(ours, ours(params, {n: given[n] for n in both}).outputs)["y"] for given in (first, second)]
    close(ours, ours(params, both).outputs, {"y": np.concatenate(apart)})


@pytest.mark.parametrize("target", TARGETS)
def test_paths_are_counted_in_whole_numbers(target: str) -> None:
    """The number of paths to a node from any other, on the graph of which each node leads to all behind it."""
    edges = np.argwhere(np.triu(np.ones((7, 7)), 1))
    found = compiled("counts", target)({}, {"x": np.zeros(7), "edges": edges})
    assert numbers(compiled("counts", target), found.outputs)["paths"].tolist() == [0, 1, 3, 7, 15, 31, 63]
    assert numbers(compiled("counts", target), found.outputs)["one"].tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("target", [*TARGETS, "reference"])
def test_graphs_of_networkx(target: str) -> None:
    params, inputs = arrays("tree_lstm", 9)
    graph = nx.DiGraph()
    graph.add_nodes_from(f"node {number}" for number in range(9))
    graph.add_edges_from((f"node {a}", f"node {b}") for a, b in inputs["edges"])
    ours = compiled("tree_lstm", target)
    found = ours(params, {"x": inputs["x"], "edges": graph})
    wanted = ours(params, {"x": inputs["x"], "edges": inputs["edges"]})
    close(ours, found.outputs, numbers(ours, wanted.outputs))
    with pytest.raises(Refusal, match="no directions"):
        ours(params, {"x": inputs["x"], "edges": graph.to_undirected()})


WRONG = {
    "a cycle": ([(0, 1), (1, 2), (2, 0)], None, r"edges 0 \(0 -> 1\), 1 \(1 -> 2\), 2 \(2 -> 0\) form a cycle"),
    "a loop": ([(0, 1), (1, 1)], None, r"edges 1 \(1 -> 1\) form a cycle"),
    "nowhere": ([(0, 1), (1, 3)], None, r"edge 1 \(1 -> 3\) leads outside the nodes 0..2"),
    "no turn": ([(0, 1), (0, 2)], [(0, 1)], r"turn 0 leads from edge 0 \(0 -> 1\) to edge 1 \(0 -> 2\)"),
    "no edge": ([(0, 1), (1, 2)], [(0, 1), (2, 0)], r"turn 1 \(2, 0\) names an edge outside 0..1"),
    "wrong shape": ([(0, 1, 2)], None, r"edges: expected int \[edges, 2\], found \[1, 3\]"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("target", [*TARGETS, "reference"])
def test_wrong_graphs_are_refused_by_name(target: str, case: str) -> None:
    edges, turns, message = WRONG[case]
    inputs = {"x": np.zeros((3, 3)), "edges": np.array(edges)}
    inputs |= {} if turns is None else {"turns": np.array(turns)}
    with pytest.raises(ArrayError, match=message):
        compiled("tree_lstm", target)(arrays("tree_lstm", 3)[0], inputs)


@pytest.mark.parametrize("target", TARGETS)
def test_a_path_of_twenty_thousand_nodes(target: str) -> None:
    """The state is a sum over the path; memory grows with the length, not with its square."""
    nodes = 20_000
    edges = np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)
    x = np.random.default_rng(0).normal(size=nodes)
    ours = lsrl.compile(
        lsrl.parse(
            "cell sums() over graph:\n    node input x: []\n    edge state c: []\n"
            "    c' = sum_in(c) + x\n    output y = sum_in(c)\n"
        ),
        target=target,
        dtype="float64",
    )
    inputs = {"x": x, "edges": edges}
    close(ours, ours({}, inputs).outputs, {"y": np.append(0, np.cumsum(x)[:-1])})
    close(ours, ours.gradients({}, inputs).inputs, {"x": np.arange(nodes)[::-1]})


def test_jax_compiles_once_for_graphs_of_the_same_shape() -> None:
    ours = compiled("plstm", "jax")
    module, traced = ours.engine.module, []
    generator = np.random.default_rng(0)
    shapes = {"q": (6, 2), "k": (6, 2), "v": (6, 3), "d": (6,), "s": (9,), "m": (9,)}
    x = {name: generator.normal(size=shape) for name, shape in shapes.items()}

    @jax.jit
    def loss(inputs: Mapping[str, Any], graph: Any) -> Any:
        traced.append(1)
        return module.apply({}, inputs, graph)[0]["o"].sum()

    for order in (np.arange(6), np.array([1, 0, 2, 3, 4, 5])):
        edges = order[DIAMOND]
        turns = make_topology(6, edges).turns
        given = {**x, "t": np.ones(len(turns))}
        found, gradient = jax.value_and_grad(loss)(given, module.prepare(edges, turns, 6))
        wanted = ours({}, {**given, "edges": edges, "turns": turns}).outputs["o"].sum()
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert gradient["s"].shape == (9,)
    assert len(traced) == 1


def test_edges_from_outside_of_a_traced_function() -> None:
    """What is prepared while a function is traced can be used after that."""
    ours = compiled("tree_lstm", "jax")
    params, inputs = arrays("tree_lstm", 6, seed=11)
    found = jax.jit(lambda x: ours(params, {"x": x, "edges": inputs["edges"]}).outputs["y"])(inputs["x"])
    close(ours, {"y": found}, numbers(ours, ours(params, {"x": inputs["x"], "edges": inputs["edges"]}).outputs))


def test_traced_edges_are_refused() -> None:
    ours = compiled("tree_lstm", "jax")
    params, inputs = arrays("tree_lstm", 5)
    with pytest.raises(ArrayError, match="edges and turns are traced"):
        jax.jit(lambda edges: ours(params, {"x": inputs["x"], "edges": edges}).outputs["y"])(inputs["edges"])


@pytest.mark.parametrize("target", TARGETS)
def test_other_schedules_are_refused(target: str) -> None:
    with pytest.raises(Refusal, match="dag"):
        lsrl.compile(lsrl.parse(PLSTM), target=target, sizes=GRAPHS["plstm"].sizes, schedule="scan")
