"""Questions about graphs have the answers that trying everything gives, on random graphs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from random import Random

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


def leads(given: Drawn) -> dict[int, set[int]]:
    """What every node reaches, itself included, by trying until nothing new is found."""
    reach = {node: {node} for node in range(given.count)}
    for _ in range(given.count):
        for start, end in given.edges:
            for found in reach.values():
                if start in found:
                    found.add(end)
    return reach


@pytest.mark.parametrize("seed", SEEDS)
def test_components(seed: int) -> None:
    """Groups are the nodes that reach each other; the order is the one that always takes the first it may."""
    random = Random(seed)
    given = drawn(random)
    reach = leads(given)
    group_of = {n: frozenset(m for m in reach[n] if n in reach[m]) for n in reach}
    groups = graphs.strong_components(range(given.count), given.successors)
    assert sorted(map(sorted, groups)) == sorted(map(sorted, set(group_of.values())))
    for number, group in enumerate(groups):
        assert not any(reach[n] & set(later) for n in group for later in groups[number + 1 :])
    place = dict(enumerate(random.sample(range(given.count), given.count)))
    expected: list[frozenset[int]] = []
    while left := set(group_of.values()) - set(expected):
        free = [g for g in left if not any(reach[n] & g for other in left - {g} for n in other)]
        expected.append(min(free, key=lambda group: min(place[n] for n in group)))
    assert sets(graphs.in_order(range(given.count), given.successors, place)) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_connected(seed: int) -> None:
    given = drawn(Random(seed))
    both = {n: [m for m, ends in given.successors.items() if n in ends] + given.successors[n] for n in given.successors}
    reach = leads(Drawn(given.count, both))
    groups = graphs.connected(range(given.count), given.edges)
    assert groups == [sorted(group) for group in dict.fromkeys(map(frozenset, reach.values()))]
    assert graphs.reached(0, given.edges) == reach[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_dominators(seed: int) -> None:
    """The dominator is the last of the nodes without which there is no path."""
    random = Random(seed)
    count = random.randint(1, 14)
    before = {n: [random.randrange(n) for _ in range(random.randint(1, 3))] if n else [] for n in range(count)}

    def reached_without(removed: int) -> set[int]:
        found = {0} - {removed}
        for node in range(1, count):
            if node != removed and found & set(before[node]):
                found.add(node)
        return found

    expected = {n: max(d for d in range(n) if n not in reached_without(d)) if n else 0 for n in range(count)}
    assert graphs.dominators(range(count), before.__getitem__) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_minimum_cut(seed: int) -> None:
    """Nothing gets past it, and of all sets of values that nothing gets past none is lighter."""
    random = Random(seed)
    sizes = [random.choice([1, 1, 2, 3, 8]) for _ in range(random.randint(1, 8))]
    values = [leaf("input", f"v{n}", (Dim.of(size),), Kind.FLOAT) for n, size in enumerate(sizes)]
    arguments = {v: random.sample(values[:n], min(n, random.randint(0, 3))) for n, v in enumerate(values)}
    sources = {v for v in values if not arguments[v] or random.random() < 0.2}
    needed = [v for v in values if random.random() < 0.4]
    weight = dict(zip(values, sizes, strict=True))
    sets = (chosen for count in range(len(values) + 1) for chosen in combinations(values, count))
    lightest = min(sum(map(weight.__getitem__, c)) for c in sets if not _beyond(sources, needed, arguments, c))
    for late in (False, True):
        cut = minimum_cut(values, arguments.__getitem__, sources, needed, {}, late)
        assert sum(map(weight.__getitem__, cut)) == lightest
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
