"""Which element of which array is read for an element of a value: indices as C writes them, behind moves.

Moves (slices, transposes, repeats) are no work: whoever reads them reads what lies behind them at another index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, infix
from lsrl.backends.kernel_form import row_major
from lsrl.backends.native.operations import PRINTERS
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value

MOVES = ("expand", "transpose", "slice", "select", "flip", "reshape")
PrintDim = Callable[[Dim], Code]


@dataclass(frozen=True, slots=True)
class Index:
    """Where an element of a value lies: one expression for each axis, or its place in row-major order."""

    axes: tuple[Code, ...] = ()
    flat: Code | None = None


def identity(value: Value) -> Index:
    """An element in the nest over a value's own axes."""
    return Index(tuple(map(Code, indices(value.shape))))


def indices(shape: Shape) -> tuple[str, ...]:
    """The variables of the loops over a shape: `i_h` for an axis of H elements."""
    names: list[str] = []
    for axis, size in enumerate(shape):
        words = str(size)
        name = f"i_{words.lower()}" if words.isidentifier() else f"i_{axis}"
        names.append(name if name not in names else f"{name}_{axis}")
    return tuple(names)


def resolved(value: Value, index: Index, stops: Callable[[Value], bool], print_dim: PrintDim) -> tuple[Value, Index]:
    """The value behind moves whose element this is, and its index there.

    Args:
        stops: whether a value can be read as it is.
    """
    while value.op in MOVES and not stops(value):
        (inner,) = value.args
        value, index = inner, moved(value, inner, index, print_dim)
    return value, index


def moved(value: Value, inner: Value, index: Index, print_dim: PrintDim) -> Index:
    """The index in the operand of a move."""
    axes = index.axes
    match value.op:
        case "reshape":
            return Index(flat=index.flat if index.flat is not None else flat_index(value.shape, axes, print_dim))
        case "expand":
            new = integers(value.attr("axes"))
            return Index(tuple(code for axis, code in enumerate(axes) if axis not in new))
        case "transpose":
            perm = integers(value.attr("perm"))
            return Index(tuple(axes[perm.index(axis)] for axis in range(inner.rank)))
        case "slice":
            axis, step = integer(value.attr("axis")), integer(value.attr("step"))
            code = times(axes[axis], Code(str(step)))
            return Index((*axes[:axis], plus(print_dim(dim(value.attr("start"))), code), *axes[axis + 1 :]))
        case "select":
            axis = integer(value.attr("axis"))
            return Index((*axes[:axis], print_dim(dim(value.attr("index"))), *axes[axis:]))
        case _:
            axis = integer(value.attr("axis"))
            code = infix("-", print_dim(inner.shape[axis] - 1), axes[axis])
            return Index((*axes[:axis], code, *axes[axis + 1 :]))


def flat_index(shape: Shape, axes: Sequence[Code], print_dim: PrintDim) -> Code:
    """The place of an element in row-major order."""
    whole = Code("0")
    for stride, code in zip(row_major(shape), axes, strict=True):
        whole = plus(whole, times(code, print_dim(stride)))
    return whole


def plus(left: Code, right: Code) -> Code:
    """The sum, where one of the two may be 0."""
    if left.text == "0" or right.text == "0":
        return right if left.text == "0" else left
    return infix("+", left, right)


def times(left: Code, right: Code) -> Code:
    """The product, where one of the factors may be 0 or 1."""
    if "0" in (left.text, right.text):
        return Code("0")
    if left.text == "1" or right.text == "1":
        return right if left.text == "1" else left
    return infix("*", left, right)


def operands(value: Value, index: Index) -> Iterator[tuple[Value, Index]]:
    """The operands of an element-wise value, each with the index of the element that is read.

    What indexes a table comes before the table, whose own axis is left open: its element is only known then.
    """
    axes = index.axes
    match value.op:
        case "einsum":
            left, result = str(value.attr("spec")).split("->")
            where = dict(zip(result, axes, strict=True))
            for letters, arg in zip(left.split(","), value.args, strict=True):
                yield arg, Index(tuple(where[letter] for letter in letters))
        case "gather":
            table, chosen = value.args
            axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
            inner = chosen.rank - batch
            yield chosen, Index((*axes[:batch], *axes[axis : axis + inner]))
            yield table, Index((*axes[:axis], Code(""), *axes[axis + inner :]))
        case _:
            for arg in value.args:
                yield arg, index if arg.rank else Index()


def is_elements(value: Value) -> bool:
    """Whether each element of a value is computed from some elements of its operands."""
    if value.op == "einsum":
        left, result = str(value.attr("spec")).split("->")
        return all(letter in result for letter in left if letter != ",")
    if value.op == "reduce_sum":
        return not integers(value.attr("axes"))
    return value.op == "gather" or (family(value.op) is Family.ELEMENTWISE and value.op in PRINTERS)
