"""Affine forms over the scalars of a program, and what is known of the values that a scalar takes.

A form is a finite sum `c_1 x_1 + ... + c_n x_n + constant` over numbered scalars, kept sorted and without zeros, so
that equal forms are equal objects.  An extent says between which numbers a scalar stays and of which power of two it
is a multiple: whole numbers have the unit 1, truth values lie in [0, 1] with the unit 1, an unknown real has the unit
0.  Sums and products of dyadic numbers keep a unit, which is what makes "exact in float32" a provable statement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

SMALLEST_UNIT = 2.0**-40
"""Coefficients finer than this are taken for roundings of real numbers, which are multiples of nothing."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The numbers from `low` to `high` that are multiples of `unit`, a power of two; unit 0 puts no condition.

    The constant 0 is a multiple of everything: its unit is infinite.
    """

    low: float = -math.inf
    high: float = math.inf
    unit: float = 0.0

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    @property
    def boolean(self) -> bool:
        return self.low >= 0 and self.high <= 1 and self.unit >= 1

    def scaled(self, factor: float) -> Extent:
        ends = (_times(self.low, factor), _times(self.high, factor))
        return Extent(min(ends), max(ends), _unit_product(self.unit, unit_of(factor)))

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.low + other.low, self.high + other.high, min(self.unit, other.unit))

    def __mul__(self, other: Extent) -> Extent:
        ends = [_times(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Extent(min(ends), max(ends), _unit_product(self.unit, other.unit))

    def __and__(self, other: Extent) -> Extent:
        """What is known when both hold."""
        return Extent(max(self.low, other.low), min(self.high, other.high), max(self.unit, other.unit))

    def __or__(self, other: Extent) -> Extent:
        """What is known when one of both holds."""
        return Extent(min(self.low, other.low), max(self.high, other.high), min(self.unit, other.unit))


BOOLEAN = Extent(0, 1, 1)
UNKNOWN = Extent()


def point(number: float) -> Extent:
    """The extent of a constant."""
    return Extent(number, number, unit_of(number))


def unit_of(number: float) -> float:
    """The largest power of two that a number is a multiple of: 0 for a rounded real, infinite for 0."""
    if number == 0:
        return math.inf
    if not math.isfinite(number):
        return 0.0
    numerator, denominator = abs(number).as_integer_ratio()
    unit = float(numerator & -numerator) / denominator
    return unit if unit >= SMALLEST_UNIT else 0.0


@dataclass(frozen=True, slots=True)
class Affine:
    """`sum(factor * scalar number for number, factor in terms) + constant`."""

    terms: tuple[tuple[int, float], ...] = ()
    constant: float = 0.0

    @property
    def is_constant(self) -> bool:
        return not self.terms

    def __add__(self, other: Affine) -> Affine:
        if not other.terms:
            return Affine(self.terms, self.constant + other.constant)
        return collect((*self.terms, *other.terms), self.constant + other.constant)

    def __neg__(self) -> Affine:
        return self.scaled(-1.0)

    def __sub__(self, other: Affine) -> Affine:
        return self + -other

    def shifted(self, by: float) -> Affine:
        return Affine(self.terms, self.constant + by)

    def scaled(self, by: float) -> Affine:
        if by == 0:
            return Affine()
        return Affine(tuple((number, factor * by) for number, factor in self.terms), self.constant * by)

    def extent(self, of: Callable[[int], Extent]) -> Extent:
        """What the extents of its scalars say of the form."""
        total = point(self.constant)
        for number, factor in self.terms:
            total = total + of(number).scaled(factor)
        return total

    def replaced(self, by: Mapping[int, Affine]) -> Affine:
        """The form with the scalars that are keys of `by` written out."""
        kept = Affine(tuple(term for term in self.terms if term[0] not in by), self.constant)
        for number, factor in self.terms:
            if number in by:
                kept = kept + by[number].scaled(factor)
        return kept


def scalar(number: int) -> Affine:
    """The form that is one scalar."""
    return Affine(((number, 1.0),))


def constant(number: float) -> Affine:
    return Affine((), float(number))


def collect(terms: Iterable[tuple[int, float]], constant: float = 0.0) -> Affine:
    """The form of terms in any order, in which scalars may repeat."""
    totals: dict[int, float] = {}
    for number, factor in terms:
        totals[number] = totals.get(number, 0.0) + factor
    return Affine(tuple(sorted((n, f) for n, f in totals.items() if f != 0)), constant)


def total(forms: Iterable[Affine]) -> Affine:
    """The sum of forms."""
    found = list(forms)
    return collect((term for form in found for term in form.terms), math.fsum(form.constant for form in found))


def unit_is_exact(form: Affine) -> bool:
    """Whether the form's constant is a dyadic number, so that it rounds nothing by itself."""
    return point(form.constant).unit > 0


def power_above(x: float) -> float:
    """The smallest power of two that is not below x."""
    return 2.0 ** math.ceil(math.log2(x))


def _times(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def _unit_product(x: float, y: float) -> float:
    """The unit of a product; one factor 0 (infinite unit) makes 0."""
    return math.inf if math.inf in (x, y) else x * y
