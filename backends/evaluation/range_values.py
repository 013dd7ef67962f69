"""Ranges of the values of a step, operands first: the evaluation of `evaluate` with sets of arrays for arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lsrl.backends.evaluation import range_axes, range_elementwise
from lsrl.backends.evaluation.grids import INTEGERS, of_numbers
from lsrl.backends.evaluation.outward import lower, upper
from lsrl.backends.evaluation.range_sums import with_sums
from lsrl.backends.evaluation.ranges import Range, everything, on_grid, truths
from lsrl.backends.evaluation.refinement import refined
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir.facts.intervals import Interval, identity
from lsrl.ir.infer import dim
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Attr, Kind, Value

Ranges = dict[Value, Range]


def extend(values: Iterable[Value], found: Ranges, scope: Scope) -> None:
    """Add the ranges of values to those of all that they are computed from."""
    for value in values:
        found[value] = range_of(value, found, scope)


def range_of(value: Value, found: Ranges, scope: Scope) -> Range:
    """The range of one operation's result."""
    shape = scope.shape(value.shape)
    if any(each.kind is Kind.COMPLEX for each in (value, *value.args)):
        return everything(shape)
    plain = _of_kind(value, _spread(_plain(value, found, scope), shape))
    return with_sums(value, found, _narrowed(value, plain, found), scope)


def _plain(value: Value, found: Ranges, scope: Scope) -> Range:
    """What the operation's own rule tells."""
    args = [found[arg] for arg in value.args]
    match value.op:
        case "const":
            return _const(value)
        case "size":
            return _numbers([Fraction(dim(value.attr("dim")).evaluate(scope.sizes))], ())
        case "iota":
            (count,) = scope.shape(value.shape)
            return _numbers([Fraction(place) for place in range(count)], (count,))
        case "where":
            condition, x, y = value.args
            branches = refined(x, condition, True, found), refined(y, condition, False, found)
            return range_elementwise.choice(args[0], *branches)
        case "read" | "max_in" if not args[0].shape or value.op == "read":
            return args[0]
        case op if op in range_axes.RULES:
            return range_axes.RULES[op](value, args, scope)
        case op if family(op) is Family.ELEMENTWISE:
            return range_elementwise.elementwise(value, args)
        case _:
            return everything(scope.shape(value.shape))


def _spread(found: Range, shape: tuple[int, ...]) -> Range:
    """The range at every element, and anything where a bound is no number."""
    low, high = np.broadcast_to(found.low, shape), np.broadcast_to(found.high, shape)
    return Range(np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high), found.grid)


def _of_kind(value: Value, found: Range) -> Range:
    """Whole numbers are whole, truth values are 0 or 1."""
    match value.kind:
        case Kind.BOOL:
            return found & truths(found.shape)
        case Kind.INT if not found.integral:
            return on_grid(found.low, found.high, INTEGERS)
        case _:
            return found


def _narrowed(value: Value, plain: Range, found: Ranges) -> Range:
    """With what follows from how the operands are related."""
    around = identity(value, _Ends(found))
    if around is None:
        return plain
    return plain & Range(np.full(plain.shape, around.low), np.full(plain.shape, around.high))


@dataclass(frozen=True, slots=True)
class _Ends(Mapping[Value, Interval]):
    """The interval of all elements of each value together."""

    found: Ranges

    def __getitem__(self, value: Value) -> Interval:
        return Interval(self.found[value].least, self.found[value].most)

    def __iter__(self) -> Iterator[Value]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def _const(value: Value) -> Range:
    return _numbers(list(_flat(value.attr("value"))), tuple(dim_.constant or 0 for dim_ in value.shape))


def _flat(attr: Attr) -> Iterator[Fraction | float]:
    """The elements of a constant: exact ones as fractions, others as floats."""
    match attr:
        case tuple():
            for item in attr:
                yield from _flat(item)
        case "pi":
            yield np.pi
        case int() | Fraction():
            yield Fraction(attr)
        case float():
            yield attr
        case _:
            yield np.nan


def _numbers(numbers: list[Fraction | float] | list[Fraction], shape: tuple[int, ...]) -> Range:
    """Known numbers, between the floats next to them; what is no number may be anything."""
    floats = np.array([_nearest(number) for number in numbers]).reshape(shape)
    inexact = np.array([_moved(number) for number in numbers], bool).reshape(shape)
    odd = np.isnan(floats)
    low, high = np.where(odd, -np.inf, lower(floats, inexact)), np.where(odd, np.inf, upper(floats, inexact))
    rational = [number for number in numbers if isinstance(number, Fraction)]
    return Range(low, high, of_numbers(rational) if rational and len(rational) == len(numbers) else None)


def _nearest(number: Fraction | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return np.inf if number > 0 else -np.inf


def _moved(number: Fraction | float) -> bool:
    """Whether the nearest float is another number; pi is told from the floats by being one."""
    nearest = _nearest(number)
    return nearest == np.pi or (isinstance(number, Fraction) and (np.isinf(nearest) or Fraction(nearest) != number))
