"""Graph algorithms give what a library of graphs gives, on random graphs."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import networkx as nx
import pytest

from lsrl.ir import graphs
from lsrl.ir.cut import minimum_cut
from lsrl.ir.dims import Dim
from lsrl.ir.ops import leaf
from lsrl.ir.value import Kind, Value


@dataclass
class Drawn:
    """A directed graph of the numbers 0 ... count - 1."""

    count: int
    successors: dict[int, list[int]]

    @property
    def edges(self) -> list[tuple[int, int]]:
        return [(start, end) for start, ends in self.successors.items() for end in ends]


def drawn(random: Random) -> Drawn:
    count = random.randint(1, 14)
    return Drawn(count, {n: [random.randrange(count) for _ in range(random.randint(0, 2))] for n in range(count)})


def sets(groups: object) -> list[frozenset[int]]:
    return [frozenset(group) for group in groups]  # type: ignore[attr-defined]


SEEDS = range(100)


@pytest.mark.parametrize("seed", SEEDS)
def test_components(seed: int) -> None:
    random = Random(seed)
    given = drawn(random)
    known = nx.DiGraph(given.edges)
    known.add_nodes_from(range(given.count))
    groups = graphs.strong_components(range(given.count), given.successors)
    assert set(sets(groups)) == set(sets(nx.strongly_connected_components(known)))
    place = dict(enumerate(random.sample(range(given.count), given.count)))
    whole = nx.condensation(known)
    members = nx.get_node_attributes(whole, "members")
    order = nx.lexicographical_topological_sort(whole, key=lambda n: min(place[each] for each in members[n]))
    assert sets(graphs.in_order(groups, given.successors, place)) == sets(members[n] for n in order)
    near = graphs.connected(range(given.count), given.edges)
    assert set(sets(near)) == set(sets(nx.connected_components(known.to_undirected())))
    assert [group[0] for group in near] == sorted(group[0] for group in near)


@pytest.mark.parametrize("seed", SEEDS)
def test_dominators(seed: int) -> None:
    random = Random(seed)
    count = random.randint(1, 14)
    before = {n: [random.randrange(n) for _ in range(random.randint(1, 3))] if n else [] for n in range(count)}
    known = nx.DiGraph([(start, end) for end, starts in before.items() for start in starts])
    known.add_node(0)
    expected = {**nx.immediate_dominators(known, 0), 0: 0}
    assert graphs.dominators(range(count), before.__getitem__) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_minimum_cut(seed: int) -> None:
    """Its weight is that of the largest flow, and nothing gets past it."""
    random = Random(seed)
    sizes = [random.choice([1, 1, 2, 3, 8]) for _ in range(random.randint(1, 14))]
    values = [leaf("input", f"v{n}", (Dim.of(size),), Kind.FLOAT) for n, size in enumerate(sizes)]
    arguments = {v: random.sample(values[:n], min(n, random.randint(0, 3))) for n, v in enumerate(values)}
    sources = {v for v in values if not arguments[v] or random.random() < 0.2}
    needed = [v for v in values if random.random() < 0.4]
    known = nx.DiGraph()
    known.add_nodes_from(("source", "sink"))
    for value, size in zip(values, sizes, strict=True):
        known.add_edge((value, "in"), (value, "out"), capacity=size)
        known.add_edges_from(((argument, "out"), (value, "in")) for argument in arguments[value])
    known.add_edges_from(("source", (value, "in")) for value in sources)
    known.add_edges_from(((value, "out"), "sink") for value in needed)
    for late in (False, True):
        cut = minimum_cut(values, arguments.__getitem__, sources, needed, {}, late)
        assert sum(size for value, size in zip(values, sizes, strict=True) if value in cut) == nx.maximum_flow_value(
            known, "source", "sink"
        )
        assert not _beyond(sources, needed, arguments, cut)


def _beyond(
    sources: set[Value], needed: list[Value], arguments: dict[Value, list[Value]], cut: tuple[Value, ...]
) -> set[Value]:
    """The sources that what is needed depends on other than through the cut."""
    seen: set[Value] = set()
    stack = [value for value in needed if value not in cut]
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack += [argument for argument in arguments[value] if argument not in cut]
    return seen & sources
