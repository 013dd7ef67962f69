"""How near to its threshold a comparison comes.

Of `x > y` the difference x - y is looked at.  Where it lies on a progression there is a gap around 0 in which it never
is: for whole numbers x and y, `x > y` holds from 1 on and fails up to 0.  A network that computes the comparison by a
ramp can let it rise anywhere in that gap, and the wider the gap, the smaller its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lsrl.backends.evaluation.range_elementwise import minus
from lsrl.backends.evaluation.ranges import Range

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


@dataclass(frozen=True, slots=True)
class Gap:
    """Where the difference of a comparison's operands (left - right) never is.

    Attributes:
        below: for `gt` and `le` the largest difference that is not above 0, for the others the largest below 0.
        above: for `lt` and `ge` the smallest difference that is not below 0, for the others the smallest above 0.
    """

    below: Fraction
    above: Fraction

    @property
    def width(self) -> Fraction:
        """0 where the operands may come arbitrarily near to the threshold."""
        return self.above - self.below


def gap(op: str, x: Range, y: Range) -> Gap:
    """The gap of the comparison `op` of operands with these ranges, for all elements at once."""
    difference = minus(x, y)
    if difference.grid is None:
        return _without_grid(difference)
    if not difference.grid.step:
        return _decided(op, difference.grid.offset)
    zero = Fraction(0)
    strictly_below, strictly_above = op in ("lt", "ge", "eq", "ne"), op in ("gt", "le", "eq", "ne")
    return Gap(difference.grid.below(zero, strictly_below), difference.grid.above(zero, strictly_above))


def _decided(op: str, known: Fraction) -> Gap:
    """Of a difference that is known: all between it and what is 1 away or, if that is farther, on the other side."""
    if op in ("eq", "ne"):
        return Gap(-(abs(known) or Fraction(1)), abs(known) or Fraction(1))
    zero_below = op in ("gt", "le")
    if known > 0 or (known == 0 and not zero_below):
        return Gap(min(known - 1, Fraction(0 if zero_below else -1)), known)
    return Gap(known, max(known + 1, Fraction(1 if zero_below else 0)))


def _without_grid(difference: Range) -> Gap:
    """A difference that never has the other sign leaves all between itself and 0 free."""
    if difference.low.size and np.isfinite(difference.least) and difference.least > 0:
        return Gap(Fraction(0), Fraction(difference.least))
    if difference.low.size and np.isfinite(difference.most) and difference.most < 0:
        return Gap(Fraction(difference.most), Fraction(0))
    return Gap(Fraction(0), Fraction(0))


def allowed(op: str, holds: bool, between: Gap) -> tuple[float, float]:
    """What the difference of a comparison's operands is between, given whether the comparison holds."""
    below, above = (-np.inf, float(between.below)), (float(between.above), np.inf)
    match op, holds:
        case ("gt" | "ge", True) | ("lt" | "le", False):
            return above
        case ("lt" | "le", True) | ("gt" | "ge", False):
            return below
        case ("eq", True) | ("ne", False):
            return 0.0, 0.0
        case _:
            return -np.inf, np.inf
