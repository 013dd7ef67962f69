"""How operations on scalars become affine forms, ReLUs, steps and products.

A comparison is a step, whose ramp lies between the largest value that is to give 0 and the smallest that is to give 1:
the grid of the compared numbers, or a margin known of them, says where.  Whole divisions are sums of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.weights.affine import BOOLEAN, Affine, Extent, constant, total
from lsrl.backends.weights.pool import Pool

FOLDED = 32
"""A whole division of more steps is done digit by digit: a layer for each digit, instead of a unit for each step."""


@dataclass
class NotHeld(Exception):
    """An operation that no ReLU network holds, with the reason; whoever knows the place makes a refusal of it."""

    reason: str


Operation = Callable[..., Affine]


def multiply(pool: Pool, x: Affine, y: Affine) -> Affine:
    return pool.product(x, y)


def divide(pool: Pool, x: Affine, y: Affine) -> Affine:
    if not y.is_constant or y.constant == 0:
        raise NotHeld("it divides by what is not a constant")
    return x.scaled(1 / y.constant)


def power(pool: Pool, x: Affine, y: Affine) -> Affine:
    if not y.is_constant or y.constant != int(y.constant) or not 0 <= y.constant <= 64:
        raise NotHeld("only powers with a small whole exponent are products")
    found = constant(1)
    for _ in range(int(y.constant)):
        found = pool.product(found, x)
    return found


def compared(pool: Pool, op: str, x: Affine, y: Affine, below: float, above: float) -> Affine:
    """A comparison whose operands' difference is never between `below` and `above`; of `eq` and `ne` it may be 0."""
    difference = x - y
    match op:
        case "gt" | "ge":
            return pool.step(difference, below, above)
        case "lt" | "le":
            return pool.step(-difference, -above, -below)
        case "eq":
            if pool.extent(x).boolean and pool.extent(y).boolean:
                return pool.negation(exclusive(pool, x, y))
            found = pool.step(difference, below, 0.0) - pool.step(difference, 0.0, above)
            return pool.named(found, BOOLEAN)
        case _:
            return pool.negation(compared(pool, "eq", x, y, below, above))


def greater(pool: Pool, x: Affine, y: Affine) -> Affine:
    return compared(pool, "gt", x, y, 0.0, grid(pool, x - y))


def at_least(pool: Pool, x: Affine, y: Affine) -> Affine:
    return compared(pool, "ge", x, y, -grid(pool, x - y), 0.0)


def exclusive(pool: Pool, x: Affine, y: Affine) -> Affine:
    """Exactly one of two truth values."""
    return pool.named(x + y - pool.conjunction([x, y]).scaled(2), BOOLEAN)


def largest(pool: Pool, x: Affine, y: Affine) -> Affine:
    """y + relu(x - y); a constant is y, so that a clamp takes one layer (see `Pool.relu`)."""
    if x.is_constant:
        x, y = y, x
    ends = pool.extent(x), pool.extent(y)
    known = Extent(max(ends[0].low, ends[1].low), max(ends[0].high, ends[1].high))
    return pool.named(y + pool.relu(x - y), known)


def smallest(pool: Pool, x: Affine, y: Affine) -> Affine:
    """x - relu(x - y)."""
    if x.is_constant:
        x, y = y, x
    ends = pool.extent(x), pool.extent(y)
    known = Extent(min(ends[0].low, ends[1].low), min(ends[0].high, ends[1].high))
    return pool.named(x - pool.relu(x - y), known)


def absolute(pool: Pool, x: Affine) -> Affine:
    extent = pool.extent(x)
    return pool.named(pool.relu(x) + pool.relu(-x), Extent(0, extent.largest, extent.unit))


def sign(pool: Pool, x: Affine) -> Affine:
    return pool.named(greater(pool, x, constant(0)) - greater(pool, constant(0), x), Extent(-1, 1, 1))


def floor_divide(pool: Pool, x: Affine, y: Affine) -> Affine:
    """floor(x / y) for a constant y > 0: how many multiples of y the bounded x has passed.

    Each is a step, all in one layer; beyond some, digits of the quotient are.
    """
    if not y.is_constant or y.constant <= 0:
        raise NotHeld("the divisor is not a positive constant")
    extent = pool.extent(x)
    if not extent.bounded:
        raise NotHeld(f"the number it divides is not bounded: {described(extent)}")
    first, last = math.floor(extent.low / y.constant), math.floor(extent.high / y.constant)
    if last - first > FOLDED:
        return _folded_division(pool, x, y.constant, first, last - first)
    passed = [at_least(pool, x, constant(k * y.constant)) for k in range(first + 1, last + 1)]
    weight = (last - first) * y.constant / extent.unit if extent.unit else 0.0  # in a remainder they are y each
    steps = [pool.firm(each, weight) for each in passed]
    return pool.named(total(steps).shifted(first), Extent(first, last, 1))


