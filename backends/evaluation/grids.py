"""Arithmetic progressions that values lie on: offset + step Z, with rational numbers.

The domain of linear congruences (Granger, 1989, "Static analysis of arithmetical congruences"), over the rationals: of
whole numbers the step is 1, of `x - 1/2` for a whole x the offset is 1/2, of a constant the step is 0.  It tells how
near to its threshold a comparison can come.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

MOST_BITS = 64
"""Progressions whose numbers grow longer than this are given up: a state that is halved at each step has no end."""


@dataclass(frozen=True, slots=True)
class Grid:
    """All numbers offset + k step for whole k; the offset is in [0, step), or the number itself where step is 0."""

    step: Fraction
    offset: Fraction

    def __or__(self, other: Grid) -> Grid | None:
        """The finest progression that holds both."""
        return grid(_gcd(self.step, other.step, self.offset - other.offset), self.offset)

    def __add__(self, other: Grid) -> Grid | None:
        return grid(_gcd(self.step, other.step), self.offset + other.offset)

    def __mul__(self, other: Grid) -> Grid | None:
        step = _gcd(self.offset * other.step, self.step * other.offset, self.step * other.step)
        return grid(step, self.offset * other.offset)

    def __neg__(self) -> Grid:
        return Grid(self.step, (-self.offset) % self.step if self.step else -self.offset)

    def repeated(self, count: int) -> Grid | None:
        """Where a sum of this many of its numbers lies."""
        return grid(self.step, self.offset * count)

    def many(self) -> Grid | None:
        """Where a sum of any number of these lies, none of them included."""
        return grid(_gcd(self.step, self.offset), Fraction(0))

    @property
    def integral(self) -> bool:
        return self.step.denominator == 1 and self.offset.denominator == 1

    @property
    def dyadic(self) -> bool:
        """Whether floating point holds its numbers, as long as they are not large."""
        return all(part.denominator & (part.denominator - 1) == 0 for part in (self.step, self.offset))

    def below(self, bound: Fraction, strictly: bool) -> Fraction:
        """The largest of its numbers that is not above the bound; the step must not be 0."""
        turns = math.ceil((bound - self.offset) / self.step) - 1 if strictly else (bound - self.offset) // self.step
        return self.offset + turns * self.step

    def above(self, bound: Fraction, strictly: bool) -> Fraction:
        """The smallest of its numbers that is not below the bound; the step must not be 0."""
        return -(-self).below(-bound, strictly)


INTEGERS = Grid(Fraction(1), Fraction(0))


def grid(step: Fraction, offset: Fraction) -> Grid | None:
    """The progression, or None where its numbers are too long to be of use."""
    if max(part.bit_length() for number in (step, offset) for part in number.as_integer_ratio()) > MOST_BITS:
        return None
    return Grid(step, offset % step if step else offset)


def of_numbers(numbers: Iterable[Fraction]) -> Grid | None:
    """The finest progression that holds all of the numbers, of which there is at least one."""
    first, *rest = numbers
    return grid(_gcd(*(number - first for number in rest)), first)


def _gcd(*numbers: Fraction) -> Fraction:
    found = Fraction(0)
    for number in numbers:
        found = Fraction(
            math.gcd(found.numerator * number.denominator, number.numerator * found.denominator),
            found.denominator * number.denominator,
        )
    return found
