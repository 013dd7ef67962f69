"""What is known of a value: bounds of each element, the progression they lie on, and bounds of sums.

A `Range` stands for every array of the value's shape whose elements lie between `low` and `high` and on `grid`, and
whose sums along the last axis lie between `sums`.  Bounds are of results in real arithmetic; rounding may step over
them by as much as it does over any result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.grids import INTEGERS, Grid, of_numbers
from lsrl.backends.evaluation.outward import lower, total, upper

LARGEST_WHOLE = 2.0**50
"""Bounds below this many steps of a grid are moved onto the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """The set of arrays that a value is one of.

    Attributes:
        low, high: float64 bounds of each element, [*shape]; infinite where nothing is known.
        grid: what all elements lie on.
        sums: bounds of the sums along the last axis, [*shape[:-1]], where they say more than those of the elements.
    """

    low: Array
    high: Array
    grid: Grid | None = None
    sums: tuple[Array, Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.low.shape

    @property
    def least(self) -> float:
        """The lowest bound of any element; infinite where there are none."""
        return float(self.low.min(initial=np.inf))

    @property
    def most(self) -> float:
        return float(self.high.max(initial=-np.inf))

    @property
    def magnitude(self) -> float:
        """No element is farther from 0."""
        return max(-self.least, self.most, 0.0)

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def nonnegative(self) -> bool:
        return self.least >= 0

    @property
    def nonpositive(self) -> bool:
        return self.most <= 0

    @property
    def integral(self) -> bool:
        """Whether all elements are whole numbers."""
        return self.grid is not None and self.grid.integral

    @property
    def boolean(self) -> bool:
        """Whether all elements are 0 or 1."""
        return self.integral and self.least >= 0 and self.most <= 1

    @property
    def one_hot(self) -> bool:
        """Whether along the last axis one element is 1 and all others are 0."""
        if not self.boolean or not self.shape:
            return False
        low, high = self.row_sums()
        return bool(np.all(low == 1) and np.all(high == 1))

    @property
    def constant(self) -> bool:
        """Whether every element is known."""
        return bool(np.array_equal(self.low, self.high) and np.isfinite(self.low).all())

    def row_sums(self) -> tuple[Array, Array]:
        """Bounds of the sums along the last axis."""
        last = (len(self.shape) - 1,)
        low, high = total(self.low, last, lower), total(self.high, last, upper)
        if self.sums is None:
            return low, high
        return np.maximum(low, self.sums[0]), np.minimum(high, self.sums[1])

    def __or__(self, other: Range) -> Range:
        """What holds of both."""
        grid = self.grid | other.grid if self.grid is not None and other.grid is not None else None
        found = on_grid(np.minimum(self.low, other.low), np.maximum(self.high, other.high), grid)
        if not self.shape:
            return found
        ours, theirs = self.row_sums(), other.row_sums()
        return found.with_sums(np.minimum(ours[0], theirs[0]), np.maximum(ours[1], theirs[1]))

    def __and__(self, other: Range) -> Range:
        """What is known when both hold; elements of which they contradict each other stay as they are here."""
        low, high = np.maximum(self.low, other.low), np.minimum(self.high, other.high)
        clash = low > high
        finer = other.grid if self.grid is None or _finer(other.grid, self.grid) else self.grid
        sums = self.sums
        if other.sums is not None:
            ends = sums or other.sums
            sums = np.maximum(ends[0], other.sums[0]), np.minimum(ends[1], other.sums[1])
        return on_grid(np.where(clash, self.low, low), np.where(clash, self.high, high), finer, sums)

    def same(self, other: Range) -> bool:
        """Whether both stand for the same arrays, as far as they tell."""
        if self.grid != other.grid or (self.sums is None) != (other.sums is None):
            return False
        pairs = [(self.low, other.low), (self.high, other.high)]
        if self.sums is not None and other.sums is not None:
            pairs += zip(self.sums, other.sums)
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)

    def with_sums(self, low: Array, high: Array) -> Range:
        """The same, with bounds of sums, where they are sharper; and no element above what the others leave for it."""
        ours = self.row_sums()
        low, high = np.maximum(low, ours[0]), np.minimum(high, ours[1])
        if np.array_equal(low, ours[0]) and np.array_equal(high, ours[1]):
            return self
        most = np.minimum(self.high, high[..., None]) if self.nonnegative else self.high
        return replace(self, high=np.maximum(most, self.low), sums=(low, high))

    def __str__(self) -> str:
        if self.constant and self.least == self.most:
            return f"{self.least:g}"
        if self.boolean:
            return "one-hot" if self.one_hot else "0 or 1"
        return f"{self.least:g} … {self.most:g}"


def everything(shape: tuple[int, ...], grid: Grid | None = None) -> Range:
    """Nothing is known but the grid."""
    return Range(np.full(shape, -np.inf), np.full(shape, np.inf), grid)


def truths(shape: tuple[int, ...]) -> Range:
    """0 or 1."""
    return Range(np.zeros(shape), np.ones(shape), INTEGERS)


def exactly(array: Array) -> Range:
    """One array of floats, whole numbers or truth values."""
    floats = np.asarray(array, np.float64)
    known = floats.size and np.isfinite(floats).all()
    grid = of_numbers(map(Fraction, dict.fromkeys(floats.ravel().tolist()))) if known else None
    return Range(floats, floats, grid)


def on_grid(low: Array, high: Array, grid: Grid | None, sums: tuple[Array, Array] | None = None) -> Range:
    """The range with its bounds moved inward onto the grid."""
    if grid is None or not grid.step or not grid.dyadic:
        return Range(low, high, grid, sums)
    step, offset = float(grid.step), float(grid.offset)
    with np.errstate(all="ignore"):
        inward = offset + np.ceil((low - offset) / step) * step, offset + np.floor((high - offset) / step) * step
    small = np.abs(low) < LARGEST_WHOLE * step, np.abs(high) < LARGEST_WHOLE * step
    low, high = np.where(small[0], inward[0], low), np.where(small[1], inward[1], high)
    return Range(low, np.maximum(low, high), grid, sums)


def _finer(one: Grid | None, other: Grid) -> bool:
    """Whether one grid has larger steps than the other, so that it tells more."""
    return one is not None and (not one.step or (bool(other.step) and one.step > other.step))