def _folded_division(pool: Pool, x: Affine, y: float, first: int, most: int) -> Affine:
    """Long division in binary: a step for each digit of the quotient, one layer after the other."""
    rest, quotient = x.shifted(-first * y), constant(first)
    for power in reversed(range(most.bit_length())):
        size = y * 2**power
        digit = pool.firm(at_least(pool, rest, constant(size)), size / pool.extent(rest).unit)
        quotient = quotient + digit.scaled(2**power)
        unit = pool.extent(rest).unit
        rest = pool.named(rest - digit.scaled(size), Extent(0, size - unit, unit))
    return pool.named(quotient, Extent(first, first + most, 1))


def modulo(pool: Pool, x: Affine, y: Affine) -> Affine:
    """A sawtooth: x - y floor(x / y)."""
    found = x - floor_divide(pool, x, y).scaled(y.constant)
    extent = pool.extent(found)
    return pool.named(found, Extent(0, y.constant - extent.unit, extent.unit))


def floor(pool: Pool, x: Affine) -> Affine:
    return x if pool.extent(x).unit >= 1 else floor_divide(pool, x, constant(1))


def ceiling(pool: Pool, x: Affine) -> Affine:
    return -floor(pool, -x)


def truncated(pool: Pool, x: Affine) -> Affine:
    """To a whole number, towards zero."""
    extent = pool.extent(x)
    if extent.unit >= 1:
        return x
    return floor(pool, x) if extent.low >= 0 else floor(pool, pool.relu(x)) - floor(pool, pool.relu(-x))


def choose(pool: Pool, condition: Affine, x: Affine, y: Affine) -> Affine:
    """y + condition (x - y)."""
    known = pool.extent(x) | pool.extent(y)
    return pool.named(y + pool.gate(condition, x - y), known)


def looked_up(pool: Pool, index: Affine, entries: Sequence[Affine]) -> Affine:
    """The entry at a whole number; beyond the ends, that at the end.

    Constants are added up step by step, `e_0 + sum_k (e_k - e_{k-1}) [index >= k]`; others pass gates.
    """
    bounds = pool.extent(index)
    if bounds.unit < 1:
        raise NotHeld("the index is not known to be a whole number")
    first = int(min(max(bounds.low, 0), len(entries) - 1))
    last = int(max(min(bounds.high, len(entries) - 1), 0))
    known = pool.extent(entries[first])
    for entry in entries[first : last + 1]:
        known = known | pool.extent(entry)
    passed = {k: at_least(pool, index, constant(k)) for k in range(first + 1, last + 1)}
    if all(entry.is_constant for entry in entries):
        parts = [passed[k].scaled(entries[k].constant - entries[k - 1].constant) for k in passed]
    else:
        at = {k: passed.get(k, constant(1)) - passed.get(k + 1, constant(0)) for k in range(first, last + 1)}
        here = {k: pool.named(form, Extent(0, 1, 1)) for k, form in at.items()}
        parts = [pool.gate(here[k], entries[k] - entries[first]) for k in range(first + 1, last + 1)]
    return pool.named(entries[first] + total(parts), known)


def grid(pool: Pool, difference: Affine) -> float:
    """The smallest step between values of a difference that is compared with 0."""
    extent = pool.extent(difference)
    if extent.unit == 0:
        raise NotHeld(
            "the numbers it compares may come arbitrarily close to each other, so that no ramp fits between; "
            "declare what comes in as whole numbers, `int(N)`, or give its range with a step"
        )
    return extent.unit if math.isfinite(extent.unit) else 1.0


def described(extent: Extent) -> str:
    """Bounds in words."""
    return f"between {extent.low:g} and {extent.high:g}"


ELEMENTWISE: Mapping[str, Operation] = {
    "neg": lambda pool, x: -x,
    "add": lambda pool, x, y: x + y,
    "sub": lambda pool, x, y: x - y,
    "stopgrad": lambda pool, x: x,
    "re": lambda pool, x: x,
    "conj": lambda pool, x: x,
    "mul": multiply,
    "div": divide,
    "pow": power,
    "relu": Pool.relu,
    "abs": absolute,
    "max": largest,
    "min": smallest,
    "sign": sign,
    "floor": floor,
    "ceil": ceiling,
    "mod": modulo,
    "floordiv": floor_divide,
    "and": lambda pool, x, y: pool.conjunction([x, y]),
    "or": lambda pool, x, y: pool.disjunction([x, y]),
    "xor": exclusive,
    "not": Pool.negation,
    "where": choose,
}
