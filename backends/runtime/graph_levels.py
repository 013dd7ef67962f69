"""Levels of a directed acyclic graph: which places can be computed at once.  NumPy, on the host, from numbers of edges.

The level of a node is the number of edges on the longest path into it.  What the edges out of a level's nodes pass on
depends only on what arrives along the edges into these nodes, which leave nodes of lower levels.
"""

from typing import Any, NamedTuple

import numpy as np


class Level(NamedTuple):
    """Places of a graph that are computed at once, and where they find each other.

    nodes, entering, leaving, turns: the numbers, in the graph, of nodes, of edges into and out of them, and of turns
    between these.  edge_from [leaving], edge_to [entering]: the node of an edge, as a place among `nodes`.
    turn_in, turn_out, turn_node [turns]: places among `entering`, `leaving` and `nodes`.
    """

    nodes: Any
    entering: Any
    leaving: Any
    turns: Any
    edge_from: Any
    edge_to: Any
    turn_in: Any
    turn_out: Any
    turn_node: Any


def edge_words(edge: Any) -> str:
    """The ends of an edge in words."""
    return f"({edge[0]} -> {edge[1]})"


def check_edges(edges: Any, nodes: int) -> None:
    """See that edges [E, 2] lead from nodes to nodes; ValueError names one that does not."""
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges: expected [E, 2], found {list(edges.shape)}")
    outside = np.flatnonzero(((edges < 0) | (edges >= nodes)).any(1))
    if len(outside):
        ends = edge_words(edges[outside[0]])
        raise ValueError(f"edge {outside[0]} {ends} leads outside the nodes 0..{nodes - 1}")


def check_turns(edges: Any, turns: Any) -> None:
    """See that turns [n, 2] lead from an edge to one that starts where it ends; ValueError names one that does not."""
    if turns.ndim != 2 or turns.shape[1] != 2:
        raise ValueError(f"turns: expected [n, 2], found {list(turns.shape)}")
    outside = np.flatnonzero(((turns < 0) | (turns >= len(edges))).any(1))
    if len(outside):
        entering, leaving = turns[outside[0]]
        raise ValueError(f"turn {outside[0]} ({entering}, {leaving}) names an edge outside 0..{len(edges) - 1}")
    apart = np.flatnonzero(edges[turns[:, 0], 1] != edges[turns[:, 1], 0])
    if len(apart):
        entering, leaving = turns[apart[0]]
        first, second = edge_words(edges[entering]), edge_words(edges[leaving])
        raise ValueError(
            f"turn {apart[0]} leads from edge {entering} {first} to edge {leaving} {second}, "
            f"which does not start where the first ends"
        )


