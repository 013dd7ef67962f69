"""The level of every scalar: as early as its operands allow.

A ReLU or product lies one layer above what it reads, a state one above what enters it.  States that read each other's
last values share a layer; a state may also read the last value of one in an earlier layer, through a unit beside that
one which remembers it for a step (a delay).  A state that reads its own past through ReLUs shares its layer with them,
as long as none of them reads another; a longer way back to itself has no level.

Where layers hold short chains of last values only, a longer chain goes on in the next layer of states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from lsrl.backends.weights.affine import Affine
from lsrl.backends.weights.faults import NotExact
from lsrl.backends.weights.lower import Scalars
from lsrl.backends.weights.scalar import Sort

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
        return tuple(self.without_arriving_names(update.form) for update in self.scalars.updates)

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

    def without_arriving_names(self, form: Affine) -> Affine:
        """The form with names written out that have to do with arriving states."""
        return self.without_names(form, lambda item: item[0] == "delay")

    def without_names(self, form: Affine, marked: Callable[[Item], bool]) -> Affine:
        """The form with names written out that a marked item is part of."""
        while True:
            names = {n for n, _ in form.terms if any(map(marked, self._named.get(n, ())))}
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


def levels(parts: Parts, *, apart: bool, longest: int | None = None) -> dict[Item, int]:
    """The level of everything that the outputs need; inputs have level 0.

    Args:
        apart: layers of states hold nothing else, for architectures of recurrent layers with networks between.
        longest: how many steps late a layer may read a value, through states that are last values of others.

    Raises:
        NotExact: a recurrence that is not linear.
    """
    graph = _graph(parts)
    order = nx.condensation(graph)
    found: dict[Item, Level] = {}
    lags: dict[Item, int] = {}
    for component in nx.topological_sort(order):
        members = order.nodes[component]["members"]
        _check_recurrence(parts, members)
        level = _level(parts, members, found, apart)
        source = _source(parts, members)
        if source is not None and longest is not None:
            (item,) = members
            lags[item] = lags.get(source, 0) + 1
            # A state whose last value is read is one step further from its source than what reads it may be.
            if lags[item] + any(last for _, _, last in graph.out_edges(item, "last")) > longest:
                level, lags[item] = (found[source][0] + 1, 0), 0
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


def _check_recurrence(parts: Parts, members: Collection[Item]) -> None:
    """A layer holds states that read last values, and ReLUs between these and the next ones: one on each way."""
    if len(members) == 1:
        return
    for item in sorted(members):
        kind, number = item
        allowed = "scalar" if kind == "state" else "delay"
        short = all(part[0] == allowed for part in parts.read(item)[0] if part in members)
        if not short or (kind == "scalar" and parts.scalars.scalars[number].sort is not Sort.RELU):
            raise NotExact(_too_long(parts, members))


def _too_long(parts: Parts, members: Iterable[Item]) -> str:
    states = sorted(number for kind, number in members if kind == "state")
    origins = [parts.scalars.scalars[number].origin for kind, number in sorted(members) if kind == "scalar"]
    where = next((parts.scalars.place(origin) for origin in origins if origin is not None), "other new values")
    name = parts.scalars.updates[states[0]].name
    return (
        f"the next value of {name} depends on its last one through {where}: no layer does that at once, whose states "
        "are affine in each other's last values and in single ReLUs of these"
    )


def _level(parts: Parts, members: Collection[Item], found: Mapping[Item, Level], apart: bool) -> Level:
    """The layer of items that depend on each other, mostly of one."""
    reads = [parts.read(item) for item in members]
    below = max((found[part] for now, _ in reads for part in now if part not in members), default=(0, 0))
    beside = max((found[part] for _, last in reads for part in last if part not in members), default=(0, 0))
    kinds = {kind for kind, _ in members}
    if "state" in kinds and apart:
        return max((below[0] + 1, 0), beside)
    if kinds == {"delay"} or all(_is_input(parts, item) for item in members):
        return max(below, beside)
    return max((below[0], below[1] + 1), beside)


def _source(parts: Parts, members: Collection[Item]) -> Item | None:
    """The other state whose last value is all that a state becomes; None where it is more, or something else."""
    ((kind, number), *others) = members
    if others or kind != "state":
        return None
    form = parts.updates[number]
    plain = len(form.terms) == 1 and form.terms[0][1] == 1 and form.constant == 0
    part = parts.item(form.terms[0][0]) if plain else None
    return ("state", part[1]) if part is not None and part[0] == "delay" and part[1] != number else None


def _is_input(parts: Parts, item: Item) -> bool:
    return item[0] == "scalar" and parts.scalars.scalars[item[1]].sort is Sort.INPUT
