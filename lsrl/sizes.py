"""Sizes that nobody gave, from the shapes of the arrays at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from lsrl.backends.arrays import ArrayError
from lsrl.ir.cell import GRAPH, Cell, size_numbers
from lsrl.ir.dims import Dim, DimError, Shape, shape_text
from lsrl.ir.value import Domain


@dataclass(frozen=True, slots=True)
class Sighting:
    """An axis of a given array: the size it must have, its length, and how to call the array in a message."""

    dim: Dim
    length: int
    array: str


def infer_sizes(
    cell: Cell,
    given: Mapping[str, int],
    params: Mapping[str, ArrayLike],
    inputs: Mapping[str, ArrayLike],
    state: Mapping[str, ArrayLike] | None = None,
) -> dict[str, int]:
    """The number of every size: the given ones, those that the arrays' shapes tell, and the program's defaults.

    A size is told by an axis whose length is a linear function of it alone (`[2*H + 1]`) once the others are known.

    Raises:
        DimError: nothing tells a size, or two sources tell it differently; the message names both.
        ArrayError: an input that would tell a size is missing.
    """
    sightings = list(_sightings(cell, params, inputs, state or {}))
    sources = dict.fromkeys(given, "the given sizes")
    found = dict(given)
    progress = True
    while progress:
        solved = [(name, number, s) for s in sightings for name, number in _solved(s, found)]
        progress = bool(solved)
        for name, number, sighting in solved:
            if found.setdefault(name, number) == number:
                sources.setdefault(name, sighting.array)
    _check_told(cell, found, inputs)
    bound = size_numbers(cell, found)
    for sighting in sightings:
        _check(sighting, bound, sources)
    return bound


def _check_told(cell: Cell, found: Mapping[str, int], inputs: Mapping[str, ArrayLike]) -> None:
    """A size that only an input would tell which is not there, or has another number of axes, is that input's fault."""
    unknown = {size.name for size in cell.sizes if size.name not in found and size.default is None}
    for declared in (each for each in cell.inputs if any(dim.names & unknown for dim in each.shape)):
        lead = () if cell.axes == (GRAPH,) else ("B", *(axis.upper() for axis in cell.axes))
        expected = f"expected {declared.kind} {shape_text((*map(Dim.of, lead), *declared.shape))}"
        if declared.name not in inputs:
            raise ArrayError(f"input {declared.name} is missing: {expected}")
        lengths = np.shape(inputs[declared.name])
        if lead and len(lengths) != len(lead) + len(declared.shape):
            raise ArrayError(f"input {declared.name}: {expected}, found {list(lengths)}")


def _sightings(
    cell: Cell, params: Mapping[str, ArrayLike], inputs: Mapping[str, ArrayLike], state: Mapping[str, ArrayLike]
) -> Iterator[Sighting]:
    """Every axis with a declared size, inputs first; arrays of a wrong rank are left to the check of arrays."""
    graph = cell.axes == (GRAPH,)
    for declared in cell.inputs:
        lead = (0 if declared.domain is Domain.NONE else 1) if graph else 1 + len(cell.axes)
        yield from _axes("input", declared.name, declared.shape, lead, inputs)
    for param in cell.params:
        yield from _axes("param", param.name, param.shape, 0, params)
    for carried in cell.states:
        yield from _axes("state", carried.name, carried.shape, len(cell.axes), state)


def _axes(sort: str, name: str, shape: Shape, lead: int, arrays: Mapping[str, ArrayLike]) -> Iterator[Sighting]:
    if name in arrays:
        lengths = np.shape(arrays[name])
        if len(lengths) == lead + len(shape):
            title = f"{sort} {name} {shape_text(shape)}"
            yield from (Sighting(dim, length, title) for dim, length in zip(shape, lengths[lead:]))


def _solved(sighting: Sighting, known: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The one unknown size of an axis and its number, where the axis is linear in it and comes out whole."""
    rest = sighting.dim.substitute(known) - sighting.length
    if len(rest.names) != 1:
        return
    (name,) = rest.names
    factor = _factor(rest, name)
    if factor is not None:
        number = -_constant(rest) / factor
        if number.denominator == 1 and number >= 0:
            yield name, int(number)


def _factor(dim: Dim, name: str) -> Fraction | None:
    """`a` where the dim is a*name + b."""
    factors = [factor for monomial, factor in dim.terms if monomial]
    linear = all(monomial in ((), ((name, 1),)) for monomial, _ in dim.terms)
    return factors[0] if linear and factors else None


def _constant(dim: Dim) -> Fraction:
    return sum((factor for monomial, factor in dim.terms if not monomial), Fraction(0))


def _check(sighting: Sighting, bound: Mapping[str, int], sources: Mapping[str, str]) -> None:
    expected = sighting.dim.evaluate(bound)
    if expected != sighting.length:
        told = ", ".join(_told(name, bound, sources) for name in sorted(sighting.dim.names))
        raise DimError(
            f"{sighting.array} has {sighting.length} where {sighting.dim} is {expected}{told and f': {told}'}"
        )


def _told(name: str, bound: Mapping[str, int], sources: Mapping[str, str]) -> str:
    return f"{name}={bound[name]} by {sources.get(name, 'its default')}"