def all_turns(edges: Any, nodes: int) -> Any:
    """Every pair of an edge into a node and an edge out of it, [n, 2], in the order of the edges."""
    order = np.argsort(edges[:, 0], kind="stable")
    first = np.searchsorted(edges[order, 0], np.arange(nodes + 1))
    counts = np.diff(first)[edges[:, 1]]
    entering = np.repeat(np.arange(len(edges)), counts)
    nth = np.arange(len(entering)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([entering, order[first[edges[entering, 1]] + nth]], 1)


def node_depths(edges: Any, nodes: int) -> Any:
    """The number of edges on the longest path into each node; ValueError names the edges of a cycle."""
    order = np.argsort(edges[:, 0], kind="stable")
    first = np.searchsorted(edges[order, 0], np.arange(nodes + 1)).tolist()
    targets = edges[order, 1].tolist()
    missing = np.bincount(edges[:, 1], minlength=nodes)
    ready = np.flatnonzero(missing == 0).tolist()
    missing, depth = missing.tolist(), [0] * nodes
    for node in ready:  # which grows on the way
        below = depth[node] + 1
        for target in targets[first[node] : first[node + 1]]:
            depth[target] = max(depth[target], below)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    if len(ready) < nodes:
        raise ValueError(cycle_words(edges, np.array(missing) > 0))
    return np.array(depth, np.int64)


def cycle_words(edges: Any, left: Any) -> str:
    """The edges of a cycle in words; every node that is `left` has a predecessor that is, so going back comes round."""
    inner = np.flatnonzero(left[edges[:, 0]] & left[edges[:, 1]])
    into = dict(zip(edges[inner, 1].tolist(), inner.tolist()))
    node, path, seen = int(np.flatnonzero(left)[0]), list[int](), dict[int, int]()
    while node not in seen:
        seen[node] = len(path)
        path.append(into[node])
        node = int(edges[into[node], 0])
    circle = path[seen[node] :][::-1]
    words = [f"{number} " + edge_words(edges[number]) for number in circle[:8]]
    text = ", ".join(words)
    return f"the edges {text}{', ...' if len(circle) > 8 else ''} form a cycle; a cell over a graph needs one without"


def checked_graph(edges: Any, turns: Any, nodes: int | None) -> Any:
    """Edges, turns (all there can be, where they are not given) and the number of nodes; ValueError as above."""
    edges = np.asarray(edges, np.int64)
    edges = edges.reshape(0, 2) if edges.size == 0 else edges
    nodes = int(edges.max(initial=-1)) + 1 if nodes is None else nodes
    check_edges(edges, nodes)
    turns = all_turns(edges, nodes) if turns is None else np.asarray(turns, np.int64)
    turns = turns.reshape(0, 2) if turns.size == 0 else turns
    check_turns(edges, turns)
    return edges, turns, nodes


def whole_level(edges: Any, turns: Any, nodes: int) -> Level:
    """All places of a graph as one level: what is to be computed everywhere."""
    every = np.arange(len(edges))
    ends = (edges[:, 0], edges[:, 1], turns[:, 0], turns[:, 1], edges[turns[:, 0], 1])
    return Level(np.arange(nodes), every, every, np.arange(len(turns)), *ends)


class LevelOrder(NamedTuple):
    """Numbers in the order of levels: those of level l are members[first[l] : first[l + 1]].

    slot: the place of each number within its level; -1 for what belongs to none.
    """

    members: Any
    first: Any
    slot: Any


def sorted_levels(numbers: Any, level: Any, levels: int, count: int) -> LevelOrder:
    """Some of `count` numbers, sorted by the level of each."""
    order = np.argsort(level, kind="stable")
    first = np.searchsorted(level[order], np.arange(levels + 1))
    slot = np.full(count, -1)
    slot[numbers[order]] = np.arange(len(order)) - first[level[order]]
    return LevelOrder(numbers[order], first, slot)


def levels_of(edges: Any, turns: Any, nodes: int) -> tuple[tuple[LevelOrder, ...], Level]:
    """The places of every level, as four `LevelOrder`, and the places of all levels, one after the other, as a `Level`.

    Nodes without an edge out of them pass nothing on, and belong to no level.
    """
    depth = node_depths(edges, nodes)
    levels = int(depth.max(initial=0))
    passing = np.zeros(nodes, bool)
    passing[edges[:, 0]] = True
    own = np.flatnonzero(passing)
    inner = np.flatnonzero(passing[edges[:, 1]])
    every, middle = np.arange(len(edges)), edges[turns[:, 0], 1]
    node = sorted_levels(own, depth[own], levels, nodes)
    entering = sorted_levels(inner, depth[edges[inner, 1]], levels, len(edges))
    leaving = sorted_levels(every, depth[edges[:, 0]], levels, len(edges))
    turn = sorted_levels(np.arange(len(turns)), depth[middle], levels, len(turns))
    ends = (
        node.slot[edges[leaving.members, 0]],
        node.slot[edges[entering.members, 1]],
        entering.slot[turns[turn.members, 0]],
        leaving.slot[turns[turn.members, 1]],
        node.slot[middle[turn.members]],
    )
    members = (node.members, entering.members, leaving.members, turn.members)
    return (node, entering, leaving, turn), Level(*members, *ends)
