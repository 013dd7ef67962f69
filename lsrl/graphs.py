"""Directed acyclic graphs for cells `over graph`: from undirected ones, joined to batches, and made stable.

A graph has numbered nodes, edges [E, 2] of numbers of nodes, and turns [n, 2] of numbers of edges: the pairs of an edge
into a node and an edge out of it along which a state may go on.  Turns are the edges of the line graph, whose nodes
are the edges; a linear recurrence with weights of turns is stable in one of two ways (Poeppel et al., 2025, "pLSTM",
section 4.2):

- D-mode: between any two edges there is at most one path of turns (the line graph is a multitree), and no weight is
  above 1 in absolute value.  `prune` and `grid_turns` choose such turns, `check_single_paths` sees that they are.
- P-mode: the absolute values of the weights of the turns out of each edge sum to at most 1.  `normalise` makes weights
  so, `check_sums` sees that they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import networkx as nx
import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.runtime.graph_levels import all_turns, check_edges, check_turns, node_depths
from lsrl.graph_ranks import GraphError, check_given_once, edge_text, ranks_of

SLACK = 1e-9  # what rounding may add to a sum of weights


@dataclass(frozen=True)
class Graph:
    """A directed graph without cycles, as programs take it.

    Attributes:
        nodes: the number of nodes.
        edges: [E, 2], node from and node to.
        turns: [n, 2], an edge into a node and an edge out of it.
    """

    nodes: int
    edges: Array
    turns: Array

    @property
    def inputs(self) -> dict[str, Array]:
        """The inputs `edges` and `turns` of a program over a graph."""
        return {"edges": self.edges, "turns": self.turns}

    def with_turns(self, stay: Array) -> Graph:
        """The graph with those turns for which `stay` [n] holds."""
        return replace(self, turns=self.turns[stay])


@dataclass(frozen=True)
class Union:
    """Graphs side by side, as one.

    Attributes:
        graph: all of them; graph i has the nodes `nodes[i]` .. `nodes[i + 1] - 1`, and so on.
        nodes, edges, turns: [graphs + 1], where the numbers of each graph begin.
    """

    graph: Graph
    nodes: Array
    edges: Array
    turns: Array


def make(edges: Array | nx.DiGraph, nodes: int | None = None, turns: Array | None = None) -> Graph:
    """The checked graph.

    Args:
        edges: [E, 2], or a directed graph of NetworkX, whose nodes are numbered in its order.
        nodes: their number; without it the largest that is mentioned, and one.
        turns: [n, 2]; without them every pair of an edge into a node and an edge out of it.

    Raises:
        GraphError: an edge leads nowhere, a turn is none, or edges form a cycle.
    """
    if isinstance(edges, nx.Graph):
        if not edges.is_directed():
            raise GraphError("the graph has no directions; `lsrl.graphs.orient(graph, how=...)` gives it some")
        nodes, edges = _numbered(edges)
    pairs = np.asarray(edges, np.int64).reshape(-1, 2)
    count = int(pairs.max(initial=-1)) + 1 if nodes is None else nodes
    try:
        check_edges(pairs, count)
        chosen = all_turns(pairs, count) if turns is None else np.asarray(turns, np.int64).reshape(-1, 2)
        check_turns(pairs, chosen)
        node_depths(pairs, count)
    except ValueError as fault:
        raise GraphError(str(fault)) from None
    return Graph(count, pairs, chosen)


def orient(
    graph: Array | nx.Graph,
    how: Literal["index", "bfs"] | Array,
    nodes: int | None = None,
    start: int = 0,
) -> Graph:
    """An undirected graph with directions.

    Args:
        graph: pairs [E, 2] of nodes, each once, or an undirected graph of NetworkX, numbered in its order.
        how: "index", from lower to higher numbers; "bfs", from what is nearer to `start` to what is farther, and by
            index where both are as near (parts that `start` does not reach begin at their lowest number); or ranks
            [nodes], from lower to higher.
        nodes: their number, where `graph` is an array; without it the largest that is mentioned, and one.

    Raises:
        GraphError: the graph has directions, an edge leads from a node to itself, is given both ways, or joins nodes of
            one rank.
    """
    if isinstance(graph, nx.Graph):
        if graph.is_directed():
            raise GraphError("the graph has directions, which would be lost; `lsrl.graphs.make` takes it as it is")
        nodes, graph = _numbered(graph)
    pairs = np.asarray(graph, np.int64).reshape(-1, 2)
    count = int(pairs.max(initial=-1)) + 1 if nodes is None else nodes
    try:
        check_edges(pairs, count)
    except ValueError as fault:
        raise GraphError(str(fault)) from None
    check_given_once(pairs)
    ranks = ranks_of(pairs, count, how, start)
    level = np.flatnonzero(ranks[pairs[:, 0]] == ranks[pairs[:, 1]])
    if len(level):
        raise GraphError(f"{edge_text(pairs, level[0])} joins nodes of the same rank, {ranks[pairs[level[0], 0]]}")
    backwards = ranks[pairs[:, 0]] > ranks[pairs[:, 1]]
    return make(np.where(backwards[:, None], pairs[:, ::-1], pairs), count)


def line_graph(graph: Graph) -> Array:
    """All turns that a graph can have, [n, 2]: the edges of its line graph."""
    return np.asarray(all_turns(graph.edges, graph.nodes))


def levels(graph: Graph) -> Array:
    """The number of edges on the longest path into each node, [nodes]."""
    return np.asarray(node_depths(graph.edges, graph.nodes))


def longest_path(graph: Graph) -> int:
    """The number of edges on the longest path."""
    return int(levels(graph).max(initial=0))


def union(graphs: Sequence[Graph]) -> Union:
    """Graphs side by side, without edges between them: a batch, for programs that run over one graph."""
    nodes = np.cumsum([0, *(g.nodes for g in graphs)])
    edges = np.cumsum([0, *(len(g.edges) for g in graphs)])
    turns = np.cumsum([0, *(len(g.turns) for g in graphs)])
    empty = np.zeros((0, 2), np.int64)
    all_edges = np.concatenate([empty, *(g.edges + first for g, first in zip(graphs, nodes))])
    every_turn = np.concatenate([empty, *(g.turns + first for g, first in zip(graphs, edges))])
    return Union(Graph(int(nodes[-1]), all_edges, every_turn), nodes, edges, turns)


def grid(*sides: int) -> tuple[Graph, Array]:
    """A grid as a graph, and the axis of each edge, [E].

    Nodes are numbered with the last axis fastest; each has an edge to the next one along every axis.
    """
    number = np.arange(int(np.prod(sides))).reshape(sides)
    along = [
        np.stack([np.delete(number, -1, axis).ravel(), np.delete(number, 0, axis).ravel()], 1)
        for axis in range(len(sides))
    ]
    axes = np.repeat(np.arange(len(sides)), [len(edges) for edges in along])
    return make(np.concatenate(along), number.size), axes


def grid_turns(graph: Graph, axes: Array, order: Sequence[int]) -> Array:
    """Which turns of a grid stay in D-mode, [n] bools: from an axis only to itself and to later ones in `order`.

    There is one way at most from an edge to another then: first along the first axis, then along the second, ...
    """
    place = np.argsort(order)
    return np.asarray(place[axes[graph.turns[:, 0]]] <= place[axes[graph.turns[:, 1]]])


def prune(graph: Graph) -> Array:
    """Which turns stay so that between any two edges there is one path at most, [n] bools.

    Edges are gone through in topological order, and the turns into each in theirs; one stays where none of the edges
    that lead to it leads to the edge already.  No further turn could stay besides those that do.
    """
    stay = np.ones(len(graph.turns), bool)
    stay[[turn for turn, _ in _second_paths(graph)]] = False
    return stay


def normalise(graph: Graph, weights: Array) -> Array:
    """Weights [n, ...] of turns, divided where the absolute values of those out of an edge sum to more than 1."""
    return np.asarray(weights / np.maximum(1, _sums(graph, weights))[graph.turns[:, 0]])


def check_sums(graph: Graph, weights: Array) -> None:
    """See that weights [n, ...] of turns are those of P-mode.

    Raises:
        GraphError: an edge passes on more than 1 in absolute values; names the edge and its largest turn.
    """
    sums = _sums(graph, weights).reshape(len(graph.edges), -1)
    over = np.flatnonzero((sums > 1 + SLACK).any(1))
    if len(over):
        edge = int(over[0])
        turns = np.flatnonzero(graph.turns[:, 0] == edge)
        largest = turns[np.abs(weights[turns]).reshape(len(turns), -1).max(1).argmax()]
        raise GraphError(
            f"the absolute weights of the turns out of {edge_text(graph.edges, edge)} sum to"
            f" {sums[edge].max():.6g}, more than 1; the largest is that of {_turn(graph, largest)}"
        )


def check_single_paths(graph: Graph, weights: Array | None = None) -> None:
    """See that turns, and their weights [n, ...] where given, are those of D-mode.

    Raises:
        GraphError: there are two paths between two edges, or a weight is above 1 in absolute value; names the turn.
    """
    if weights is not None:
        largest = np.abs(weights).reshape(len(weights), -1).max(1, initial=0)
        over = np.flatnonzero(largest > 1 + SLACK)
        if len(over):
            raise GraphError(f"{_turn(graph, over[0])} has the absolute weight {largest[over[0]]:.6g}, more than 1")
    for turn, origin in _second_paths(graph):
        edge, last = edge_text(graph.edges, origin), edge_text(graph.edges, graph.turns[turn, 1])
        raise GraphError(f"{_turn(graph, turn)} closes a second path from {edge} to {last}")


def _second_paths(graph: Graph) -> Iterator[tuple[int, int]]:
    """The turns that close a second path, where these are left out as they come, and an edge where both paths begin.

    Each edge has the set of those that lead to it, itself among them, as the bits of a whole number.
    """
    reached = [1 << edge for edge in range(len(graph.edges))]
    depth = levels(graph)[graph.edges[graph.turns[:, 1], 0]]
    for turn in np.lexsort((graph.turns[:, 1], depth)).tolist():
        before, after = graph.turns[turn].tolist()
        twice = reached[before] & reached[after]
        if twice:
            yield turn, twice.bit_length() - 1
        else:
            reached[after] |= reached[before]


def _sums(graph: Graph, weights: Array) -> Array:
    """The sum of the absolute weights of the turns out of each edge, [E, ...]."""
    if len(weights) != len(graph.turns):
        raise GraphError(f"{len(weights)} weights for {len(graph.turns)} turns")
    sums = np.zeros((len(graph.edges), *np.shape(weights)[1:]))
    np.add.at(sums, graph.turns[:, 0], np.abs(weights))
    return sums


def _numbered(graph: nx.Graph) -> tuple[int, Array]:
    """The number of nodes, and edges between their places in the order of the graph."""
    place = {node: number for number, node in enumerate(graph)}
    return len(place), np.array([(place[one], place[other]) for one, other in graph.edges()], np.int64)


def _turn(graph: Graph, number: int) -> str:
    before, after = graph.turns[number]
    return f"turn {number}, from {edge_text(graph.edges, before)} to {edge_text(graph.edges, after)},"
