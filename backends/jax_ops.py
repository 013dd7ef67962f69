"""How each operation is written with jax.numpy: one row per operation of the graph.

Element-wise operations are here; einsum, layout, reductions and stencils have modules of their own.  Every text holds
for values with and without leading axes, because axes are counted from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from lsrl.backends import jax_einsum, jax_layout, jax_reduce, jax_stencil, jax_system
from lsrl.backends.expressions import Code, call, infix, method, number, prefix
from lsrl.backends.jax_place import Operand, Place, Printer, promoted
from lsrl.ir.value import Kind, Value

Unary = Callable[[Code], Code]


def _function(name: str, **options: object) -> Unary:
    return lambda x: call(name, x, **options)


def _unary(write: Unary) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = promoted(operands, value.kind, place.types)
        return write(operand.code)

    return printer


def _part(write: Unary) -> Printer:
    """A part of a complex number: the operand keeps its kind, unless it is narrower than a float."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = operands
        kind = operand.kind if operand.kind in (Kind.FLOAT, Kind.COMPLEX) else Kind.FLOAT
        return write(promoted(operands, kind, place.types)[0].code)

    return printer


def _rounding(name: str) -> Printer:
    """Whole numbers are themselves already; jax.numpy would make them floats."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = promoted(operands, value.kind, place.types)
        return operand.code if value.kind is Kind.INT else call(name, operand.code)

    return printer


def _absolute(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    narrow = operand.kind is Kind.BOOL
    return call("jnp.abs", operand.as_type(Kind.INT, place.types).code if narrow else operand.code)


def _cast(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    if operand.kind is Kind.COMPLEX and value.kind is not Kind.BOOL:
        return method(call("jnp.real", operand.code), "astype", place.types.of(value.kind))
    return operand.as_type(value.kind, place.types).code


def _operator(operator: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        left, right = (o.beside(value.rank) for o in promoted(operands, value.kind, place.types))
        return infix(operator, left, right)

    return printer


def _binary(name: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        return call(name, *(o.beside(value.rank) for o in promoted(operands, value.kind, place.types)))

    return printer


def _comparison(operator: str) -> Printer:
    """Operands keep their kinds; a comparison of two numbers becomes an array."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        if all(operand.host for operand in operands):
            operands = (operands[0].as_type(operands[0].kind, place.types), *operands[1:])
        left, right = (o.beside(value.rank) for o in operands)
        return infix(operator, left, right)

    return printer


def _power(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """`x ** 2`: a whole exponent is written as an int, which keeps the derivative at 0."""
    base, exponent = promoted(operands, value.kind, place.types)
    constant = exponent.value.attr("value") if exponent.value.op == "const" and exponent.host else None
    whole = isinstance(constant, Fraction) and constant.denominator == 1
    right = number(int(constant)) if isinstance(constant, Fraction) and whole else exponent.beside(value.rank)
    return infix("**", base.beside(value.rank), right)


def _where(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    condition, *branches = operands
    chosen = promoted(branches, value.kind, place.types)
    return call("jnp.where", condition.beside(value.rank), *(o.beside(value.rank) for o in chosen))


def _not(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    return prefix("~", operand.as_type(Kind.BOOL, place.types).code if operand.host else operand.code)


def _cis(x: Code) -> Code:
    return call("jnp.exp", infix("*", Code("1j"), x))


PRINTERS: Mapping[str, Printer] = {
    "neg": _unary(lambda x: prefix("-", x)),
    "exp": _unary(_function("jnp.exp")),
    "log": _unary(_function("jnp.log")),
    "sqrt": _unary(_function("jnp.sqrt")),
    "sign": _unary(_function("jnp.sign")),
    "floor": _rounding("jnp.floor"),
    "ceil": _rounding("jnp.ceil"),
    "round": _rounding("jnp.round"),
    "relu": _unary(_function("jax.nn.relu")),
    "expm1": _unary(_function("jnp.expm1")),
    "log1p": _unary(_function("jnp.log1p")),
    "rsqrt": _unary(_function("lax.rsqrt")),
    "sin": _unary(_function("jnp.sin")),
    "cos": _unary(_function("jnp.cos")),
    "tan": _unary(_function("jnp.tan")),
    "tanh": _unary(_function("jnp.tanh")),
    "sigmoid": _unary(_function("jax.nn.sigmoid")),
    "softplus": _unary(_function("jax.nn.softplus")),
    "logsigmoid": _unary(_function("jax.nn.log_sigmoid")),
    "silu": _unary(_function("jax.nn.silu")),
    "gelu": _unary(_function("jax.nn.gelu", approximate=False)),
    "erf": _unary(_function("lax.erf")),
    "conj": _unary(_function("jnp.conj")),
    "stopgrad": _unary(_function("lax.stop_gradient")),
    "cis": _part(_cis),
    "re": _part(_function("jnp.real")),
    "im": _part(_function("jnp.imag")),
    "arg": _part(_function("jnp.angle")),
    "abs": _absolute,
    "cast": _cast,
    "add": _operator("+"),
    "sub": _operator("-"),
    "mul": _operator("*"),
    "div": _operator("/"),
    "mod": _operator("%"),
    "floordiv": _operator("//"),
    "pow": _power,
    "max": _binary("jnp.maximum"),
    "min": _binary("jnp.minimum"),
    "logaddexp": _binary("log_add"),
    "atan2": _binary("jnp.arctan2"),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "and": _comparison("&"),
    "or": _comparison("|"),
    "xor": _comparison("^"),
    "not": _not,
    "where": _where,
    **jax_einsum.PRINTERS,
    **jax_layout.PRINTERS,
    **jax_reduce.PRINTERS,
    **jax_stencil.PRINTERS,
    **jax_system.PRINTERS,
}
