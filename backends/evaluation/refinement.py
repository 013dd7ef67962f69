"""What a condition tells of the values that it chooses between: in `where(n < 9, n + 1, 0)` n + 1 is at most 9."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

import numpy as np

from lsrl.backends.evaluation.gaps import COMPARISONS, allowed, gap
from lsrl.backends.evaluation.grids import of_numbers
from lsrl.backends.evaluation.outward import lower, upper
from lsrl.backends.evaluation.range_elementwise import known, plus
from lsrl.backends.evaluation.ranges import Range, on_grid
from lsrl.ir.value import Kind, Value

Found = Mapping[Value, Range]


def refined(value: Value, condition: Value, holds: bool, found: Found) -> Range:
    """The range of a value where a condition holds, or where it does not."""
    narrowed = found[value]
    for comparison, true in _implied(condition, holds):
        for bound in _bounds(value, comparison, true, found):
            if np.broadcast_shapes(bound.shape, narrowed.shape) == narrowed.shape:
                narrowed = narrowed & bound
    return narrowed


def _implied(condition: Value, holds: bool) -> Iterator[tuple[Value, bool]]:
    """Comparisons whose truth follows from that of a condition."""
    match condition:
        case Value("not", (opposite,)):
            yield from _implied(opposite, not holds)
        case Value("and", parts) if holds:
            for part in parts:
                yield from _implied(part, True)
        case Value("or", parts) if not holds:
            for part in parts:
                yield from _implied(part, False)
        case Value(op) if op in COMPARISONS:
            yield condition, holds


def _bounds(value: Value, comparison: Value, holds: bool, found: Found) -> Iterator[Range]:
    """Bounds of a value that is an operand of the comparison, up to a constant."""
    root, shift = _shifted(value, found)
    x, y = comparison.args
    low, high = allowed(comparison.op, holds, gap(comparison.op, found[x], found[y]))
    difference = Range(np.asarray(low), np.asarray(high))
    for operand, other, apart in ((x, y, difference), (y, x, Range(-difference.high, -difference.low))):
        own, moved = _shifted(operand, found)
        if own is root and known(found[root]) is None:
            bound = plus(found[other], apart)
            if (comparison.op, holds) in (("ne", True), ("eq", False)):
                bound = _trimmed(found[operand], found[other])
            yield plus(Range(bound.low, bound.high), _constant(shift - moved))


def _trimmed(x: Range, y: Range) -> Range:
    """The bounds of x, without an end that is equal to the number y."""
    if not y.constant or x.grid is None or not x.grid.step:
        return x
    step = float(x.grid.step)
    low = np.where(x.low == y.low, x.low + step, x.low)
    high = np.where(x.high == y.low, x.high - step, x.high)
    empty = low > high
    return on_grid(np.where(empty, x.low, low), np.where(empty, x.high, high), None)


def _shifted(value: Value, found: Found) -> tuple[Value, Fraction]:
    """A value as another one plus a number."""
    shift = Fraction(0)
    while True:
        match value:
            case Value("add", (x, y)) if (number := known(found[y])) is not None and x.shape == value.shape:
                value, shift = x, shift + number
            case Value("add", (x, y)) if (number := known(found[x])) is not None and y.shape == value.shape:
                value, shift = y, shift + number
            case Value("sub", (x, y)) if (number := known(found[y])) is not None and x.shape == value.shape:
                value, shift = x, shift - number
            case Value("cast", (x,)) if x.kind in (Kind.BOOL, Kind.INT) and value.kind in (Kind.INT, Kind.FLOAT):
                value = x
            case _:
                return value, shift


def _constant(number: Fraction) -> Range:
    """A number, between the floats next to it."""
    nearest = np.asarray(float(number))
    inexact = np.asarray(float(number) != number)
    return Range(lower(nearest, inexact), upper(nearest, inexact), of_numbers([number]))
