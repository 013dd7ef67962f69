"""Random arrays of every sort that a program is run with, for checking what it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array, state_names
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.value import Kind

Drawn = tuple[dict[str, Array], dict[str, Array], dict[str, Array]]
"""Params, inputs (noises among them) and initial states."""


SMALL = (3, 5, 4, 2, 6, 7)


def small_sizes(cell: Cell, given: Mapping[str, int]) -> dict[str, int]:
    """Sizes to run a cell with: those that are not given and have no default are small and different from each other.

    No two axes can be confused then.
    """
    missing = [size.name for size in cell.sizes if size.name not in given and size.default is None]
    return {**{name: SMALL[place % len(SMALL)] for place, name in enumerate(missing)}, **given}


def random_array(
    generator: np.random.Generator, shape: tuple[int, ...], kind: Kind, bound: int | None = None
) -> Array:
    """Values of both signs; ints are never 0 (division by it is undefined), with a bound in 0..bound-1."""
    match kind:
        case Kind.BOOL:
            return generator.random(shape) < 0.5
        case Kind.INT:
            places = generator.integers(0, bound or 6, shape)
            return np.array([-2, -1, 1, 2, 3, 5])[places] if bound is None else places
        case Kind.FLOAT:
            return generator.normal(size=shape)
        case Kind.COMPLEX:
            return np.asarray(generator.normal(size=shape) + 1j * generator.normal(size=shape))


def random_arrays(
    cell: Cell, sizes: Mapping[str, int], batch: int, length: int | Sequence[int], seed: int = 0
) -> Drawn:
    """Params [*shape], inputs [B, T, *shape] and initial states [B, *shape] of a cell over time.

    Over a grid `length` has the places along each axis; states are where they enter, by `state_names`.
    """
    lengths: tuple[int, ...] = (length,) if isinstance(length, int) else tuple(length)
    lead = (batch, *lengths)
    generator = np.random.default_rng(seed)

    def numbers(shape: Shape) -> tuple[int, ...]:
        return tuple(dim.evaluate(sizes) for dim in shape)

    def bound(dim: Dim | None) -> int | None:
        return None if dim is None else dim.evaluate(sizes)

    params = {p.name: random_array(generator, numbers(p.shape), p.kind) for p in cell.params}
    inputs = {
        i.name: random_array(generator, (*lead, *numbers(i.shape)), i.kind, bound(i.bound)) for i in cell.inputs
    }
    inputs |= {
        n.name: random_array(generator, (*lead, *numbers(n.shape)), Kind.FLOAT) for n in cell.noises
    }
    states = {
        name: random_array(generator, (batch, *_others(cell, axis, lengths), *numbers(state.shape)), state.kind)
        for state in cell.states
        for name, axis in zip(state_names(state), state.axes)
    }
    return params, inputs, states


def _others(cell: Cell, axis: str, lengths: Sequence[int]) -> tuple[int, ...]:
    """The lengths of the axes of a cell but one."""
    return tuple(length for other, length in zip(cell.axes, lengths, strict=True) if other != axis)


def random_weights(results: Mapping[str, Array], seed: int = 1) -> dict[str, Array]:
    """Cotangents for everything among some results that is a float or complex number."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=array.shape)
        + (1j * generator.normal(size=array.shape) if array.dtype.kind == "c" else 0)
        for name, array in results.items()
        if array.dtype.kind in "fc"
    }
