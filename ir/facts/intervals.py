"""Bounds of values, from bounds of what they are made of.

They hold for finite inputs and parameters, in real arithmetic; rounding may step over them by as much as it does over
any result.  Besides the rule of each operation there are three identities that a rule for single operations misses:
`x - max(x, y) <= 0` (so with logaddexp), `x / (x + y)` in [0, 1] for x, y >= 0, and a convex combination stays between
what it combines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lsrl.ir.fold import exact, number
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value, postorder


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers from `low` to `high`, both included where they are finite."""

    low: float
    high: float

    def __contains__(self, other: Interval) -> bool:
        return self.low <= other.low and other.high <= self.high

    def __or__(self, other: Interval) -> Interval:
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


ALL = Interval(-math.inf, math.inf)
UNIT = Interval(0, 1)
POSITIVE = Interval(0, math.inf)


def intervals(roots: Sequence[Value], known: Mapping[Value, Interval]) -> dict[Value, Interval]:
    """Bounds of every value the roots depend on; `known` has those of leaves and takes precedence."""
    found: dict[Value, Interval] = {}
    for value in postorder(roots):
        found[value] = known[value] if value in known else _bounds(value, found)
    return found


def _bounds(value: Value, found: Mapping[Value, Interval]) -> Interval:
    if value.kind is Kind.COMPLEX:
        return ALL
    if value.kind is Kind.BOOL:
        return UNIT
    args = [found[arg] for arg in value.args]
    if value.op in _FUNCTIONS:
        plain = _FUNCTIONS[value.op](*args)
    elif value.op in _VALUES:
        plain = _VALUES[value.op](value, args)
    elif family(value.op) is Family.LAYOUT or value.op in ("reduce_max", "reduce_min", "read", "max_in"):
        plain = args[0]
    else:
        plain = ALL
    special = identity(value, found)
    return plain if special is None else Interval(max(plain.low, special.low), min(plain.high, special.high))


def identity(value: Value, found: Mapping[Value, Interval]) -> Interval | None:
    """What holds of a value because of how its operands are related, where something does."""
    match value:
        case Value("sub", (x, Value("max" | "logaddexp", parts))) if x in parts:
            return Interval(-math.inf, 0)
        case Value("sub", (Value("max" | "logaddexp", parts), x)) if x in parts:
            return POSITIVE
        case Value("mul", (x, y)) if x is y:
            return POSITIVE
        case Value("div", (x, Value("add", (a, b)))) if x in (a, b) and found[a].low >= 0 and found[b].low >= 0:
            return UNIT
        case Value("add", (x, y)):
            return next((found[a] | found[b] for a, b in _convex(x, y, found)), None)
    return None


def _convex(x: Value, y: Value, found: Mapping[Value, Interval]) -> Iterator[tuple[Value, Value]]:
    """The a and b of `w a + (1 - w) b` or of `a + w (b - a)`, for a weight w in [0, 1]."""
    for weight, a in _factors(x):
        for other, b in _factors(y):
            if found[weight] in UNIT and found[other] in UNIT and _complements(weight, other):
                yield a, b
    for base, step in ((x, y), (y, x)):
        for weight, difference in _factors(step):
            match difference:
                case Value("sub", (b, a)) if a is base and found[weight] in UNIT:
                    yield a, b


def _factors(value: Value) -> Iterator[tuple[Value, Value]]:
    match value:
        case Value("mul", (a, b)):
            yield a, b
            yield b, a


def _complements(weight: Value, other: Value) -> bool:
    """Whether two weights add up to 1."""
    match weight, other:
        case (w, Value("sub", (one, v))) | (Value("sub", (one, v)), w) if v is w and exact(one) == 1:
            return True
        case Value("div", (a, total)), Value("div", (b, same)) if total is same and total.op == "add":
            return set(total.args) == {a, b}
    return False


def _finite(x: float | int | Fraction) -> float:
    """The nearest float, infinite beyond their range."""
    if isinstance(x, float) or abs(Fraction(x)) < 10**308:
        return float(x)
    return math.inf if x > 0 else -math.inf


def _const(value: Value, _: Sequence[Interval]) -> Interval:
    known = number(value)
    if known == "pi":
        return Interval(math.pi, math.pi)
    if not isinstance(known, (int, float, Fraction)) or known != known:
        return ALL
    return Interval(_finite(known), _finite(known))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


def _sigmoid(x: float) -> float:
    return 1 / (1 + _exp(-x))


def _softplus(x: float) -> float:
    return x if x > 700 else math.log1p(_exp(x))


def _log(x: float) -> float:
    return -math.inf if x <= 0 else math.log(x)


