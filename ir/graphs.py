"""Algorithms on the small graphs that programs give: what is connected, what feeds back, what all paths go through.

They are written out because a library of graphs takes longer to load than most programs to compile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def connected(nodes: Iterable[T], edges: Iterable[tuple[T, T]]) -> list[list[T]]:
    """The nodes in groups that edges connect, in the order of the first of each; ends of edges are nodes as well."""
    leader: dict[T, T] = {node: node for node in nodes}

    def find(node: T) -> T:
        leader.setdefault(node, node)
        while leader[node] != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for first, second in edges:
        leader[find(second)] = find(first)
    groups: dict[T, list[T]] = {}
    for node in list(leader):
        groups.setdefault(find(node), []).append(node)
    return list(groups.values())


def reached(start: T, paths: Iterable[Sequence[T]]) -> frozenset[T]:
    """The nodes that paths, taken both ways, connect with one."""
    edges = [edge for path in paths for edge in pairwise(path)]
    return frozenset(next(group for group in connected([start], edges) if start in group))


def strong_components(nodes: Sequence[T], successors: Mapping[T, Iterable[T]]) -> list[list[T]]:
    """The nodes in groups that reach each other, each group after those that it leads to (Tarjan's algorithm)."""
    index: dict[T, int] = {}
    low: dict[T, int] = {}
    stack: list[T] = []
    found: list[list[T]] = []
    on_stack: set[T] = set()
    for root in nodes:
        work = [] if root in index else [(root, iter(successors.get(root, ())))]
        while work:
            node, following = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            for other in following:
                if other not in index:
                    work.append((other, iter(successors.get(other, ()))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    place = stack.index(node)
                    found.append(stack[place:])
                    on_stack.difference_update(stack[place:])
                    del stack[place:]
    return found


def in_order(
    groups: Sequence[Sequence[T]], successors: Mapping[T, Iterable[T]], place: Mapping[T, int]
) -> list[list[T]]:
    """Groups that lead to each other without cycles, each after those that lead to it; else by their first `place`."""
    owner = {node: number for number, group in enumerate(groups) for node in group}
    after = [
        {owner[other] for node in group for other in successors.get(node, ())} - {number}
        for number, group in enumerate(groups)
    ]
    waiting = [0] * len(groups)
    for followers in after:
        for number in followers:
            waiting[number] += 1
    first = [min(place[node] for node in group) for group in groups]
    ready = [(first[number], number) for number, count in enumerate(waiting) if not count]
    heapify(ready)
    ordered: list[list[T]] = []
    while ready:
        _, number = heappop(ready)
        ordered.append(list(groups[number]))
        for other in after[number]:
            waiting[other] -= 1
            if not waiting[other]:
                heappush(ready, (first[other], other))
    return ordered


def dominators(ordered: Iterable[T], predecessors: Callable[[T], Iterable[T]]) -> dict[T, T]:
    """For every node of a graph without cycles, the last one before it that all paths from the first node go through.

    Args:
        ordered: the nodes, each after its predecessors; the first leads to all others, and is its own dominator.
    """
    above: dict[T, T] = {}
    depth: dict[T, int] = {}
    for node in ordered:
        before = [other for other in predecessors(node) if other in above] if above else []
        common = before[0] if before else node
        for other in before[1:]:
            while common != other:
                if depth[common] >= depth[other]:
                    common = above[common]
                else:
                    other = above[other]
        above[node] = common
        depth[node] = depth[common] + 1 if before else 0
    return above
