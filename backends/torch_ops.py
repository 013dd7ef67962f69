"""How each operation is written with PyTorch: one row per operation of the graph.

Element-wise operations are here; einsum, layout, reductions and stencils have modules of their own.  Every text holds
for values with and without leading axes, because axes are counted from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from lsrl.backends import torch_einsum, torch_layout, torch_reduce, torch_stencil, torch_system
from lsrl.backends.expressions import Code, attribute, call, infix, method, number, prefix
from lsrl.backends.torch_place import Operand, Place, Printer, promoted
from lsrl.ir.value import Kind, Value

Unary = Callable[[Code], Code]


def _function(name: str) -> Unary:
    return lambda x: call(name, x)


def _unary(write: Unary) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = operands
        kind = value.kind if operand.kind is not Kind.COMPLEX else Kind.COMPLEX
        (wide,) = promoted([operand.wide()], kind, place.types)
        return write(wide.tensor(place.types).code)

    return printer


def _complex_unary(write: Unary) -> Printer:
    """A function of a complex number: a real operand becomes one first."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = operands
        if operand.kind is not Kind.COMPLEX:
            operand = operand.as_type(Kind.COMPLEX, place.types)
        return write(operand.code)

    return printer


def _cis(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (x,) = promoted(operands, Kind.FLOAT, place.types)
    return call("torch.polar", call("torch.ones_like", x.code), x.code)


def _absolute(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    if operand.kind is Kind.BOOL:
        operand = operand.as_type(Kind.INT, place.types)
    return call("torch.abs", operand.wide().tensor(place.types).code)


def _cast(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    if operand.kind is Kind.COMPLEX and value.kind is not Kind.BOOL:
        return method(attribute(operand.tensor(place.types).code, "real"), "to", place.types.of(value.kind))
    return operand.as_type(value.kind, place.types).code


def _operator(operator: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        left, right = (o.beside(value.rank) for o in promoted(operands, value.kind, place.types))
        return infix(operator, left, right)

    return printer


def _binary(name: str) -> Printer:
    """A function that takes tensors only: a number becomes one of no axes."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        both = promoted(operands, value.kind, place.types)
        tensors = [o.as_type(value.kind, place.types) if o.host else o for o in both]
        return call(name, *(o.beside(value.rank) for o in tensors))

    return printer


def _comparison(operator: str) -> Printer:
    """Operands are promoted among themselves; a comparison of two numbers becomes a tensor."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        kind = max((o.kind for o in operands), key=[*Kind].index)
        left, right = (o.beside(value.rank) for o in promoted(operands, kind, place.types))
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
    test = condition.tensor(place.types).beside(value.rank)
    return call("torch.where", test, *(o.beside(value.rank) for o in chosen))


def _not(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    return prefix("~", operand.tensor(place.types).code)


def _im(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    if operand.kind is Kind.COMPLEX:
        return attribute(operand.tensor(place.types).code, "imag")
    return call("torch.zeros_like", operand.as_type(Kind.FLOAT, place.types).code)


def _re(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    if operand.kind is Kind.COMPLEX:
        return attribute(operand.tensor(place.types).code, "real")
    return promoted([operand], Kind.FLOAT, place.types)[0].code


PRINTERS: Mapping[str, Printer] = {
    "neg": _unary(lambda x: prefix("-", x)),
    **{name: _unary(_function(f"torch.{name}")) for name in ("exp", "log", "sqrt", "sign", "floor", "ceil", "round")},
    **{name: _unary(_function(f"torch.{name}")) for name in ("relu", "expm1", "log1p", "rsqrt", "sin", "cos", "tan")},
    **{name: _unary(_function(f"torch.{name}")) for name in ("tanh", "sigmoid", "erf")},
    # F.softplus is x itself above a threshold, which double precision sees.
    "softplus": _unary(lambda x: prefix("-", call("F.logsigmoid", prefix("-", x)))),
    "logsigmoid": _unary(_function("F.logsigmoid")),
    "silu": _unary(_function("F.silu")),
    "gelu": _unary(_function("F.gelu")),
    "conj": _unary(_function("torch.conj_physical")),
    "stopgrad": _unary(lambda x: method(x, "detach")),
    "cis": _cis,
    "re": _re,
    "im": _im,
    "arg": _complex_unary(_function("torch.angle")),
    "abs": _absolute,
    "cast": _cast,
    "add": _operator("+"),
    "sub": _operator("-"),
    "mul": _operator("*"),
    "div": _operator("/"),
    "mod": _binary("torch.remainder"),
    "floordiv": _binary("torch.floor_divide"),
    "pow": _power,
    "max": _binary("torch.maximum"),
    "min": _binary("torch.minimum"),
    "logaddexp": _binary("LogAdd.apply"),
    "atan2": _binary("torch.atan2"),
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
    **torch_einsum.PRINTERS,
    **torch_layout.PRINTERS,
    **torch_reduce.PRINTERS,
    **torch_stencil.PRINTERS,
    **torch_system.PRINTERS,
}