def _rounded(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: x if math.isinf(x) else float(function(x))


INCREASING: Mapping[str, Callable[[float], float]] = {
    "exp": _exp,
    "log": _log,
    "sqrt": lambda x: math.sqrt(max(x, 0)),
    "expm1": lambda x: _exp(x) - 1,
    "log1p": lambda x: _log(1 + x),
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "logsigmoid": lambda x: -_softplus(-x),
    "erf": math.erf,
    "relu": lambda x: max(x, 0.0),
    "floor": _rounded(math.floor),
    "ceil": _rounded(math.ceil),
    "round": _rounded(round),
    "stopgrad": lambda x: x,
    "sign": lambda x: float((x > 0) - (x < 0)),
}


def _rising(function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    return lambda x: Interval(function(x.low), function(x.high))


def _neg(x: Interval) -> Interval:
    return Interval(-x.high, -x.low)


def _abs(x: Interval) -> Interval:
    return Interval(max(x.low, -x.high, 0), max(abs(x.low), abs(x.high)))


def _plus(x: float, y: float, otherwise: float) -> float:
    return otherwise if math.isinf(x) and math.isinf(y) and x != y else x + y


def _add(x: Interval, y: Interval) -> Interval:
    return Interval(_plus(x.low, y.low, -math.inf), _plus(x.high, y.high, math.inf))


def _times(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def _mul(x: Interval, y: Interval) -> Interval:
    ends = [_times(a, b) for a in (x.low, x.high) for b in (y.low, y.high)]
    return Interval(min(ends), max(ends))


def _reciprocal(x: Interval) -> Interval:
    if x.low >= 0:
        return Interval(1 / x.high if x.high else math.inf, 1 / x.low if x.low else math.inf)
    return _neg(_reciprocal(_neg(x))) if x.high <= 0 else ALL


def _larger(x: Interval, y: Interval) -> Interval:
    return Interval(max(x.low, y.low), max(x.high, y.high))


def _smaller(x: Interval, y: Interval) -> Interval:
    return Interval(min(x.low, y.low), min(x.high, y.high))


def _mod(x: Interval, y: Interval) -> Interval:
    return Interval(0, y.high) if y.low > 0 else ALL


def _pow(value: Value, args: Sequence[Interval]) -> Interval:
    power = exact(value.args[1])
    if power is not None and power > 0 and power % 2 == 0:
        return POSITIVE
    return POSITIVE if args[0].low >= 0 else ALL


def _summed(value: Value, args: Sequence[Interval]) -> Interval:
    """Sums of unknown length keep a sign, nothing else; a product without a sum keeps its bounds."""
    total = Interval(1, 1)
    for arg in args:
        total = _mul(total, arg)
    if value.op == "einsum":
        left, result = str(value.attr("spec")).split("->")
        if not set(left) - {","} - set(result):
            return total
    return Interval(0 if total.low >= 0 else -math.inf, 0 if total.high <= 0 else math.inf)


def _hull(_: Value, args: Sequence[Interval]) -> Interval:
    total = args[0]
    for arg in args[1:]:
        total = total | arg
    return total


_FUNCTIONS: Mapping[str, Callable[..., Interval]] = {
    **{op: _rising(function) for op, function in INCREASING.items()},
    "neg": _neg,
    "abs": _abs,
    "rsqrt": lambda x: _reciprocal(Interval(math.sqrt(max(x.low, 0)), math.sqrt(max(x.high, 0)))),
    "sin": lambda x: Interval(-1, 1),
    "cos": lambda x: Interval(-1, 1),
    "silu": lambda x: Interval(-0.2785, max(x.high, 0)),
    "gelu": lambda x: Interval(-0.17, max(x.high, 0)),
    "add": _add,
    "sub": lambda x, y: _add(x, _neg(y)),
    "mul": _mul,
    "div": lambda x, y: _mul(x, _reciprocal(y)),
    "max": _larger,
    "min": _smaller,
    "mod": _mod,
    "logaddexp": lambda x, y: Interval(max(x.low, y.low), _add(_larger(x, y), Interval(0, math.log(2))).high),
    "where": lambda _, x, y: x | y,
    "iota": lambda: POSITIVE,
    "size": lambda: POSITIVE,
    "softmax": lambda x: UNIT,
}
_VALUES: Mapping[str, Callable[[Value, Sequence[Interval]], Interval]] = {
    "const": _const,
    "cast": lambda value, args: ALL if value.args[0].kind is Kind.COMPLEX else args[0],
    "pow": _pow,
    "concat": _hull,
    "einsum": _summed,
    "reduce_sum": _summed,
    "sum_in": _summed,
    "scatter": lambda value, args: _summed(value, args[:1]),
}
