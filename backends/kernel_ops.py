"""How each operation is written inside of a Triton kernel: one row per operation that a kernel can compute.

Element-wise operations are here; products, reductions and layout have modules of their own.  An operation without a
row sends its loop to plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from lsrl.backends import kernel_layout, kernel_products, kernel_reduce
from lsrl.backends.expressions import Code, call, infix, prefix
from lsrl.backends.kernel_place import KernelPlace, Operand, Printer, promoted
from lsrl.ir.value import Kind, Value

Unary = Callable[[Code], Code]
LARGEST_POWER = 8


def _function(name: str) -> Unary:
    return lambda x: call(name, x)


def _unary(write: Unary) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        (operand,) = promoted(operands, value.kind, place.types)
        return write(operand.code)

    return printer


def _operator(operator: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        axes = place.tiling.axes(value)
        left, right = (o.beside(axes) for o in promoted(operands, value.kind, place.types))
        return infix(operator, left, right)

    return printer


def _binary(name: str, whole: str = "") -> Printer:
    """A function; `whole` is its name for whole numbers."""

    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        axes = place.tiling.axes(value)
        both = promoted(operands, value.kind, place.types)
        codes = [o.argument(value.kind, place.types) if o.host else o.beside(axes) for o in both]
        return call(whole if whole and value.kind is Kind.INT else name, *codes)

    return printer


def _comparison(operator: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        axes = place.tiling.axes(value)
        kind = max((o.kind for o in operands), key=[*Kind].index)
        left, right = (o.beside(axes) for o in promoted(operands, kind, place.types))
        return infix(operator, left, right)

    return printer


def _logical(operator: str, both: str) -> Printer:
    """`and`, `or`; beside a scalar as a choice, since the interpreter takes a comparison of scalars for a number.

    `both` has places for the scalar and for the block.
    """

    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        axes = place.tiling.axes(value)
        scalar, block = sorted(operands, key=lambda operand: len(operand.axes))
        if len(scalar.axes) == len(block.axes) or scalar.host:
            left, right = (operand.beside(axes) for operand in operands)
            return infix(operator, left, right)
        return Code(both.format(scalar.beside(axes), block.beside(axes)))

    return printer


def _rounding(name: str) -> Printer:
    """Whole numbers are what they are rounded to."""

    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        (operand,) = promoted(operands, value.kind, place.types)
        return operand.code if value.kind is Kind.INT else call(name, operand.code)

    return printer


def _power(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    """A small whole exponent multiplies."""
    base, exponent = promoted(operands, value.kind, place.types)
    axes = place.tiling.axes(value)
    constant = exponent.value.attr("value") if exponent.value.op == "const" and not exponent.value.rank else None
    if isinstance(constant, int | Fraction) and constant == int(constant) and 1 <= constant <= LARGEST_POWER:
        return call("power_int", base.beside(axes), int(constant))
    codes = [o.argument(value.kind, place.types) if o.host else o.beside(axes) for o in (base, exponent)]
    return call("power", *codes)


def _where(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    condition, *branches = operands
    axes = place.tiling.axes(value)
    chosen = promoted(branches, value.kind, place.types)
    codes = [o.argument(value.kind, place.types) if o.host else o.beside(axes) for o in chosen]
    return call("tl.where", condition.beside(axes), *codes)


def _cast(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    return operands[0].as_type(value.kind, place.types).code


def _absolute(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    (operand,) = promoted(operands, value.kind, place.types)
    return call("tl.abs", operand.code)


def _same(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    return promoted(operands, value.kind, place.types)[0].code


def _nothing(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    """The imaginary part of a real number."""
    return call("tl.full", place.shape(place.tiling.axes(value)), "0.0", place.types.real)


PRINTERS: Mapping[str, Printer] = {
    "neg": _unary(lambda x: prefix("-", x)),
    **{name: _unary(_function(f"tl.{name}")) for name in ("exp", "log", "sqrt", "rsqrt")},
    **{name: _unary(_function(f"tl.{name}")) for name in ("sin", "cos", "erf", "sigmoid")},
    **{name: _unary(_function(name)) for name in ("sign", "tan", "tanh", "expm1", "log1p")},
    **{name: _unary(_function(name)) for name in ("softplus", "logsigmoid", "silu", "gelu")},
    "floor": _rounding("tl.floor"),
    "ceil": _rounding("tl.ceil"),
    "round": _rounding("rounded"),
    "relu": _unary(lambda x: call("maximum", x, 0)),
    "abs": _absolute,
    "re": _same,
    "im": _nothing,
    "conj": _same,
    "stopgrad": _same,
    "cast": _cast,
    "add": _operator("+"),
    "sub": _operator("-"),
    "mul": _operator("*"),
    "div": _operator("/"),
    "mod": _binary("remainder"),
    "floordiv": _binary("floor_divide", "floor_divide_int"),
    "pow": _power,
    "max": _binary("maximum"),
    "min": _binary("minimum"),
    "logaddexp": _binary("logaddexp"),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "and": _logical("&", "tl.where({}, {}, False)"),
    "or": _logical("|", "tl.where({}, True, {})"),
    "xor": _comparison("!="),
    "not": _unary(lambda x: prefix("~", x)),
    "where": _where,
    **kernel_products.PRINTERS,
    **kernel_reduce.PRINTERS,
    **kernel_layout.PRINTERS,
}
