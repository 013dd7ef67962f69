"""Adjoint rules of element-wise operations.

A rule takes a value and its cotangent and returns a cotangent for each operand, or None where there is none.  A
cotangent may have the result's shape though the operand is a scalar, and be complex though the operand is real: the
caller sums and takes the real part.  For a holomorphic f the rule is `g * conj(f'(x))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from lsrl.ir.build import add, binary, cast, div, mul, neg, sub, unary, where
from lsrl.ir.ops import const
from lsrl.ir.value import Kind, Value

Parts = tuple[Value | None, ...]
Rule = Callable[[Value, Value], Parts]

ZERO, HALF, ONE, TWO = (const(Fraction(number)) for number in ("0", "1/2", "1", "2"))
PI = const("pi")


def conj(x: Value) -> Value:
    """The complex conjugate, of a real value the value itself."""
    return unary("conj", x) if x.kind is Kind.COMPLEX else x


def square(x: Value) -> Value:
    return mul(x, x)


def derivative(slope: Callable[[Value, Value], Value]) -> Rule:
    """The rule of a function of one operand, from its derivative as a function of operand and result."""
    return lambda value, g: (mul(g, conj(slope(value.args[0], value))),)


def _add(_: Value, g: Value) -> Parts:
    return g, g


def _sub(_: Value, g: Value) -> Parts:
    return g, neg(g)


def _mul(value: Value, g: Value) -> Parts:
    x, y = value.args
    return mul(g, conj(y)), mul(conj(x), g)


def _div(value: Value, g: Value) -> Parts:
    reached = div(g, conj(value.args[1]))
    return reached, neg(mul(reached, conj(value)))


def _pow(value: Value, g: Value) -> Parts:
    """0 ** 0 has derivative 0 by the base, and 0 ** y, y >= 0, derivative 0 by the exponent."""
    x, y = value.args
    by_base = _power_slope(x, y)
    origin = binary("and", binary("eq", x, ZERO), binary("ge", unary("re", y), ZERO))
    by_exponent = where(origin, ZERO, mul(value, unary("log", x)))
    return None if by_base is None else mul(g, conj(by_base)), mul(g, conj(by_exponent))


def _power_slope(x: Value, y: Value) -> Value | None:
    """y x^(y-1), or None where that is 0."""
    match y.attr("value") if y.op == "const" else None:
        case 0:
            return None
        case 1:
            return ONE
        case 2:
            return mul(TWO, x)
        case int() | Fraction() | float() as number:
            return mul(y, binary("pow", x, const(number - 1)))
    return where(binary("eq", y, ZERO), ZERO, mul(y, binary("pow", x, sub(y, ONE))))


def _mod(value: Value, g: Value) -> Parts:
    return g, neg(mul(g, binary("floordiv", *value.args)))


def _larger(comparison: str) -> Rule:
    """max and min: the chosen operand receives all, a tie gives half to each."""

    def rule(value: Value, g: Value) -> Parts:
        x, y = value.args
        tied = where(binary("eq", x, y), mul(g, HALF), ZERO)
        return where(binary(comparison, x, y), g, tied), where(binary(comparison, y, x), g, tied)

    return rule


def _logaddexp(value: Value, g: Value) -> Parts:
    """Equal operands share evenly, also where both are infinite and their difference has no value."""
    x, y = value.args
    apart = where(binary("eq", x, y), ZERO, sub(x, y))
    return mul(g, unary("sigmoid", apart)), mul(g, unary("sigmoid", neg(apart)))


def _atan2(value: Value, g: Value) -> Parts:
    y, x = value.args
    reached = div(g, add(square(x), square(y)))
    return mul(reached, x), neg(mul(reached, y))


def _where(value: Value, g: Value) -> Parts:
    condition = value.args[0]
    return None, where(condition, g, ZERO), where(condition, ZERO, g)


def _abs(value: Value, g: Value) -> Parts:
    x = value.args[0]
    if x.kind is not Kind.COMPLEX:
        return (mul(g, unary("sign", x)),)
    return (mul(g, div(x, where(binary("eq", value, ZERO), ONE, value))),)


def _arg(value: Value, g: Value) -> Parts:
    z = value.args[0]
    if z.kind is not Kind.COMPLEX:
        return (None,)
    squared = add(square(unary("re", z)), square(unary("im", z)))
    return (mul(g, div(mul(const(1j), z), where(binary("eq", squared, ZERO), ONE, squared))),)


def _im(value: Value, g: Value) -> Parts:
    return (mul(const(1j), g) if value.args[0].kind is Kind.COMPLEX else None,)


def _cis(value: Value, g: Value) -> Parts:
    return (unary("im", mul(g, conj(value))),)


def _gelu(x: Value, _: Value) -> Value:
    """Phi(x) + x phi(x), with the normal distribution's function and density."""
    below = mul(HALF, add(ONE, unary("erf", div(x, unary("sqrt", TWO)))))
    density = div(unary("exp", neg(mul(HALF, square(x)))), unary("sqrt", mul(TWO, PI)))
    return add(below, mul(x, density))


def _silu(x: Value, _: Value) -> Value:
    gate = unary("sigmoid", x)
    return mul(gate, add(ONE, mul(x, sub(ONE, gate))))


def _erf(x: Value, _: Value) -> Value:
    return mul(div(TWO, unary("sqrt", PI)), unary("exp", neg(square(x))))


RULES: Mapping[str, Rule] = {
    "neg": lambda _, g: (neg(g),),
    "exp": derivative(lambda _, y: y),
    "log": lambda v, g: (div(g, conj(v.args[0])),),
    "sqrt": lambda v, g: (div(mul(HALF, g), conj(v)),),
    "relu": lambda v, g: (where(binary("gt", v.args[0], ZERO), g, ZERO),),
    "expm1": derivative(lambda _, y: add(y, ONE)),
    "log1p": lambda v, g: (div(g, add(ONE, v.args[0])),),
    "rsqrt": derivative(lambda x, y: mul(const(Fraction(-1, 2)), div(y, x))),
    "sin": derivative(lambda x, _: unary("cos", x)),
    "cos": derivative(lambda x, _: neg(unary("sin", x))),
    "tan": derivative(lambda _, y: add(ONE, square(y))),
    "tanh": derivative(lambda _, y: sub(ONE, square(y))),
    "sigmoid": derivative(lambda _, y: mul(y, sub(ONE, y))),
    "softplus": derivative(lambda x, _: unary("sigmoid", x)),
    "logsigmoid": derivative(lambda x, _: unary("sigmoid", neg(x))),
    "silu": derivative(_silu),
    "gelu": derivative(_gelu),
    "erf": derivative(_erf),
    "cis": _cis,
    "re": lambda _, g: (g,),
    "im": _im,
    "arg": _arg,
    "conj": lambda _, g: (conj(g),),
    "abs": _abs,
    "cast": lambda v, g: (cast(g, v.args[0].kind) if v.args[0].kind is Kind.COMPLEX else g,),
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "mod": _mod,
    "max": _larger("gt"),
    "min": _larger("lt"),
    "logaddexp": _logaddexp,
    "atan2": _atan2,
    "where": _where,
}
