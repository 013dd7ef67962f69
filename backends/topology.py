"""The graph a cell over a graph runs on: edges between nodes, and turns between edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array, ArrayError
from lsrl.backends.runtime.graph_levels import checked_graph, node_depths
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
    try:
        edges, turns, nodes = checked_graph(edges, turns, nodes)
        node_depths(edges, nodes)
    except ValueError as fault:
        raise ArrayError(str(fault)) from None
    return Topology(nodes, edges, np.asarray(turns))


def longest_path(topology: Topology) -> int:
    """The number of edges on the longest path."""
    return int(node_depths(topology.edges, topology.nodes).max(initial=0))
