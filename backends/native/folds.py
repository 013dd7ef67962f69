"""Reductions other than sums, and joins, as loops."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

from lsrl.backends.expressions import Code
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.elements import Elements
from lsrl.backends.native.indexing import Index, identity, indices, plus
from lsrl.backends.native.operations import TYPES, Element
from lsrl.ir.dims import Dim
from lsrl.ir.infer import integer, integers
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class _Fold:
    """How elements are folded: what it starts with, and what each element does."""

    starts: tuple[str, ...]
    turn: tuple[str, ...]


def write_fold(value: Value, elements: Elements, writer: CWriter) -> None:
    """The nest of a reduction; what comes out is `folded`."""
    (arg,) = value.args
    gone = integers(value.attr("axes"))
    names = indices((*value.shape, *(arg.shape[axis] for axis in gone)))
    outer, inner = names[: value.rank], dict(zip(gone, names[value.rank :], strict=True))
    kept = iter(outer)
    element = elements.read(arg, Index(tuple(Code(inner[a] if a in inner else next(kept)) for a in range(arg.rank))))
    among = Index(tuple(map(Code, inner.values())))
    fold = _fold(value, element, elements.places.numbers.flat(tuple(arg.shape[axis] for axis in gone), among))
    with ExitStack() as blocks:
        for axis, index in enumerate(outer):
            blocks.enter_context(writer.block(elements.head(value, axis, index)))
        writer.lines(fold.starts)
        with ExitStack() as loops:
            for axis, index in inner.items():
                loops.enter_context(writer.block(elements.head(arg, axis, index)))
            writer.lines(fold.turn)
        writer.line(f"{elements.places.stored(value, identity(value))} = folded;")


def _fold(value: Value, element: Element, place: Code) -> _Fold:
    """The fold of a reduction; `place` is where the element lies among those that are folded."""
    kind = Kind.INT if element.kind is Kind.BOOL and value.kind is not Kind.BOOL else element.kind
    type_, code, whole = TYPES[kind], element.of(kind), kind is not Kind.FLOAT
    match value.op:
        case "reduce_prod":
            return _Fold((f"{type_} folded = 1;",), (f"folded *= {code};",))
        case "reduce_any":
            return _Fold(("bool folded = false;",), (f"folded |= {code};",))
        case "reduce_all":
            return _Fold(("bool folded = true;",), (f"folded &= {code};",))
        case "reduce_max":
            start, function = ("INT64_MIN", "maximum_int") if whole else ("-INFINITY", "maximum")
            return _Fold((f"{type_} folded = {start};",), (f"folded = {function}(folded, {code});",))
        case "reduce_min":
            start, function = ("INT64_MAX", "minimum_int") if whole else ("INFINITY", "minimum")
            return _Fold((f"{type_} folded = {start};",), (f"folded = {function}(folded, {code});",))
        case _:
            # argmax, argmin: the first NaN is the largest and the smallest, as in NumPy.
            beyond = f"candidate {'>' if value.op == 'argmax' else '<'} best"
            first_nan = "(candidate != candidate && best == best)"
            return _Fold(
                (f"{type_} best = 0;", "int64_t folded = -1;"),
                (
                    f"const {type_} candidate = {code};",
                    f"const bool better = folded < 0 || {beyond} || {first_nan};",
                    "best = better ? candidate : best;",
                    f"folded = better ? {place} : folded;",
                ),
            )


def write_join(value: Value, elements: Elements, writer: CWriter) -> None:
    """concat: each operand into its stretch of the array."""
    axis = integer(value.attr("axis"))
    starts = accumulate((arg.shape[axis] for arg in value.args), initial=Dim.of(0))
    for arg, start in zip(value.args, starts, strict=False):
        own = identity(arg)
        at = plus(elements.places.numbers.dim(start), own.axes[axis])
        target = elements.places.stored(value, Index((*own.axes[:axis], at, *own.axes[axis + 1 :])))
        with elements.over(arg, writer):
            writer.line(f"{target} = {elements.read(arg, own).of(value.kind)};")
