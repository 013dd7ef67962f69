"""The graph a cell over a graph runs on: edges between nodes, and turns between edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array, ArrayError
from lsrl.ir.infer import GRAPH_READS
from lsrl.ir.value import Domain


@dataclass(frozen=True)
class Topology:
    """A directed graph.

    Attributes:
        nodes: the number of nodes.
        edges: [E, 2], node from and node to.
        turns: [n, 2], an edge into a node and an edge out of it.
    """

    nodes: int
    edges: Array
    turns: Array

    def count(self, domain: Domain) -> int:
        """The number of nodes, edges or turns; of what is the same everywhere there is one."""
        numbers = {Domain.NODE: self.nodes, Domain.EDGE: len(self.edges), Domain.TURN: len(self.turns), Domain.NONE: 1}
        return numbers[domain]

    def places(self, via: str) -> Array:
        """For each edge or turn, the node or edge that `via` (a key of `GRAPH_READS`) reads; ints."""
        match via:
            case "edge.from":
                return self.edges[:, 0]
            case "edge.to":
                return self.edges[:, 1]
            case "turn.in":
                return self.turns[:, 0]
            case "turn.out":
                return self.turns[:, 1]
            case "turn.node":
                return np.asarray(self.edges[self.turns[:, 0], 1])
            case _:
                return np.zeros(self.count(GRAPH_READS[via][1]), np.int64)


def make_topology(nodes: int, edges: Array, turns: Array | None = None) -> Topology:
    """The checked graph; without `turns` every pair of an edge into a node and an edge out of it is one.

    Raises:
        ArrayError: an edge leads to no node, a turn is none, or edges form a cycle; the message names it.
    """
    for number, (source, target) in enumerate(edges):
        if not (0 <= source < nodes and 0 <= target < nodes):
            raise ArrayError(f"edge {number} ({source} -> {target}) leads outside the nodes 0..{nodes - 1}")
    topology = Topology(nodes, edges, _all_turns(edges) if turns is None else turns)
    for number, (entering, leaving) in enumerate(topology.turns):
        if not (0 <= entering < len(edges) and 0 <= leaving < len(edges)):
            raise ArrayError(f"turn {number} ({entering}, {leaving}) names an edge outside 0..{len(edges) - 1}")
        if edges[entering, 1] != edges[leaving, 0]:
            raise ArrayError(
                f"turn {number} leads from edge {entering} ({_arrow(edges[entering])}) to edge {leaving}"
                f" ({_arrow(edges[leaving])}), which does not start where the first ends"
            )
    _check_acyclic(topology)
    return topology


def longest_path(topology: Topology) -> int:
    """The number of edges on the longest path."""
    level = np.zeros(topology.nodes, np.int64)
    for length in range(topology.nodes):
        above = level.copy()
        np.maximum.at(above, topology.edges[:, 1], level[topology.edges[:, 0]] + 1)
        if np.array_equal(above, level):
            return length
        level = above
    return 0


def _all_turns(edges: Array) -> Array:
    pairs = [
        (entering, leaving)
        for entering, (_, middle) in enumerate(edges)
        for leaving in np.flatnonzero(edges[:, 0] == middle)
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _check_acyclic(topology: Topology) -> None:
    """Peel off nodes without an edge into them until none is left; an edge that remains leads to a cycle."""
    left = np.ones(topology.nodes, bool)
    source, target = topology.edges[:, 0], topology.edges[:, 1]
    while left.any():
        entered = np.zeros(topology.nodes, bool)
        entered[target[left[source]]] = True
        if not (left & ~entered).any():
            raise ArrayError(_cycle(topology, left))
        left &= entered


def _cycle(topology: Topology, left: Array) -> str:
    """Every node left has a predecessor left: walking backwards must come round."""
    node, path = int(np.flatnonzero(left)[0]), list[int]()
    seen: dict[int, int] = {}
    while node not in seen:
        seen[node] = len(path)
        into = np.flatnonzero((topology.edges[:, 1] == node) & left[topology.edges[:, 0]])
        path.append(int(into[0]))
        node = int(topology.edges[into[0], 0])
    circle = path[seen[node] :][::-1]
    text = ", ".join(f"{number} ({_arrow(topology.edges[number])})" for number in circle[:8])
    return f"the edges {text}{', ...' if len(circle) > 8 else ''} form a cycle; a cell over a graph needs one without"


def _arrow(edge: Array) -> str:
    return f"{edge[0]} -> {edge[1]}"
