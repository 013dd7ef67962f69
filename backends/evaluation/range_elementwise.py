"""Ranges of element-wise operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.elementwise import FUNCTIONS
from lsrl.backends.evaluation.grids import INTEGERS, Grid, of_numbers
from lsrl.backends.evaluation.outward import add, around, lower, multiply, upper
from lsrl.backends.evaluation.ranges import Range, everything, exactly, on_grid
from lsrl.ir.fold import exact
from lsrl.ir.value import Kind, Value

Rule = Callable[..., Range]
"""The range of a result from those of the operands, which have its shape or none."""

MOST_FACTORS = 64
"""Of a power that is computed as a product."""

INCREASING: Mapping[str, tuple[float, float]] = {
    "exp": (0, np.inf),
    "log": (-np.inf, np.inf),
    "sqrt": (0, np.inf),
    "expm1": (-1, np.inf),
    "log1p": (-np.inf, np.inf),
    "tanh": (-1, 1),
    "sigmoid": (0, 1),
    "softplus": (0, np.inf),
    "logsigmoid": (-np.inf, 0),
    "erf": (-1, 1),
}
"""Functions that grow, with what they never leave."""
VANISHING = ("exp", "sigmoid", "softplus", "logsigmoid")
TINY = float(np.nextafter(0, 1))
BETWEEN: Mapping[str, tuple[float, float]] = {"sin": (-1, 1), "cos": (-1, 1)}


def negative(x: Range) -> Range:
    return Range(-x.high, -x.low, None if x.grid is None else -x.grid)


def plus(x: Range, y: Range) -> Range:
    grid = None if x.grid is None or y.grid is None else x.grid + y.grid
    return on_grid(add(x.low, y.low, lower), add(x.high, y.high, upper), grid)


def minus(x: Range, y: Range) -> Range:
    return plus(x, negative(y))


def times(x: Range, y: Range) -> Range:
    ends = [(a, b) for a in (x.low, x.high) for b in (y.low, y.high)]
    grid = None if x.grid is None or y.grid is None else x.grid * y.grid
    low = np.minimum.reduce([multiply(a, b, lower) for a, b in ends])
    high = np.maximum.reduce([multiply(a, b, upper) for a, b in ends])
    return on_grid(low, high, grid)


def reciprocal(x: Range) -> Range:
    positive, below = (x.low >= 0) & (x.high > 0), (x.high <= 0) & (x.low < 0)
    with np.errstate(all="ignore"):
        low, high = around(1 / x.high, lower), around(1 / x.low, upper)
    low = np.where(positive | (below & (x.high < 0)), low, -np.inf)
    return Range(low, np.where(below | (positive & (x.low > 0)), high, np.inf))


def quotient(x: Range, y: Range) -> Range:
    divisor = known(y)
    if not divisor:
        return times(x, reciprocal(y))
    if divisor < 0:
        return quotient(negative(x), negative(y))
    low, high = x.low / float(divisor), x.high / float(divisor)
    if abs(math.frexp(divisor)[0]) != 1 / 2:  # dividing by a power of two is exact
        low, high = around(low, lower), around(high, upper)
    grid = of_numbers([1 / divisor])
    return on_grid(low, high, None if x.grid is None or grid is None else x.grid * grid)


def known(x: Range) -> Fraction | None:
    """The one number that all elements are, where that is known."""
    return x.grid.offset if x.grid is not None and not x.grid.step else None


def modulo(x: Range, y: Range) -> Range:
    if np.all((x.low >= 0) & (x.high < y.low)):
        return x
    turns = None if y.grid is None else y.grid * INTEGERS
    grid = None if x.grid is None or turns is None else x.grid + turns
    if not np.all(y.low > 0):
        return everything(np.broadcast_shapes(x.shape, y.shape), grid)
    high = y.high - 1 if x.integral and y.integral else y.high
    return on_grid(np.zeros_like(x.low + high), high + np.zeros_like(x.low), grid)


def floor_quotient(x: Range, y: Range) -> Range:
    divisor = known(y)
    if not divisor:
        return rounded(np.floor)(quotient(x, y))
    if divisor < 0:
        return floor_quotient(negative(x), negative(y))
    ends = [np.where(np.isfinite(end), np.floor_divide(end, float(divisor)), end) for end in (x.low, x.high)]
    return Range(ends[0], ends[1], INTEGERS)


def absolute(x: Range) -> Range:
    low, high = np.maximum(np.maximum(x.low, -x.high), 0), np.maximum(np.abs(x.low), np.abs(x.high))
    return on_grid(low, high, None if x.grid is None else x.grid | -x.grid)


def either_grid(x: Range, y: Range) -> Grid | None:
    return None if x.grid is None or y.grid is None else x.grid | y.grid


def larger(x: Range, y: Range) -> Range:
    low, high = np.maximum(x.low, y.low), np.maximum(x.high, y.high)
    one = x if np.all(x.low >= y.high) else y if np.all(y.low >= x.high) else None
    return on_grid(low, high, either_grid(x, y) if one is None else one.grid)


def smaller(x: Range, y: Range) -> Range:
    return negative(larger(negative(x), negative(y)))


def positive_part(x: Range) -> Range:
    return larger(x, exactly(np.zeros(())))


def rounded(function: Callable[[Array], Array]) -> Rule:
    """A rule of a function that grows and gives whole numbers."""

    def rule(x: Range) -> Range:
        return x if x.integral else Range(function(x.low), function(x.high), INTEGERS)

    return rule


def sign(x: Range) -> Range:
    return Range(np.sign(x.low), np.sign(x.high), INTEGERS)


def growing(op: str, least: float, most: float) -> Rule:
    """A rule of a function that grows in all its operands."""

    def rule(*args: Range) -> Range:
        with np.errstate(all="ignore"):
            low = around(FUNCTIONS[op](*(np.maximum(x.low, 0) if op == "sqrt" else x.low for x in args)), lower)
            high = around(FUNCTIONS[op](*(np.maximum(x.high, 0) if op == "sqrt" else x.high for x in args)), upper)
        low, high = np.where(np.isnan(low), least, low), np.where(np.isnan(high), most, high)
        if op in VANISHING:  # what underflows is not 0
            low, high = np.minimum(low, -TINY if most == 0 else low), np.maximum(high, TINY if least == 0 else high)
        return Range(np.clip(low, least, most), np.clip(high, least, most))

    return rule


def limited(op: str, least: float, most: float) -> Rule:
    """A rule of a function that stays between two numbers; of known operands it is computed."""

    def rule(*args: Range) -> Range:
        if all(x.constant for x in args):
            with np.errstate(all="ignore"):
                found = FUNCTIONS[op](*(x.low for x in args))
            return Range(np.maximum(around(found, lower), least), np.minimum(around(found, upper), most))
        shape = np.broadcast_shapes(*(x.shape for x in args))
        return Range(np.full(shape, least), np.full(shape, most))

    return rule


def gated(least: float) -> Rule:
    """x times a share in [0, 1] that grows with x, which is never below `least`."""
    return lambda x: Range(np.where(x.low >= 0, 0, least), np.maximum(x.high, 0))


def less(x: Range, y: Range) -> Range:
    return Range((x.high < y.low) * 1.0, (x.low < y.high) * 1.0, INTEGERS)


def at_most(x: Range, y: Range) -> Range:
    return Range((x.high <= y.low) * 1.0, (x.low <= y.high) * 1.0, INTEGERS)


def equal(x: Range, y: Range) -> Range:
    apart = (x.high < y.low) | (y.high < x.low)
    if x.grid is not None and y.grid is not None:
        difference = x.grid + -y.grid
        apart = apart | (difference is not None and not on(difference, Fraction(0)))
    alike = (x.low == x.high) & (y.low == y.high) & (x.low == y.low)
    exactly_known = x.grid is not None and y.grid is not None  # bounds alone may have been rounded
    return Range((alike & exactly_known) * 1.0, (~apart) * 1.0, INTEGERS)


def on(grid: Grid, number: Fraction) -> bool:
    """Whether a number lies on a grid."""
    apart = number - grid.offset
    return not apart if not grid.step else apart % grid.step == 0


def opposite(x: Range) -> Range:
    return Range(1 - x.high, 1 - x.low, INTEGERS)


def differ(x: Range, y: Range) -> Range:
    low = np.maximum(np.maximum(x.low - y.high, y.low - x.high), 0)
    return Range(low, np.minimum(np.minimum(x.high + y.high, 2 - x.low - y.low), 1), INTEGERS)


def choice(condition: Range, x: Range, y: Range) -> Range:
    sure, never = condition.low == 1, condition.high == 0
    low = np.where(sure, x.low, np.where(never, y.low, np.minimum(x.low, y.low)))
    high = np.where(sure, x.high, np.where(never, y.high, np.maximum(x.high, y.high)))
    grid = x.grid if np.all(sure) else y.grid if np.all(never) else either_grid(x, y)
    return on_grid(low, high, grid)


def cast(value: Value, x: Range) -> Range:
    match value.kind:
        case Kind.BOOL:
            return opposite(equal(x, exactly(np.zeros(()))))
        case Kind.INT:
            return rounded(np.trunc)(x)
        case _:
            return x


def power(value: Value, x: Range, y: Range) -> Range:
    """Whole powers as products; of other powers it is known that those of positive numbers are positive."""
    number = exact(value.args[1])
    if number is None or number.denominator != 1 or not 0 < number <= MOST_FACTORS:
        return Range(np.where(x.low >= 0, 0.0, -np.inf), np.full(x.shape, np.inf))
    base = absolute(x) if number % 2 == 0 else x
    ends = [Range(base.low, base.low), Range(base.high, base.high)]
    found, grid = list(ends), base.grid
    for _ in range(int(number) - 1):
        found = [times(sofar, end) for sofar, end in zip(found, ends)]
        grid = None if grid is None or base.grid is None else grid * base.grid
    return on_grid(found[0].low, found[1].high, grid)


RULES: Mapping[str, Rule] = {
    "neg": negative,
    "add": plus,
    "sub": minus,
    "mul": times,
    "div": quotient,
    "mod": modulo,
    "floordiv": floor_quotient,
    "abs": absolute,
    "max": larger,
    "min": smaller,
    "relu": positive_part,
    "floor": rounded(np.floor),
    "ceil": rounded(np.ceil),
    "round": rounded(np.rint),
    "sign": sign,
    "stopgrad": lambda x: x,
    "re": lambda x: x,
    "conj": lambda x: x,
    "rsqrt": lambda x: reciprocal(growing("sqrt", 0, np.inf)(x)),
    "silu": gated(-0.2785),
    "gelu": gated(-0.17),
    "lt": less,
    "le": at_most,
    "gt": lambda x, y: less(y, x),
    "ge": lambda x, y: at_most(y, x),
    "eq": equal,
    "ne": lambda x, y: opposite(equal(x, y)),
    "and": smaller,
    "or": larger,
    "xor": differ,
    "not": opposite,
    "where": choice,
    "logaddexp": growing("logaddexp", -np.inf, np.inf),
    "atan2": limited("atan2", -4, 4),
    **{op: growing(op, *ends) for op, ends in INCREASING.items()},
    **{op: limited(op, *ends) for op, ends in BETWEEN.items()},
}


def elementwise(value: Value, args: Sequence[Range]) -> Range:
    """The range of an element-wise operation; of those without a rule nothing is known."""
    match value.op:
        case "cast":
            return cast(value, *args)
        case "pow":
            return power(value, *args)
        case op if op in RULES:
            return RULES[op](*args)
        case _:
            return everything(np.broadcast_shapes(*(x.shape for x in args)))
