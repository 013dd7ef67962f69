"""Functions on graphs, against brute force on random ones, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import networkx as nx
import numpy as np
import pytest

import lsrl
from lsrl import graphs
from lsrl.graphs import Graph, GraphError

SEEDS = range(8)


def random_graph(seed: int, nodes: int = 9, share: float = 0.4) -> Graph:
    """Edges between random pairs, in an order of the nodes that is not their numbering, parallel ones among them."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(nodes)
    pairs = [(order[i], order[j]) for j in range(nodes) for i in range(j) if generator.random() < share]
    pairs += pairs[:2]
    generator.shuffle(pairs)
    return graphs.make(np.array(pairs), nodes)


def paths(graph: Graph, turns: np.ndarray[Any, Any], first: int) -> Iterator[list[int]]:
    """All paths of edges along turns that begin with `first`."""
    yield [first]
    for before, after in turns.tolist():
        if before == first:
            yield from ([first, *rest] for rest in paths(graph, turns, after))


def most_paths(graph: Graph, turns: np.ndarray[Any, Any]) -> int:
    """The largest number of paths between any two edges."""
    ends = [(first, path[-1]) for first in range(len(graph.edges)) for path in paths(graph, turns, first)]
    return max(ends.count(pair) for pair in set(ends))


@pytest.mark.parametrize("seed", SEEDS)
def test_turns_and_levels_are_those_of_networkx(seed: int) -> None:
    graph = random_graph(seed)
    known = nx.MultiDiGraph()
    known.add_nodes_from(range(graph.nodes))
    known.add_edges_from((one, other, number) for number, (one, other) in enumerate(graph.edges.tolist()))
    wanted = {(one[2], other[2]) for one, other in nx.line_graph(known).edges()}
    assert {tuple(turn) for turn in graphs.line_graph(graph).tolist()} == wanted
    assert {tuple(turn) for turn in graph.turns.tolist()} == wanted
    assert graphs.longest_path(graph) == nx.dag_longest_path_length(known, weight=None, default_weight=1)
    generations = {node: level for level, some in enumerate(nx.topological_generations(known)) for node in some}
    assert graphs.levels(graph).tolist() == [generations[node] for node in range(graph.nodes)]


@pytest.mark.parametrize("seed", SEEDS)
def test_pruning_leaves_single_paths_and_nothing_more_could_stay(seed: int) -> None:
    graph = random_graph(seed, nodes=7)
    stay = graphs.prune(graph)
    pruned = graph.with_turns(stay)
    assert most_paths(graph, pruned.turns) == 1
    graphs.check_single_paths(pruned)
    for turn in np.flatnonzero(~stay):
        more = graph.turns[stay | (np.arange(len(stay)) == turn)]
        assert most_paths(graph, more) == 2
        with pytest.raises(GraphError, match="closes a second path"):
            graphs.check_single_paths(Graph(graph.nodes, graph.edges, more))


def test_a_second_path_is_named() -> None:
    graph = graphs.make(np.array([(0, 1), (1, 2), (1, 2), (2, 3)]))
    with pytest.raises(GraphError) as caught:
        graphs.check_single_paths(graph)
    said = (
        "turn 3, from edge 2 (1 -> 2) to edge 3 (2 -> 3), closes a second path from edge 0 (0 -> 1) to edge 3 (2 -> 3)"
    )
    assert str(caught.value) == said


@pytest.mark.parametrize("sides", [(4, 4), (2, 5), (1, 6), (3, 2, 3), (5,)])
def test_grids_and_their_own_set_of_turns(sides: tuple[int, ...]) -> None:
    graph, axes = graphs.grid(*sides)
    places = list(product(*map(range, sides)))
    wanted = {
        (one, other): axis
        for one, a in enumerate(places)
        for other, b in enumerate(places)
        for axis in range(len(sides))
        if all(y - x == (i == axis) for i, (x, y) in enumerate(zip(a, b)))
    }
    assert {(one, other): axis for (one, other), axis in zip(graph.edges.tolist(), axes.tolist())} == wanted
    for order in (range(len(sides)), range(len(sides))[::-1]):
        stay = graphs.grid_turns(graph, axes, list(order))
        assert most_paths(graph, graph.turns[stay]) == 1
        graphs.check_single_paths(graph.with_turns(stay))


def test_the_grid_of_the_paper_keeps_25_of_34_turns() -> None:
    graph, axes = graphs.grid(4, 4)
    stay = graphs.grid_turns(graph, axes, order=[0, 1])  # down, then right
    kept = axes[graph.turns[stay]]
    assert (len(stay), stay.sum()) == (34, 25)
    assert (1, 0) not in set(map(tuple, kept.tolist()))


@pytest.mark.parametrize("seed", SEEDS)
def test_normalised_weights_pass_on_at_most_one(seed: int) -> None:
    graph = random_graph(seed)
    weights = np.random.default_rng(seed).normal(size=(len(graph.turns), 3))
    found = graphs.normalise(graph, weights)
    line = np.zeros((3, len(graph.edges), len(graph.edges)))
    line[:, graph.turns[:, 1], graph.turns[:, 0]] = found.T
    sums = np.abs(line).sum(1)
    assert sums.max() <= 1 + 1e-12
    graphs.check_sums(graph, found)
    grown = np.linalg.inv(np.eye(len(graph.edges)) - line)  # what a source becomes, everywhere and summed over paths
    assert np.abs(grown).sum(1).max() <= graphs.longest_path(graph) + 1e-12


