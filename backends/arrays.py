"""The arrays that a run is given: what their names and shapes must be, and errors that say what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Rational
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsrl.ir.cell import GRAPH, Cell, Input, State
from lsrl.ir.dims import Dim
from lsrl.ir.fault import Refusal
from lsrl.ir.value import Domain, Kind

Array = NDArray[Any]
Arrays = Mapping[str, ArrayLike]
Index = tuple[Any, ...]

ACCEPTED = {Kind.FLOAT: "fiub", Kind.COMPLEX: "cfiub", Kind.INT: "iu", Kind.BOOL: "b"}
"""The kinds of NumPy dtypes that hold a value of each kind."""


class ArrayError(Refusal):
    """An array that is missing, superfluous, or of the wrong shape, kind or content."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of an expected array: how it is written, and its size where that is known."""

    text: str
    size: int | None

    def __str__(self) -> str:
        return self.text if self.size is None or self.text == str(self.size) else f"{self.text}={self.size}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What an array must be: `sort` is the word for it ("input", "param", "state")."""

    sort: str
    name: str
    axes: tuple[Axis, ...]
    kind: Kind
    bound: Axis | None = None

    @property
    def title(self) -> str:
        return f"{self.sort} {self.name}"


def state_names(state: State) -> tuple[str, ...]:
    """The names of a state's arrays, one per axis: its own, or `h.y` and `h.x` where it travels along several."""
    return (state.name,) if len(state.axes) == 1 else tuple(f"{state.name}.{axis}" for axis in state.axes)


def validate(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Arrays,
    inputs: Arrays,
    state: Arrays | None = None,
    extent: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Check every array of a run and return the numbers they agree on.

    Args:
        params: [*shape] each.
        inputs: [B, T, *shape] each, [B, Y, X, *shape] over a grid; over a graph [nodes, *shape], [edges, *shape] or
            [turns, *shape], with `edges` [E, 2] and, where turns are given, `turns` [n, 2].  Noise may be left out.
        state: initial states, by the names of `state_names`: [B, *shape]; along axis `y` of a grid over `y, x`
            [B, X, *shape].  Any may be left out.
        extent: numbers that no array tells, by the names below.

    Returns:
        `B` and the length of each axis under its name in capitals (`T`); over a graph `nodes`, `edges`, `turns`.

    Raises:
        ArrayError: says which array, what was expected and what was found.
    """
    numbers = dict(extent or {})
    expected = [
        *_collected("param", params, list(expected_params(cell, sizes)), ()),
        *_collected("input", inputs, list(expected_inputs(cell, sizes, inputs)), _optional(cell)),
        *_collected("state", state or {}, list(expected_states(cell, sizes)), None),
    ]
    given = {"param": params, "input": inputs, "state": state or {}}
    for item in expected:
        _check(item, np.asarray(given[item.sort][item.name]), numbers)
    missing = [name for name in extent_names(cell) if name not in numbers]
    if missing:
        raise ArrayError(f"no array of {cell.name} tells {' and '.join(missing)}: give them as numbers")
    return numbers


def extent_names(cell: Cell) -> tuple[str, ...]:
    """What a run's size is made of, as `validate` names it."""
    return ("nodes", "edges") if cell.axes == (GRAPH,) else ("B", *(axis.upper() for axis in cell.axes))


def expected_params(cell: Cell, sizes: Mapping[str, int]) -> Iterator[Expected]:
    """What the parameters must be."""
    return (Expected("param", p.name, _axes(p.shape, sizes), p.kind) for p in cell.params)


def expected_inputs(cell: Cell, sizes: Mapping[str, int], given: Iterable[str] = ()) -> Iterator[Expected]:
    """What the inputs must be: the declared ones, noises, and a graph's edges and turns."""
    for declared in (*cell.inputs, *(Input(n.name, n.shape, domain=n.domain) for n in cell.noises)):
        lead = _leading(cell, declared.domain)
        bound = None if declared.bound is None else _axis(declared.bound, sizes)
        yield Expected("input", declared.name, (*lead, *_axes(declared.shape, sizes)), declared.kind, bound)
    if cell.axes == (GRAPH,):
        yield Expected("input", "edges", (Axis("edges", None), Axis("2", 2)), Kind.INT)
        if "turns" in given or any(declared.domain is Domain.TURN for declared in cell.inputs):
            yield Expected("input", "turns", (Axis("turns", None), Axis("2", 2)), Kind.INT)


def expected_states(cell: Cell, sizes: Mapping[str, int]) -> Iterator[Expected]:
    """What initial (and final) states must be; a graph's states have none."""
    for state in cell.states if cell.axes != (GRAPH,) else ():
        for name, along in zip(state_names(state), state.axes):
            lead = tuple(Axis(axis.upper(), None) for axis in cell.axes if axis != along)
            yield Expected("state", name, (Axis("B", None), *lead, *_axes(state.shape, sizes)), state.kind)


def _leading(cell: Cell, domain: Domain) -> tuple[Axis, ...]:
    if cell.axes != (GRAPH,):
        return tuple(Axis(name, None) for name in extent_names(cell))
    return () if domain is Domain.NONE else (Axis(f"{domain}s", None),)


def _axes(shape: Iterable[Dim], sizes: Mapping[str, int]) -> tuple[Axis, ...]:
    return tuple(_axis(dim, sizes) for dim in shape)


def _axis(dim: Dim, sizes: Mapping[str, int]) -> Axis:
    return Axis(str(dim), dim.evaluate(sizes))


def _optional(cell: Cell) -> tuple[str, ...]:
    return tuple(noise.name for noise in cell.noises)


def _collected(
    sort: str, given: Arrays, expected: Sequence[Expected], optional: tuple[str, ...] | None
) -> Iterator[Expected]:
    """The expected arrays that are given; ArrayError for extra ones, and for missing ones not among `optional`."""
    names = [item.name for item in expected]
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"the {sort}s are {', '.join(names) or 'none'}"
            raise ArrayError(f"there is no {sort} {name}; {hint}")
    for item in expected:
        if item.name in given:
            yield item
        elif optional is not None and item.name not in optional:
            raise ArrayError(f"{item.title} is missing: expected {item.kind} {_text(item.axes)}")


def _check(item: Expected, array: Array, numbers: dict[str, int]) -> None:
    """Compare an array with what it must be; sizes it is the first to tell are added to `numbers`."""
    known = tuple(Axis(a.text, numbers.get(a.text) if a.size is None else a.size) for a in item.axes)
    if array.ndim != len(known) or any(a.size not in (None, found) for a, found in zip(known, array.shape)):
        raise ArrayError(f"{item.title}: expected {item.kind} {_text(known)}, found {list(array.shape)}")
    numbers.update({a.text: found for a, found in zip(known, array.shape) if a.size is None})
    if array.dtype.kind not in ACCEPTED[item.kind] and not (item.kind is Kind.FLOAT and _rational(array)):
        raise ArrayError(f"{item.title}: expected {item.kind} elements, found {array.dtype}")
    if item.bound is not None and item.bound.size is not None:
        outside = np.argwhere((array < 0) | (array >= item.bound.size))
        if len(outside):
            place = outside[0].tolist()
            raise ArrayError(f"{item.title}: {array[tuple(place)]} at {place} is outside int({item.bound})")


def _rational(array: Array) -> bool:
    """Whether the elements are exact numbers, `fractions.Fraction` and int."""
    return array.dtype.kind == "O" and all(isinstance(number, Rational) for number in array.flat)


def _text(axes: Iterable[Axis]) -> str:
    return "[" + ", ".join(str(axis) for axis in axes) + "]"
