"""The ways to rank the nodes of an undirected graph, from which the directions of its edges follow."""

from __future__ import annotations

from collections import deque

import numpy as np

from lsrl.backends.arrays import Array, ArrayError


class GraphError(ArrayError):
    """A graph that is not what it is said to be; the message names the edge or turn."""


def ranks_of(pairs: Array, nodes: int, how: str | Array, start: int) -> Array:
    """The rank of each node, [nodes]; `how` and `start` are those of `lsrl.graphs.orient`.

    Raises:
        GraphError: there is no such way or start, or not one rank for each node.
    """
    if isinstance(how, str):
        match how:
            case "index":
                return np.arange(nodes)
            case "bfs":
                return _by_distance(pairs, nodes, start)
        raise GraphError(f'how: expected "index", "bfs" or ranks [{nodes}], found "{how}"')
    ranks = np.asarray(how)
    if ranks.shape != (nodes,):
        raise GraphError(f"how: expected ranks [{nodes}], one for each node, found {list(ranks.shape)}")
    return ranks


def _by_distance(pairs: Array, nodes: int, start: int) -> Array:
    """The place of each node where they are sorted by distance, then by number."""
    if not 0 <= start < max(nodes, 1):
        raise GraphError(f"start: there is no node {start} among 0..{nodes - 1}")
    neighbours: list[list[int]] = [[] for _ in range(nodes)]
    for one, other in pairs.tolist():
        neighbours[one].append(other)
        neighbours[other].append(one)
    distance = [-1] * nodes
    for first in (start, *range(nodes)) if nodes else ():
        if distance[first] < 0:
            _spread(first, neighbours, distance)
    ranks = np.empty(nodes, np.int64)
    ranks[np.argsort(distance, kind="stable")] = np.arange(nodes)
    return ranks


def _spread(first: int, neighbours: list[list[int]], distance: list[int]) -> None:
    """Fill in the distances from `first` of the nodes that it reaches."""
    distance[first] = 0
    queue = deque([first])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if distance[other] < 0:
                distance[other] = distance[node] + 1
                queue.append(other)


def check_given_once(pairs: Array) -> None:
    """See that no edge is a loop or given both ways.

    Raises:
        GraphError: names the edges.
    """
    seen: dict[tuple[int, int], int] = {}
    for number, (one, other) in enumerate(pairs.tolist()):
        if one == other:
            raise GraphError(f"{edge_text(pairs, number)} leads from a node to itself")
        opposite = seen.get((other, one))
        if opposite is not None:
            raise GraphError(
                f"{edge_text(pairs, opposite)} and {edge_text(pairs, number)} are one edge, given both ways"
            )
        seen[one, other] = number


def edge_text(edges: Array, number: int) -> str:
    """An edge, for messages."""
    return f"edge {number} ({edges[number, 0]} -> {edges[number, 1]})"
