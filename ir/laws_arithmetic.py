"""Laws of arithmetic, comparisons and choices.

Those of `EXACT` hold bit for bit in floating point, for negative zeros, infinities and nan too (the sign bit of a nan
aside).  So `x + 0 -> x`, `x * 0 -> 0` and `x - x -> 0` are not among them: they fail for -0.0, inf and nan.  Those of
`REASSOCIATING` hold for real numbers; rounding, or the sign of a zero, may differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from lsrl.ir import build, ops
from lsrl.ir.fold import exact, exact_number, number
from lsrl.ir.value import Attr, Kind, Value

REAL = (Kind.INT, Kind.FLOAT)


def in_place_of(v: Value, x: Value) -> Value | None:
    """`x` repeated to v's shape if it is a scalar; None when it cannot stand where `v` stands."""
    if (x.kind, x.domain) != (v.kind, v.domain) or x.shape not in ((), v.shape):
        return None
    return build.full(v.shape, x)


def same_op(v: Value, op: str, *args: Value) -> Value | None:
    """`op` on `args` where v stands, or None when its type is another."""
    return in_place_of(v, ops.apply(op, *args))


def mul_by_one(v: Value) -> Value | None:
    """x * 1 -> x"""
    for x, c in _with_constant(v, "mul"):
        if c == 1 and v.kind in REAL:
            return in_place_of(v, x)
    return None


def mul_by_minus_one(v: Value) -> Value | None:
    """x * -1 -> -x"""
    for x, c in _with_constant(v, "mul"):
        if c == -1 and v.kind in REAL:
            return same_op(v, "neg", x)
    return None


def div_by_one(v: Value) -> Value | None:
    """x / 1 -> x"""
    match v:
        case Value("div", (x, c)) if number(c) == 1 and v.kind in REAL:
            return in_place_of(v, x)
    return None


def add_neutral(v: Value) -> Value | None:
    """x + 0 -> x for whole numbers, x + -0.0 -> x"""
    for x, c in _with_constant(v, "add"):
        if c == 0 and (v.kind is Kind.INT or _negative_zero(c)):
            return in_place_of(v, x)
    return None


def sub_zero(v: Value) -> Value | None:
    """x - 0 -> x"""
    match v:
        case Value("sub", (x, c)) if number(c) == 0 and not _negative_zero(number(c)) and v.kind in REAL:
            return in_place_of(v, x)
    return None


def neg_of_neg(v: Value) -> Value | None:
    """-(-x) -> x"""
    match v:
        case Value("neg", (Value("neg", (x,)),)):
            return in_place_of(v, x)
    return None


def add_of_neg(v: Value) -> Value | None:
    """x + (-y) -> x - y, (-x) + y -> y - x"""
    match v:
        case Value("add", (x, Value("neg", (y,)))) | Value("add", (Value("neg", (y,)), x)):
            return same_op(v, "sub", x, y)
    return None


def sub_of_neg(v: Value) -> Value | None:
    """x - (-y) -> x + y"""
    match v:
        case Value("sub", (x, Value("neg", (y,)))):
            return same_op(v, "add", x, y)
    return None


def product_of_negs(v: Value) -> Value | None:
    """(-x) * (-y) -> x * y, (-x) / (-y) -> x / y"""
    match v:
        case Value(("mul" | "div") as op, (Value("neg", (x,)), Value("neg", (y,)))) if v.kind in REAL:
            return same_op(v, op, x, y)
    return None


def power_of_one(v: Value) -> Value | None:
    """x ** 1 -> x"""
    match v:
        case Value("pow", (x, c)) if number(c) == 1 and v.kind in REAL:
            return in_place_of(v, x)
    return None


def abs_of_neg(v: Value) -> Value | None:
    """abs(-x) -> abs(x), abs(abs(x)) -> abs(x), abs(conj(z)) -> abs(z)"""
    match v:
        case Value("abs", (Value("neg" | "abs" | "conj", (x,)),)):
            return same_op(v, "abs", x)
    return None


