"""The level of every scalar: as early as its operands allow.

A ReLU or product lies one layer above what it reads, a state one above what enters it.  States that read each other's
last values share a layer; a state may also read the last value of one in an earlier layer, through a unit beside that
one which remembers it for a step (a delay).  A state that reads its own past through a ReLU or product has no level:
it is a nonlinear recurrence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from lsrl.backends.weights.affine import Affine
from lsrl.backends.weights.faults import NotExact
from lsrl.backends.weights.lower import Scalars
from lsrl.backends.weights.pool import Sort

Item = tuple[str, int]
"""`("scalar", number)`, `("state", element)` or `("delay", element)`: the state's last value."""

Level = tuple[int, int]
"""How many layers of states lie below, and how many others since the last of them."""


@dataclass(frozen=True)
class Parts:
    """What a program's scalars read."""

    scalars: Scalars

    @cached_property
    def updates(self) -> tuple[Affine, ...]:
        """Next states; names that have to do with arriving states are written out."""
        return tuple(self._without_arriving_names(update.form) for update in self.scalars.updates)

    @cached_property
    def _named(self) -> Mapping[int, frozenset[Item]]:
        """What the form of a name is made of, by its number.  Operands have smaller numbers."""
        found: dict[int, frozenset[Item]] = {}
        for number, scalar in enumerate(self.scalars.scalars):
            if scalar.sort is Sort.NAME:
                found[number] = self._items(scalar.forms[0], found)
        return found

    def items(self, form: Affine) -> frozenset[Item]:
        """What a form is made of, through names."""
        return self._items(form, self._named)

    def _items(self, form: Affine, named: Mapping[int, frozenset[Item]]) -> frozenset[Item]:
        found: set[Item] = set()
        for number, _ in form.terms:
            found |= named[number] if number in named else {self.item(number)}
        return frozenset(found)

    def _without_arriving_names(self, form: Affine) -> Affine:
        while True:
            names = {n for n, _ in form.terms if any(kind == "delay" for kind, _ in self._named.get(n, ()))}
            if not names:
                return form
            form = form.replaced({number: self.scalars.scalars[number].forms[0] for number in names})

    def item(self, number: int) -> Item:
        """What stands for a scalar that is no name."""
        scalar = self.scalars.scalars[number]
        match scalar.sort:
            case Sort.STATE:
                return "state", scalar.element
            case Sort.ARRIVING:
                return "delay", scalar.element
        return "scalar", number

    def read(self, item: Item) -> tuple[frozenset[Item], frozenset[Item]]:
        """What an item reads in the same step, and of which states it reads the last value from beside them."""
        kind, number = item
        if kind == "delay":
            return frozenset(), frozenset({("state", number)})
        if kind == "state":
            found = self.items(self.updates[number])
            last = {("state", element) for what, element in found if what == "delay"}
            return frozenset(part for part in found if part[0] != "delay"), frozenset(last)
        forms = self.scalars.scalars[number].forms
        return frozenset(part for form in forms for part in self.items(form)), frozenset()


def levels(parts: Parts, *, apart: bool) -> dict[Item, int]:
    """The level of everything that the outputs need; inputs have level 0.

    Args:
        apart: layers of states hold nothing else, for architectures of recurrent layers with networks between.

    Raises:
        NotExact: a recurrence that is not linear.
    """
    graph = _graph(parts)
    order = nx.condensation(graph)
    found: dict[Item, Level] = {}
    for component in nx.topological_sort(order):
        members = order.nodes[component]["members"]
        _check_linear(parts, graph, members)
        level = max(_level(parts, item, found, apart) for item in members)
        found.update(dict.fromkeys(members, level))
    # A state of a later layer may want the last value of one that nobody else wanted it of.
    found |= {("delay", number): level for (kind, number), level in found.items() if kind == "state"}
    ranks = {level: rank for rank, level in enumerate(sorted({(0, 0), *found.values()}))}
    return {item: ranks[level] for item, level in found.items()}


def _graph(parts: Parts) -> nx.DiGraph:
    """Edges from what is read to what reads; `last` marks the last value of a state."""
    graph = nx.DiGraph()
    waiting = sorted({part for form in parts.scalars.results for part in parts.items(form)})
    graph.add_nodes_from(waiting)
    seen = set(waiting)
    while waiting:
        item = waiting.pop()
        now, last = parts.read(item)
        graph.add_edges_from(((part, item) for part in sorted(last)), last=True)
        graph.add_edges_from(((part, item) for part in sorted(now)), last=False)
        new = (now | last) - seen
        seen |= new
        waiting += sorted(new)
    return graph


def _check_linear(parts: Parts, graph: nx.DiGraph, members: Iterable[Item]) -> None:
    inside = graph.subgraph(members)
    if all(last for _, _, last in inside.edges(data="last")):
        return
    states = sorted(number for kind, number in members if kind == "state")
    origins = [parts.scalars.scalars[number].origin for kind, number in sorted(members) if kind == "scalar"]
    where = next((parts.scalars.place(origin) for origin in origins if origin is not None), "its own new value")
    name = parts.scalars.updates[states[0]].name
    raise NotExact(f"the next value of {name} is not affine in the states: it depends on them through {where}")


def _level(parts: Parts, item: Item, found: Mapping[Item, Level], apart: bool) -> Level:
    now, last = parts.read(item)
    below = max((found[part] for part in now), default=(0, 0))
    beside = max((found[part] for part in last if part in found), default=(0, 0))
    if item[0] == "scalar":
        is_input = parts.scalars.scalars[item[1]].sort is Sort.INPUT
        return below if is_input else (below[0], below[1] + 1)
    above = (below[0] + 1, 0) if apart else (below[0], below[1] + 1)
    return max(above, beside)
