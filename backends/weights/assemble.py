"""Layers from levels: every value is kept exactly as long as a later layer reads it.

Slots are requested from the outputs down.  What lies more than one layer below its reader is carried from layer to
layer; a scalar that is a name for a form (a truth value that is the difference of two ReLUs, say) is carried as one
slot instead of as its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lsrl.backends.weights.affine import Affine, Extent, collect, point, scalar
from lsrl.backends.weights.levels import Item, Parts, levels
from lsrl.backends.weights.lower import Scalars
from lsrl.backends.weights.network import Kind, Layer, Network, Port, Probe, Row, Unit
from lsrl.backends.weights.scalar import Sort
from lsrl.ir.value import Value

Key = tuple[str, int]
"""An `Item`, or `("name", number)`."""


def assemble(scalars: Scalars, *, apart: bool = False, longest: int | None = None) -> Network:
    """The network of a program's scalars; `apart` keeps states in layers of their own, `longest` chains short.

    See `levels`.

    Raises:
        NotExact: a recurrence that is not linear.
    """
    parts = Parts(scalars)
    found = levels(parts, apart=apart, longest=longest)
    building = _Building(scalars, parts, found, max(1, *found.values()) if found else 1)
    return building.network()


@dataclass
class _Building:
    scalars: Scalars
    parts: Parts
    levels: Mapping[Item, int]
    depth: int
    slots: dict[int, dict[Key, int]] = field(default_factory=dict)
    names: Mapping[Affine, str] = field(default_factory=dict)

    def network(self) -> Network:
        self.slots = {level: {} for level in range(1, self.depth + 1)}
        self.slots[0] = {
            ("scalar", number): scalar.element
            for number, scalar in enumerate(self.scalars.scalars)
            if scalar.sort is Sort.INPUT
        }
        self.names = _element_names(self.scalars)
        readout = tuple(self._row(form, self.depth) for form in self.scalars.results)
        layers = [self._layer(level) for level in range(self.depth, 0, -1)][::-1]
        return Network(
            self.scalars.cell.name,
            tuple(Port(name, shape) for name, shape in self.scalars.inputs),
            self._input_extents(),
            tuple(layers),
            readout,
            tuple(self.scalars.extent(form) for form in self.scalars.results),
            tuple(Port(name, shape) for name, shape in self.scalars.outputs),
            tuple(self._probes()),
        )

    def _input_extents(self) -> tuple[Extent, ...]:
        size = sum(int(np.prod(shape)) for _, shape in self.scalars.inputs)
        known = {s.element: s.extent for s in self.scalars.scalars if s.sort is Sort.INPUT}
        return tuple(known.get(element, Extent()) for element in range(size))

    def _layer(self, level: int) -> Layer:
        """The units requested of a layer; making one may request states beside it."""
        units: list[Unit] = []
        wanted = self.slots[level]
        while len(units) < len(wanted):
            units.append(self._unit(list(wanted)[len(units)], level))
        return tuple(units)

    def _unit(self, key: Key, level: int) -> Unit:
        kind, number = key
        if kind == "name" or (kind != "linear" and self.levels[key] < level):
            return self._carry(key, level)
        if kind == "delay":
            return self._state(key, scalar(self._arriving[number]), level)
        if kind in ("state", "linear"):
            return self._state(key, self._linear_part(number, level), level)
        made = self.scalars.scalars[number]
        if made.sort is Sort.PRODUCT:
            rows = tuple(self._row(form, level - 1) for form in made.forms)
            operands = tuple(self.scalars.extent(form) for form in made.forms)
            return Unit(Kind.PRODUCT, rows, (), 0.0, made.extent, self._name(key), self._place(key), operands)
        row, back = self._split(made.forms[0], level)
        named = self._name(key), self._place(key, self._led_to(number, level) if back else None)
        return Unit(Kind.RELU, (row,), back, 0.0, made.extent, *named, snaps=made.snaps)

    def _led_to(self, number: int, level: int) -> Value | None:
        """The next state that a ReLU of its layer is part of."""
        every = (update.origin for element, update in enumerate(self.scalars.updates) if self._is_part(number, element))
        return next(every, None) if self._is_within(number, level) else None

    def _is_part(self, number: int, element: int) -> bool:
        return ("scalar", number) in self.parts.items(self.parts.updates[element])

    def _carry(self, key: Key, level: int) -> Unit:
        if self._available(key) < level - 1:
            row = Row(((self._slot(key, level - 1), 1.0),))
        elif key[0] == "state":
            row = Row(collect(self._state_slots(key[1], level - 1)).terms)
        elif key[0] == "name":
            row = self._row(self.scalars.scalars[key[1]].forms[0], level - 1)
        else:
            row = Row(((self._slot(key, level - 1), 1.0),))
        return Unit(Kind.CARRY, (row,), (), 0.0, self._extent(key), self._name(key), self._place(key))

    def _state(self, key: Key, form: Affine, level: int) -> Unit:
        row, back = self._split(form, level)
        start = self.scalars.updates[key[1]].start
        return Unit(Kind.STATE, (row,), back, start, self._extent(key), self._name(key), self._place(key))

    def _split(self, form: Affine, level: int) -> tuple[Row, tuple[tuple[int, float], ...]]:
        """What a unit reads from below, and of last values beside it; those of states below come as delays."""
        form = self.parts.without_arriving_names(form)
        beside = {n: f for n, f in form.terms if self._is_beside(n, level)}
        row = self._row(Affine(tuple(t for t in form.terms if t[0] not in beside), form.constant), level - 1)
        back: list[tuple[int, float]] = []
        for number, factor in beside.items():
            element = self.scalars.scalars[number].element
            back += [(slot, factor * part) for slot, part in self._state_slots(element, level)]
        return row, collect(back).terms

    def _is_beside(self, number: int, level: int) -> bool:
        made = self.scalars.scalars[number]
        return made.sort is Sort.ARRIVING and self.levels["state", made.element] == level

    def _state_slots(self, element: int, level: int) -> list[tuple[int, float]]:
        """A state in its own layer: one slot, or ReLUs of the layer and the linear rest."""
        form = self._update(element, level)
        relus = [term for term in form.terms if self._is_within(term[0], level)]
        if not relus:
            return [(self._slot(("state", element), level), 1.0)]
        found = [(self._slot(("scalar", number), level), factor) for number, factor in relus]
        rest = len(relus) < len(form.terms) or form.constant != 0 or self.scalars.updates[element].start != 0
        return [*found, (self._slot(("linear", element), level), 1.0)] if rest else found

    def _linear_part(self, element: int, level: int) -> Affine:
        """What a state is beside ReLUs of its own layer."""
        form = self._update(element, level)
        return Affine(tuple(term for term in form.terms if not self._is_within(term[0], level)), form.constant)

    def _update(self, element: int, level: int) -> Affine:
        """What a state becomes, with names written out that ReLUs of its layer are part of."""

        def within(item: Item) -> bool:
            return item[0] == "scalar" and self._is_within(item[1], level)

        return self.parts.without_names(self.parts.updates[element], within)

    def _is_within(self, number: int, level: int) -> bool:
        """Whether a ReLU lies in the layer of the state that it is part of."""
        return self.scalars.scalars[number].sort is Sort.RELU and self.levels["scalar", number] == level

    def _row(self, form: Affine, level: int) -> Row:
        """An affine form over the slots of a layer, which are requested."""
        terms: list[tuple[int, float]] = []
        bias = form.constant
        waiting = list(form.terms)
        while waiting:
            number, factor = waiting.pop(0)
            made = self.scalars.scalars[number]
            if made.sort is Sort.STATE and self.levels["state", made.element] == level:
                terms += [(slot, factor * part) for slot, part in self._state_slots(made.element, level)]
            elif made.sort is not Sort.NAME:
                terms.append((self._slot(self.parts.item(number), level), factor))
            elif self._available(("name", number)) < level:
                terms.append((self._slot(("name", number), level), factor))
            else:
                inner = self.scalars.scalars[number].forms[0].scaled(factor)
                bias += inner.constant
                waiting += inner.terms
        return Row(collect(terms).terms, bias)

    def _slot(self, key: Key, level: int) -> int:
        return self.slots[level].setdefault(key, len(self.slots[level]))

    def _available(self, key: Key) -> int:
        """The layer that has a value, or all parts of a named one."""
        if key[0] != "name":
            return self.levels[key]
        return max(self.levels[part] for part in self.parts.items(scalar(key[1])))

    @property
    def _arriving(self) -> Mapping[int, int]:
        return {s.element: n for n, s in enumerate(self.scalars.scalars) if s.sort is Sort.ARRIVING}

    def _extent(self, key: Key) -> Extent:
        kind, number = key
        if kind in ("scalar", "name"):
            return self.scalars.scalars[number].extent
        if kind == "linear":
            form = self._linear_part(number, self.levels["state", number])
            return self.scalars.extent(form) | point(self.scalars.updates[number].start)
        sort = Sort.STATE if kind == "state" else Sort.ARRIVING
        found = [s.extent for s in self.scalars.scalars if s.sort is sort and s.element == number]
        if kind == "state" and not found:
            return self.scalars.extent(self.scalars.updates[number].form)
        return found[0] if found else Extent()

    def _name(self, key: Key) -> str:
        kind, number = key
        if kind in ("state", "linear"):
            return f"{self.scalars.updates[number].name}'"
        if kind == "delay":
            return self.scalars.updates[number].name
        return self.names.get(self.scalars.expanded(scalar(number)), "")

    def _place(self, key: Key, owner: Value | None = None) -> str:
        kind, number = key
        if kind not in ("scalar", "name"):
            return self.scalars.place(self.scalars.updates[number].origin)
        origin = self.scalars.scalars[number].origin
        return self._name(key) if origin is None else self.scalars.place(origin, owner)

    def _probes(self) -> Iterable[Probe]:
        """Of every named value all of whose elements are in the network."""
        for name, forms in self.scalars.values.items():
            found = [self._probe(name, index, forms.item(index)) for index in np.ndindex(forms.shape)]
            complete = [probe for probe in found if probe is not None]
            if len(complete) == len(found):
                yield from complete

    def _probe(self, name: str, index: tuple[int, ...], form: Affine) -> Probe | None:
        expanded = self.scalars.expanded(form)
        places = [self._places(self.parts.item(number), factor) for number, factor in expanded.terms]
        if not all(places):
            return None
        return Probe(name, index, tuple(place for found in places for place in found), expanded.constant)

    def _places(self, item: Item, factor: float) -> list[tuple[int, int, float]]:
        """The slots of an item, in its own layer; empty where the network does without it."""
        level = self.levels.get(item, -1)
        slots = self.slots.get(level, {})
        if item in slots:
            return [(level, slots[item], factor)]
        if item[0] != "state" or level < 0 or not self._is_requested(item[1], level):
            return []
        return [(level, slot, factor * part) for slot, part in self._state_slots(item[1], level)]

    def _is_requested(self, element: int, level: int) -> bool:
        """Whether all slots are there that a state is made of."""
        count = len(self.slots[level])
        slots = dict(self.slots[level])
        self._state_slots(element, level)
        complete = len(self.slots[level]) == count
        self.slots[level] = slots
        return complete


def _element_names(scalars: Scalars) -> Mapping[Affine, str]:
    """The program's names of elements, by what they are made of."""
    found: dict[Affine, str] = {}
    for name, forms in scalars.values.items():
        for index in np.ndindex(forms.shape):
            place = f"[{', '.join(map(str, index))}]" if index else ""
            found.setdefault(scalars.expanded(forms.item(index)), name + place)
    return found
