"""Running cells with random arrays: in the reference, and as emitted modules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.value import Kind


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
    cell: Cell, sizes: Mapping[str, int], batch: int, length: int, seed: int = 0
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Params, inputs (noises among them) and initial states."""
    generator = np.random.default_rng(seed)

    def numbers(shape: Shape) -> tuple[int, ...]:
        return tuple(dim.evaluate(sizes) for dim in shape)

    def bound(dim: Dim | None) -> int | None:
        return None if dim is None else dim.evaluate(sizes)

    params = {p.name: random_array(generator, numbers(p.shape), p.kind) for p in cell.params}
    inputs = {
        i.name: random_array(generator, (batch, length, *numbers(i.shape)), i.kind, bound(i.bound)) for i in cell.inputs
    }
    inputs |= {
        n.name: random_array(generator, (batch, length, *numbers(n.shape)), Kind.FLOAT) for n in cell.noises
    }
    states = {s.name: random_array(generator, (batch, *numbers(s.shape)), s.kind) for s in cell.states}
    return params, inputs, states