def idempotent(v: Value) -> Value | None:
    """relu(relu(x)) -> relu(x), and stopgrad, floor, ceil, round, sign"""
    match v:
        case Value("relu" | "stopgrad" | "floor" | "ceil" | "round" | "sign", (Value(inner) as x,)) if v.op == inner:
            return in_place_of(v, x)
    return None


def extreme_of_itself(v: Value) -> Value | None:
    """max(x, x) -> x, and min, and, or"""
    match v:
        case Value("max" | "min" | "and" | "or", (x, y)) if x is y:
            return in_place_of(v, x)
    return None


def absorbed(v: Value) -> Value | None:
    """a and (a and b) -> a and b, and or; max and min might choose another zero"""
    match v:
        case Value("and" | "or", (a, Value(inner, (x, y)) as ab)) if inner == v.op and a in (x, y):
            return in_place_of(v, ab)
        case Value("and" | "or", (Value(inner, (x, y)) as ab, a)) if inner == v.op and a in (x, y):
            return in_place_of(v, ab)
    return None


def extreme_with_infinity(v: Value) -> Value | None:
    """max(x, -inf) -> x, min(x, inf) -> x"""
    for op, neutral in (("max", -math.inf), ("min", math.inf)):
        for x, c in _with_constant(v, op):
            if c == neutral:
                return in_place_of(v, x)
    return None


def negated_softplus(v: Value) -> Value | None:
    """-softplus(-x) -> logsigmoid(x), by definition"""
    match v:
        case Value("neg", (Value("softplus", (Value("neg", (x,)),)),)):
            return same_op(v, "logsigmoid", x)
    return None


def cast_of_cast(v: Value) -> Value | None:
    """float(int(b)) -> float(b): a cast upwards after a cast upwards; a cast to the same kind goes"""
    order = list(Kind)
    match v:
        case Value("cast", (x,)) if x.kind is v.kind:
            return x
        case Value("cast", (Value("cast", (x,)) as middle,)):
            if order.index(x.kind) <= order.index(middle.kind) <= order.index(v.kind):
                return ops.apply("cast", x, to=v.kind.value)
    return None


def complex_parts(v: Value) -> Value | None:
    """conj(conj(z)) -> z, re(conj(z)) -> re(z), im(conj(z)) -> -im(z); conj and re of a float are the float"""
    match v:
        case Value("conj" | "re", (x,)) if x.kind is Kind.FLOAT:
            return x
        case Value("conj", (Value("conj", (z,)),)) | Value("re", (Value("cast", (z,)),)):
            return in_place_of(v, z)
        case Value("re", (Value("conj", (z,)),)):
            return same_op(v, "re", z)
        case Value("im", (Value("conj", (z,)),)) if z.kind is Kind.COMPLEX:
            return ops.apply("neg", ops.apply("im", z))
    return None


def double_negation(v: Value) -> Value | None:
    """not not b -> b, not (x == y) -> x != y, not (x != y) -> x == y; nan forbids it for < and the like"""
    match v:
        case Value("not", (Value("not", (b,)),)):
            return in_place_of(v, b)
        case Value("not", (Value(("eq" | "ne") as op, (x, y)),)):
            return same_op(v, "ne" if op == "eq" else "eq", x, y)
    return None


def logic_with_constant(v: Value) -> Value | None:
    """b and true -> b, b and false -> false, b or false -> b, b or true -> true, b xor false -> b"""
    for op in ("and", "or", "xor"):
        for b, c in _with_constant(v, op):
            if c is (op == "and"):
                return in_place_of(v, b)
            if op != "xor":
                return in_place_of(v, ops.const(c))
            return same_op(v, "not", b)
    return None


