"""Scalars that are known when code is written, from constants and sizes, as expressions of Python's own numbers.

`1 / sqrt(D)` is printed `1 / math.sqrt(D)`: exact to double precision whatever the module computes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lsrl.backends.expressions import Code, call, dim_code, infix, nearest, number, prefix
from lsrl.ir.infer import dim
from lsrl.ir.value import Kind, Value

Number = bool | int | float | complex


@dataclass(frozen=True, slots=True)
class HostNumber:
    """A number and the expression that computes it."""

    number: Number
    code: Code


@dataclass(frozen=True, slots=True)
class _Row:
    compute: Callable[..., Number]
    write: Callable[..., Code]


def _function(name: str, compute: Callable[..., Number]) -> _Row:
    return _Row(compute, lambda *operands: call(name, *operands))


def _operator(operator: str, compute: Callable[..., Number]) -> _Row:
    return _Row(compute, lambda left, right: infix(operator, left, right))


_ROWS: Mapping[str, _Row] = {
    "neg": _Row(lambda x: -x, lambda x: prefix("-", x)),
    "add": _operator("+", lambda x, y: x + y),
    "sub": _operator("-", lambda x, y: x - y),
    "mul": _operator("*", lambda x, y: x * y),
    "div": _operator("/", lambda x, y: x / y),
    "mod": _operator("%", lambda x, y: x % y),
    "floordiv": _operator("//", lambda x, y: x // y),
    "pow": _operator("**", lambda x, y: x**y),
    "max": _function("max", max),
    "min": _function("min", min),
    "abs": _function("abs", abs),
    "sqrt": _function("math.sqrt", math.sqrt),
    "exp": _function("math.exp", math.exp),
    "log": _function("math.log", math.log),
    "expm1": _function("math.expm1", math.expm1),
    "log1p": _function("math.log1p", math.log1p),
    "sin": _function("math.sin", math.sin),
    "cos": _function("math.cos", math.cos),
    "tan": _function("math.tan", math.tan),
    "tanh": _function("math.tanh", math.tanh),
    "rsqrt": _Row(lambda x: 1 / math.sqrt(x), lambda x: infix("/", Code("1"), call("math.sqrt", x))),
}


def host_number(value: Value, sizes: Mapping[str, int], names: Mapping[str, str]) -> HostNumber | None:
    """The value as a Python number; None when it is no such scalar.

    Args:
        sizes: the number of every size: what Python would refuse (a division by zero) is left to the arrays.
        names: the identifier of every size.
    """
    if value.rank:
        return None
    match value.op:
        case "const":
            return _constant(value)
        case "size":
            at = dim(value.attr("dim"))
            return HostNumber(at.evaluate(sizes), dim_code(at, names))
        case "cast":
            return _cast(value, host_number(value.args[0], sizes, names))
    row = _ROWS.get(value.op)
    operands = [host_number(arg, sizes, names) for arg in value.args] if row else []
    known = [operand for operand in operands if operand is not None]
    if row is None or len(known) < len(operands) or not _real(known):
        return None
    try:
        result = row.compute(*(operand.number for operand in known))
    except (ArithmeticError, ValueError):
        return None
    fits = isinstance(result, bool | int | float) and math.isfinite(result)
    return HostNumber(result, row.write(*(operand.code for operand in known))) if fits else None


def _constant(value: Value) -> HostNumber:
    match value.attr("value"):
        case "pi":
            return HostNumber(math.pi, Code("math.pi"))
        case bool() | int() | float() | complex() as plain:
            return HostNumber(plain, number(plain))
        case Fraction() as exact:
            return HostNumber(nearest(exact), number(exact))
    raise TypeError(f"{value} is no scalar constant")


def _cast(value: Value, operand: HostNumber | None) -> HostNumber | None:
    if operand is None or isinstance(operand.number, complex):
        return None
    match value.kind:
        case Kind.COMPLEX:
            return HostNumber(complex(operand.number), call("complex", operand.code))
        case Kind.FLOAT:
            code = call("float", operand.code) if isinstance(operand.number, bool) else operand.code
            return HostNumber(float(operand.number), code)
        case _:
            return None


def _real(operands: Sequence[HostNumber]) -> bool:
    return all(not isinstance(o.number, bool | complex) and math.isfinite(o.number) for o in operands)
