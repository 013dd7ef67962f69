"""What the evaluation of a value needs to know besides its operands.

An array stands for a value of shape [*shape] at one place, [*shape], or at many, [*places, *shape].  Values that are
the same everywhere have no places.  Where arrays meet, those with places have the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lsrl.backends.arrays import Array, Index
from lsrl.backends.topology import Topology
from lsrl.ir.dims import Dim
from lsrl.ir.value import Kind, Value

EXACT = "exact"
REALS = ("float64", "float32", "float16", EXACT)


_FRACTIONS = np.frompyfunc(Fraction, 1, 1)


@dataclass(frozen=True)
class Scope:
    """Sizes, the precision of floats, and the graph where there is one.

    With the precision `exact` floats are rational numbers, arrays of `fractions.Fraction`.
    """

    sizes: Mapping[str, int]
    real: str = "float64"
    topology: Topology | None = None

    def shape(self, dims: Sequence[Dim]) -> tuple[int, ...]:
        return tuple(dim.evaluate(self.sizes) for dim in dims)

    def dtype(self, kind: Kind) -> np.dtype[np.generic]:
        match kind:
            case Kind.BOOL:
                return np.dtype(np.bool_)
            case Kind.INT:
                return np.dtype(np.int64)
            case Kind.FLOAT:
                return np.dtype(object if self.exact else self.real)
            case Kind.COMPLEX:
                return np.dtype(np.complex128 if self.real == "float64" else np.complex64)

    @property
    def exact(self) -> bool:
        return self.real == EXACT

    def zeros(self, places: Sequence[int], value: Value) -> Array:
        return self.held(np.zeros((*places, *self.shape(value.shape))), value.kind)

    def held(self, array: Array, kind: Kind) -> Array:
        """An array in the precision in which values of this kind are kept; ValueError or OverflowError for inf or nan
        where they are rational numbers."""
        if self.exact and kind is Kind.FLOAT:
            return np.asarray(_FRACTIONS(array), object)
        return array.astype(self.dtype(kind), copy=False)


Kernel = Callable[[Value, Sequence[Array], Scope], Array]
"""Computes a value from the arrays of its operands."""


def at(position: Sequence[int]) -> Index:
    """The index of a position in an array [B, *lengths, ...]."""
    return (slice(None), *position)


def places(value: Value, array: Array) -> tuple[int, ...]:
    """The places at which an array holds a value."""
    return array.shape[: array.ndim - value.rank]


def common_places(value: Value, args: Sequence[Array]) -> tuple[int, ...]:
    """The places at which the operands of a value are given: those of all that have any."""
    return max((places(arg, array) for arg, array in zip(value.args, args)), key=len, default=())


def spread(value: Value, array: Array, at: Sequence[int]) -> Array:
    """The array with places `at`, repeated where it had none."""
    return np.broadcast_to(array, (*at, *array.shape[array.ndim - value.rank :]))