def known_choice(v: Value) -> Value | None:
    """where(true, a, b) -> a, where(c, a, a) -> a, where(c, true, false) -> c"""
    match v:
        case Value("where", (c, a, b)):
            if number(c) is not None or a is b:
                return in_place_of(v, build.promoted(b if number(c) is False else a, v.kind))
            if number(a) is True and number(b) is False:
                return in_place_of(v, c)
    return None


def choice_by_negation(v: Value) -> Value | None:
    """where(not c, a, b) -> where(c, b, a)"""
    match v:
        case Value("where", (Value("not", (c,)), a, b)):
            return same_op(v, "where", c, b, a)
    return None


def nested_choice(v: Value) -> Value | None:
    """where(c, where(c, a, x), b) -> where(c, a, b), where(c, a, where(c, x, b)) -> where(c, a, b)"""
    match v:
        case Value("where", (c, Value("where", (again, a, _)), b)) if again is c:
            return same_op(v, "where", c, a, b)
        case Value("where", (c, a, Value("where", (again, _, b)))) if again is c:
            return same_op(v, "where", c, a, b)
    return None


def add_zero(v: Value) -> Value | None:
    """x + 0 -> x, which turns 0.0 into -0.0 where x is -0.0"""
    for x, c in _with_constant(v, "add"):
        if c == 0:
            return in_place_of(v, x)
    return None


def constants_together(v: Value) -> Value | None:
    """(x * 2) * 3 -> x * 6, (x + 2) + 3 -> x + 5"""
    for op in ("mul", "add"):
        for inner, outer_constant in _with_constant(v, op):
            for x, inner_constant in _with_constant(inner, op):
                a, b = exact_number(outer_constant), exact_number(inner_constant)
                if a is not None and b is not None and v.kind in REAL:
                    return same_op(v, op, x, ops.const(a * b if op == "mul" else a + b))
    return None


def small_powers(v: Value) -> Value | None:
    """x ** 2 -> x * x, x ** -1 -> 1 / x, x ** (1/2) -> sqrt(x)"""
    match v:
        case Value("pow", (x, c)) if v.kind is Kind.FLOAT and v.shape == x.shape:
            match exact(c):
                case 2:
                    return same_op(v, "mul", x, x)
                case -1:
                    return same_op(v, "div", ops.const(1), x)
                case known if known is not None and known * 2 == 1:
                    return same_op(v, "sqrt", x)
    return None


def logarithms(v: Value) -> Value | None:
    """log(exp(x)) -> x, log(sigmoid(x)) -> logsigmoid(x), exp(logsigmoid(x)) -> sigmoid(x)"""
    match v:
        case Value("log", (Value("exp", (x,)),)) if v.kind is Kind.FLOAT:
            return in_place_of(v, x)
        case Value("log", (Value("sigmoid", (x,)),)):
            return same_op(v, "logsigmoid", x)
        case Value("exp", (Value("logsigmoid", (x,)),)):
            return same_op(v, "sigmoid", x)
    return None


EXACT = (
    *(mul_by_one, mul_by_minus_one, div_by_one, add_neutral, sub_zero, neg_of_neg, add_of_neg, sub_of_neg),
    *(product_of_negs, power_of_one, abs_of_neg, idempotent, extreme_of_itself, absorbed, extreme_with_infinity),
    *(negated_softplus, cast_of_cast, complex_parts, double_negation, logic_with_constant),
    *(known_choice, choice_by_negation, nested_choice),
)
REASSOCIATING = (add_zero, constants_together, small_powers, logarithms)


def _with_constant(v: Value, op: str) -> Iterator[tuple[Value, Attr]]:
    """The operand and the constant of `op` on a value and a scalar constant, in either order."""
    if v.op != op:
        return
    left, right = v.args
    if (constant := number(right)) is not None:
        yield left, constant
    if (constant := number(left)) is not None:
        yield right, constant


def _negative_zero(constant: Attr | None) -> bool:
    return isinstance(constant, float) and constant == 0 and math.copysign(1, constant) < 0
