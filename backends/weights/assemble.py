"""Layers from levels: every value is kept exactly as long as a later layer reads it.

Slots are requested from the outputs down.  What lies more than one layer below its reader is carried from layer to
layer; a scalar that is a name for a form (a truth value that is the difference of two ReLUs, say) is carried as one
slot instead of as its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lsrl.backends.weights.affine import Affine, Extent, collect, scalar
from lsrl.backends.weights.levels import Item, Parts, levels
from lsrl.backends.weights.lower import Scalars
from lsrl.backends.weights.network import Kind, Layer, Network, Port, Probe, Row, Unit
from lsrl.backends.weights.pool import Sort

Key = tuple[str, int]
"""An `Item`, or `("name", number)`."""


def assemble(scalars: Scalars, *, apart: bool = False) -> Network:
    """The network of a program's scalars; `apart` keeps states in layers of their own (see `levels`).

    Raises:
        NotExact: a recurrence that is not linear.
    """
    parts = Parts(scalars)
    found = levels(parts, apart=apart)
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
        if kind == "name" or self.levels[key] < level:
            return self._carry(key, level)
        if kind == "delay":
            return self._state(key, scalar(self._arriving[number]), level)
        if kind == "state":
            return self._state(key, self.parts.updates[number], level)
        made = self.scalars.scalars[number]
        rows = tuple(self._row(form, level - 1) for form in made.forms)
        operands = tuple(self.scalars.extent(form) for form in made.forms) if made.sort is Sort.PRODUCT else ()
        which = Kind.PRODUCT if made.sort is Sort.PRODUCT else Kind.RELU
        return Unit(which, rows, (), 0.0, made.extent, self._name(key), self._place(key), operands, made.snaps)

    def _carry(self, key: Key, level: int) -> Unit:
        form = self.scalars.scalars[key[1]].forms[0] if key[0] == "name" else None
        if form is None or self._available(key) < level - 1:
            row = Row(((self._slot(key, level - 1), 1.0),))
        else:
            row = self._row(form, level - 1)
        return Unit(Kind.CARRY, (row,), (), 0.0, self._extent(key), self._name(key), self._place(key))

    def _state(self, key: Key, form: Affine, level: int) -> Unit:
        """A state; last values of states beside it stand in `back`, those of states below come as delays."""
        back, below = [], []
        for number, factor in form.terms:
            part = self.scalars.scalars[number]
            if part.sort is Sort.ARRIVING and self.levels["state", part.element] == level:
                back.append((self._slot(("state", part.element), level), factor))
            else:
                below.append((number, factor))
        row = self._row(collect(below, form.constant), level - 1)
        start = self.scalars.updates[key[1]].start
        return Unit(Kind.STATE, (row,), tuple(back), start, self._extent(key), self._name(key), self._place(key))

    def _row(self, form: Affine, level: int) -> Row:
        """An affine form over the slots of a layer, which are requested."""
        terms: list[tuple[int, float]] = []
        bias = form.constant
        waiting = list(form.terms)
        while waiting:
            number, factor = waiting.pop(0)
            if self.scalars.scalars[number].sort is not Sort.NAME:
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
        sort = Sort.STATE if kind == "state" else Sort.ARRIVING
        found = [s.extent for s in self.scalars.scalars if s.sort is sort and s.element == number]
        if kind == "state" and not found:
            return self.scalars.extent(self.scalars.updates[number].form)
        return found[0] if found else Extent()

    def _name(self, key: Key) -> str:
        kind, number = key
        if kind == "state":
            return f"{self.scalars.updates[number].name}'"
        if kind == "delay":
            return self.scalars.updates[number].name
        return self.names.get(self.scalars.expanded(scalar(number)), "")

    def _place(self, key: Key) -> str:
        origin = self.scalars.scalars[key[1]].origin if key[0] in ("scalar", "name") else None
        return self._name(key) if origin is None else self.scalars.place(origin)

    def _probes(self) -> Iterable[Probe]:
        for name, forms in self.scalars.values.items():
            for index in np.ndindex(forms.shape):
                form = self.scalars.expanded(forms.item(index))
                items = [(self.parts.item(number), factor) for number, factor in form.terms]
                if all(self._is_computed(item) for item, _ in items):
                    terms = tuple((self.levels[i], self.slots[self.levels[i]][i], f) for i, f in items)
                    yield Probe(name, index, terms, form.constant)

    def _is_computed(self, item: Item) -> bool:
        return item in self.levels and item in self.slots[self.levels[item]]


def _element_names(scalars: Scalars) -> Mapping[Affine, str]:
    """The program's names of elements, by what they are made of."""
    found: dict[Affine, str] = {}
    for name, forms in scalars.values.items():
        for index in np.ndindex(forms.shape):
            place = f"[{', '.join(map(str, index))}]" if index else ""
            found.setdefault(scalars.expanded(forms.item(index)), name + place)
    return found