def test_weights_that_need_no_division_are_kept() -> None:
    graph = graphs.make(np.array([(0, 1), (1, 2), (1, 3)]))
    weights = np.array([0.5, -0.5])
    assert graphs.normalise(graph, weights).tolist() == [0.5, -0.5]
    assert graphs.normalise(graph, 3 * weights).tolist() == [0.5, -0.5]
    with pytest.raises(GraphError) as caught:
        graphs.check_sums(graph, np.array([0.5, -0.75]))
    said = (
        "the absolute weights of the turns out of edge 0 (0 -> 1) sum to 1.25, more than 1; the largest is that of"
        " turn 1, from edge 0 (0 -> 1) to edge 2 (1 -> 3),"
    )
    assert str(caught.value) == said
    with pytest.raises(GraphError, match=r"turn 1, .* has the absolute weight 1.5, more than 1"):
        graphs.check_single_paths(graph, np.array([1.0, -1.5]))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", ["index", "bfs", "ranks"])
def test_oriented_graphs_have_the_given_edges_and_no_cycle(how: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    undirected = nx.gnp_random_graph(9, 0.3, seed=seed)
    pairs = np.array(undirected.edges()).reshape(-1, 2)
    pairs = np.where(generator.random(len(pairs))[:, None] < 0.5, pairs, pairs[:, ::-1])
    ranks = generator.permutation(9)
    graph = graphs.orient(pairs, ranks if how == "ranks" else how, nodes=9, start=4)
    assert np.array_equal(np.sort(graph.edges, 1), np.sort(pairs, 1))
    if how == "bfs":
        near = nx.single_source_shortest_path_length(undirected, 4)
        reached = [(one, other) for one, other in graph.edges.tolist() if one in near]
        assert all((near[one], one) < (near[other], other) for one, other in reached)
    else:
        rank = ranks if how == "ranks" else np.arange(9)
        assert (rank[graph.edges[:, 0]] < rank[graph.edges[:, 1]]).all()


def test_networkx_graphs_are_numbered_in_their_order() -> None:
    undirected = nx.Graph([("c", "a"), ("a", "b")])
    assert graphs.orient(undirected, "index").edges.tolist() == [[0, 1], [1, 2]]
    assert graphs.orient(undirected, np.array([2, 0, 1])).edges.tolist() == [[1, 0], [1, 2]]
    assert graphs.make(nx.DiGraph([("c", "a"), ("b", "c")])).edges.tolist() == [[0, 1], [2, 0]]


def test_a_union_is_its_graphs_side_by_side() -> None:
    """Each graph computes what it does alone."""
    parts = [random_graph(seed, nodes) for seed, nodes in ((0, 5), (1, 1), (2, 8))]
    parts[2] = parts[2].with_turns(graphs.prune(parts[2]))
    together = graphs.union(parts)
    whole = together.graph
    run = lsrl.compile(lsrl.load("std/plstm_graph"), target="reference", sizes={"N": 1, "K": 2, "V": 3})
    generator = np.random.default_rng(0)
    shapes = {"q": (1, 2), "k": (1, 2), "v": (1, 3), "d": (1,)}
    nodes = {name: generator.normal(size=(whole.nodes, *shape)) for name, shape in shapes.items()}
    edges = {name: generator.normal(size=(len(whole.edges), 1)) for name in "sm"}
    turns = {"t": generator.normal(size=(len(whole.turns), 1))}
    found = run({}, {**nodes, **edges, **turns, **whole.inputs}).outputs["o"]
    for number, part in enumerate(parts):
        of_nodes, of_edges, of_turns = (
            slice(*first[number : number + 2]) for first in (together.nodes, together.edges, together.turns)
        )
        own = {name: array[of_nodes] for name, array in nodes.items()}
        own |= {name: array[of_edges] for name, array in edges.items()} | {"t": turns["t"][of_turns]}
        np.testing.assert_allclose(run({}, {**own, **part.inputs}).outputs["o"], found[of_nodes], atol=1e-14)
    assert graphs.union([]).graph.nodes == 0


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "undirected": (lambda: graphs.make(nx.Graph([(0, 1)])), "the graph has no directions"),
    "directed": (lambda: graphs.orient(nx.DiGraph([(0, 1)]), "index"), "the graph has directions, which would be lost"),
    "cycle": (lambda: graphs.make(np.array([(0, 1), (1, 0)])), r"1 -> 0\).* form a cycle"),
    "outside": (lambda: graphs.make(np.array([(0, 3)]), 3), r"edge 0 \(0 -> 3\) leads outside the nodes 0\.\.2"),
    "turn": (lambda: graphs.make(np.array([(0, 1), (0, 2)]), turns=np.array([(0, 1)])), "turn 0 leads from edge 0"),
    "loop": (
        lambda: graphs.orient(np.array([(0, 1), (2, 2)]), "index"),
        r"edge 1 \(2 -> 2\) leads from a node to itself",
    ),
    "both ways": (
        lambda: graphs.orient(np.array([(0, 1), (1, 2), (1, 0)]), "bfs"),
        r"edge 0 \(0 -> 1\) and edge 2 \(1 -> 0\) are one edge, given both ways",
    ),
    "ranks": (
        lambda: graphs.orient(np.array([(0, 1), (1, 2)]), np.array([0, 1, 1])),
        r"edge 1 \(1 -> 2\) joins nodes of the same rank, 1",
    ),
    "how": (lambda: graphs.orient(np.array([(0, 1)]), "dfs"), 'expected "index", "bfs" or ranks'),  # type: ignore[arg-type]
    "too few ranks": (lambda: graphs.orient(np.array([(0, 1)]), np.array([1])), r"expected ranks \[2\]"),
    "start": (lambda: graphs.orient(np.array([(0, 1)]), "bfs", start=2), "there is no node 2"),
    "weights": (lambda: graphs.normalise(graphs.grid(2, 2)[0], np.ones(3)), "3 weights for 2 turns"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(GraphError, match=message):
        call()
