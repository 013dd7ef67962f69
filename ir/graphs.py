"""Questions about the small graphs that programs give, put to networkx, with answers in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import networkx as nx

T = TypeVar("T")


def connected(nodes: Iterable[T], edges: Iterable[tuple[T, T]]) -> list[list[T]]:
    """The nodes in groups that edges connect, in the order of the first of each; ends of edges are nodes as well."""
    graph = nx.Graph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    place = {node: number for number, node in enumerate(graph)}
    groups = (sorted(group, key=place.__getitem__) for group in nx.connected_components(graph))
    return sorted(groups, key=lambda group: place[group[0]])


def reached(start: T, paths: Iterable[Sequence[T]]) -> frozenset[T]:
    """The nodes that paths, taken both ways, connect with one."""
    graph = nx.Graph()
    graph.add_node(start)
    for path in paths:
        nx.add_path(graph, path)
    return frozenset(nx.node_connected_component(graph, start))


def strong_components(nodes: Iterable[T], successors: Mapping[T, Iterable[T]]) -> list[list[T]]:
    """The nodes in groups that reach each other, each group after those that it leads to."""
    graph = _directed(nodes, successors)
    place = {node: number for number, node in enumerate(graph)}
    return [sorted(group, key=place.__getitem__) for group in nx.strongly_connected_components(graph)]


def in_order(nodes: Iterable[T], successors: Mapping[T, Iterable[T]], place: Mapping[T, int]) -> list[list[T]]:
    """The strong components, each after those that lead to it; else by their first `place`."""
    whole = nx.condensation(_directed(nodes, successors))
    members = {number: sorted(group, key=place.__getitem__) for number, group in whole.nodes(data="members")}
    order = nx.lexicographical_topological_sort(whole, key=lambda number: place[members[number][0]])
    return [members[number] for number in order]


def dominators(ordered: Sequence[T], predecessors: Callable[[T], Iterable[T]]) -> dict[T, T]:
    """For every node of a graph without cycles, the last one before it that all paths from the first node go through.

    Args:
        ordered: the nodes, each after its predecessors; the first leads to all others, and is its own dominator.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(ordered)
    graph.add_edges_from((before, node) for node in ordered for before in predecessors(node))
    first = ordered[0]
    return {**nx.immediate_dominators(graph, first), first: first}


def _directed(nodes: Iterable[T], successors: Mapping[T, Iterable[T]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((node, other) for node, others in successors.items() for other in others)
    return graph
