"""Folding of constants, exactly.

Whole numbers and fractions are computed as what they mean, so a folded constant is rounded once, when a backend writes
it; multiples of pi stay one fraction times pi, and their sines and cosines are exact where they are rational.  Nothing
is folded where the exact result would lose what floating point keeps: a negative zero, an overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeGuard

from lsrl.ir import ops
from lsrl.ir.dims import Dim
from lsrl.ir.value import Attr, Kind, Value

Exact = int | Fraction
LARGEST_INT = 2**63 - 1
LARGEST_FLOAT = 10**300
SMALLEST_FLOAT = Fraction(1, LARGEST_FLOAT)
MOST_BITS = 4096
MOST_FACTORS = 8  # of a power of sizes

_TOTAL: Mapping[str, Callable[..., Exact]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "sign": lambda x: (x > 0) - (x < 0),
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "relu": lambda x: max(x, 0),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "max": max,
    "min": min,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "not": lambda x: not x,
    "and": lambda x, y: x and y,
    "or": lambda x, y: x or y,
    "xor": lambda x, y: x != y,
    "cast": lambda x: x,
}
_BY_NONZERO: Mapping[str, Callable[..., Exact]] = {
    "div": Fraction,
    "mod": lambda x, y: x % y,
    "floordiv": lambda x, y: x // y,
}
_BY_PARTS: Mapping[str, Callable[..., Any]] = {
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
}
_FLOATING: Mapping[str, Callable[..., float]] = {"abs": abs, "mul": lambda x, y: x * y}
_AT_ZERO: Mapping[str, Fraction] = {
    **dict.fromkeys(("exp", "cos"), Fraction(1)),
    **dict.fromkeys(("sin", "tan", "tanh", "erf", "expm1", "log1p", "silu", "gelu", "sqrt"), Fraction(0)),
    "sigmoid": Fraction(1, 2),
}
_COSINES: Mapping[Fraction, Fraction] = {  # of a multiple of pi between 0 and 2
    Fraction(0): Fraction(1),
    Fraction(1, 3): Fraction(1, 2),
    Fraction(1, 2): Fraction(0),
    Fraction(2, 3): Fraction(-1, 2),
    Fraction(1): Fraction(-1),
    Fraction(4, 3): Fraction(-1, 2),
    Fraction(3, 2): Fraction(0),
    Fraction(5, 3): Fraction(1, 2),
}


def number(value: Value) -> Attr | None:
    """What a scalar constant is (a number, a truth value or "pi"), or None."""
    return value.attr("value") if value.op == "const" and not value.shape else None


def exact(value: Value) -> Exact | None:
    """The number of an exact scalar constant, or None."""
    return exact_number(number(value))


def exact_number(constant: Attr | None) -> Exact | None:
    """A constant that is a whole number or a fraction, or None."""
    return constant if isinstance(constant, (int, Fraction)) else None


def exact_constants(v: Value) -> Value | None:
    """2 / 3 -> 2/3: operations on whole numbers and fractions"""
    operands = [exact(arg) for arg in v.args]
    if not operands or None in operands:
        return None
    return _constant(v, _computed(v.op, [x for x in operands if x is not None]))


def floating_constants(v: Value) -> Value | None:
    """-(inf) -> -inf, 1 + 2i: what floating point does exactly or rounds correctly, an operand not being exact"""
    operands = [number(arg) for arg in v.args]
    inexact = (float,) if v.kind is Kind.FLOAT else (float, complex)
    if v.kind not in (Kind.FLOAT, Kind.COMPLEX) or not any(isinstance(x, inexact) for x in operands):
        return None
    function = _BY_PARTS.get(v.op) or (_FLOATING.get(v.op) if v.kind is Kind.FLOAT else None)
    known = [_floating(x, v.kind) for x in operands]
    return ops.const(function(*known)) if function is not None and None not in known else None


def _floating(x: Attr | None, kind: Kind) -> float | complex | None:
    """A constant as a floating point number of a kind."""
    match x:
        case float() | complex():
            return x if kind is Kind.FLOAT else complex(x)
    return (float(x) if kind is Kind.FLOAT else complex(x)) if _is_representable(x) else None


def known_points(v: Value) -> Value | None:
    """exp(0) -> 1, log(1) -> 0, sigmoid(0) -> 1/2"""
    match v.op, [exact(arg) for arg in v.args]:
        case op, [0] if op in _AT_ZERO and v.kind is Kind.FLOAT:
            return ops.const(_AT_ZERO[op])
        case "log", [1]:
            return ops.const(Fraction(0))
        case ("sqrt" | "rsqrt") as op, [square] if square is not None and square > 0:
            root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
            if root * root == square:
                return ops.const(root if op == "sqrt" else 1 / root)
    return None


def multiples_of_pi(v: Value) -> Value | None:
    """2 * pi / 5 -> 2/5 * pi: one fraction, so that pi is rounded once"""
    factor = _factor_of_pi(v)
    folded = _times_pi(factor) if factor is not None else v
    return None if folded is v else folded


def angles(v: Value) -> Value | None:
    """cos(pi/3) -> 1/2, sin(pi) -> 0, cis(pi/2) -> i: where a multiple of pi has rational sine and cosine"""
    if v.op not in ("cos", "sin", "cis") or (turns := pi_multiple(v.args[0])) is None:
        return None
    cosine, sine = _COSINES.get(turns % 2), _COSINES.get((turns - Fraction(1, 2)) % 2)
    match v.op:
        case "cos" if cosine is not None:
            return ops.const(cosine)
        case "sin" if sine is not None:
            return ops.const(sine)
        case "cis" if cosine is not None and sine is not None:
            return ops.const(complex(cosine, sine))
    return None


def sizes(v: Value) -> Value | None:
    """H * 2 -> the size 2*H, H**2 -> the size H**2"""
    if not any(arg.op == "size" for arg in v.args):
        return None
    dims = [_size(arg) for arg in v.args]
    match v.op, dims:
        case "neg", [Dim() as a]:
            return ops.size(-a)
        case "add", [Dim() as a, Dim() as b]:
            return ops.size(a + b)
        case "sub", [Dim() as a, Dim() as b]:
            return ops.size(a - b)
        case "mul", [Dim() as a, Dim() as b]:
            return ops.size(a * b)
        case "pow", [Dim() as a, Dim(constant=int() as n)] if len(a.terms) == 1 and 0 <= n <= MOST_FACTORS:
            return ops.size(a**n)
        case "floordiv", [Dim() as a, Dim() as b] if b.constant != 0:
            return ops.size(a // b)
        case "mod", [Dim() as a, Dim() as b] if b.constant != 0:
            return ops.size(a % b)
    return None


def pi_multiple(value: Value) -> Fraction | None:
    """q where the value is q * pi, written as `multiples_of_pi` leaves it."""
    match value:
        case Value("const", _, (("value", "pi"),)):
            return Fraction(1)
        case Value("mul", (factor, Value("const", _, (("value", "pi"),)))):
            known = exact(factor)
            return Fraction(known) if known is not None else None
    return None


def _factor_of_pi(v: Value) -> Fraction | None:
    """q where an operation on multiples of pi and exact numbers makes q * pi."""
    pis, numbers = [pi_multiple(arg) for arg in v.args], [exact(arg) for arg in v.args]
    match v.op, pis:
        case "neg", [Fraction() as a]:
            return -a
        case "add", [Fraction() as a, Fraction() as b]:
            return a + b
        case "sub", [Fraction() as a, Fraction() as b]:
            return a - b
        case ("mul", [Fraction() as a, None]) | ("mul", [None, Fraction() as a]):
            factor = next((x for x in numbers if x is not None), None)
            return a * Fraction(factor) if factor is not None else None
        case "div", [Fraction() as a, None]:
            return a / numbers[1] if numbers[1] else None
    return None


def _times_pi(factor: Fraction) -> Value:
    if factor in (0, 1):
        return ops.const("pi") if factor else ops.const(Fraction(0))
    return ops.apply("mul", ops.const(factor), ops.const("pi"))


def _computed(op: str, operands: list[Exact]) -> Exact | None:
    if op in _TOTAL:
        return _TOTAL[op](*operands)
    if op in _BY_NONZERO:
        return _BY_NONZERO[op](*operands) if operands[1] != 0 else None
    if op == "pow":
        return _power(Fraction(operands[0]), operands[1])
    if op == "where":
        return operands[1] if operands[0] else operands[2]
    return None


def _power(base: Fraction, power: Exact) -> Fraction | None:
    """base ** power for whole powers of reasonable size."""
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    whole = int(power)
    if whole != power or abs(whole) * bits > MOST_BITS or (base == 0 and whole < 0):
        return None
    return base**whole


def _constant(v: Value, result: Exact | None) -> Value | None:
    """The constant of v's kind, or None where it would not be what floating point gives."""
    if result is None:
        return None
    match v.kind:
        case Kind.BOOL:
            return ops.const(bool(result))
        case Kind.INT:
            return ops.const(math.trunc(result)) if -LARGEST_INT <= result <= LARGEST_INT else None
        case Kind.FLOAT if _is_representable(result) and not _may_be_negative_zero(v, result):
            return ops.const(Fraction(result))
    return None


def _is_representable(x: Attr | None) -> TypeGuard[Exact]:
    """Whether an exact number is within the range of floating point."""
    return isinstance(x, int | Fraction) and (x == 0 or SMALLEST_FLOAT < abs(Fraction(x)) < LARGEST_FLOAT)


def _may_be_negative_zero(v: Value, result: Exact) -> bool:
    """Whether floating point would give -0.0, which no fraction is."""
    if result != 0 or v.op in ("add", "sub", "where", "max", "min", "relu", "abs", "sign", "cast", "floor"):
        return False
    return v.op == "neg" or any((exact(arg) or 0) < 0 for arg in v.args)


def _size(value: Value) -> Dim | None:
    match value:
        case Value("size", _, (("dim", Dim() as dim),)):
            return dim
        case Value("const", _, (("value", int() as known),)) if value.kind is Kind.INT:
            return Dim.of(known)
    return None
