"""Reductions inside of a kernel: lanes beyond the end of an axis hold what changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, infix, method
from lsrl.backends.kernel_place import KernelPlace, Operand, Printer, masked, promoted
from lsrl.ir.infer import integers
from lsrl.ir.value import Kind, Value

LEAST, MOST = -(2**63), 2**63 - 1


def _reduction(write: str, neutral: str, whole: str) -> Printer:
    """`neutral` and, for whole numbers, `whole` change nothing; `write` has a place for the block and for the axis."""

    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        (operand,) = promoted(operands, max(value.kind, operands[0].kind, key=[*Kind].index), place.types)
        unit = whole if operand.kind in (Kind.INT, Kind.BOOL) else neutral
        return _folded(value, operand, write, unit, place)

    return printer


def _folded(value: Value, operand: Operand, write: str, neutral: str, place: KernelPlace) -> Code:
    """The reduction over one axis of the block after the other, the last first."""
    gone = [place.block_axis(operand.value, axis) for axis in integers(value.attr("axes"))]
    code = masked(operand.code, operand.axes, gone, neutral)
    for axis in reversed(gone):
        code = Code(write.format(code, axis))
    return code


def _truth(write: str, neutral: str) -> Printer:
    """any, all: of whole numbers 0 and 1."""

    def printer(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
        (operand,) = operands
        counted = Operand(operand.value, method(operand.code, "to", "tl.int32"), operand.axes)
        return infix("!=", _folded(value, counted, write, neutral, place), Code("0"))

    return printer


PRINTERS: Mapping[str, Printer] = {
    "reduce_sum": _reduction("tl.sum({}, axis={})", "0.0", "0"),
    "reduce_prod": _reduction("tl.reduce({}, {}, multiply)", "1.0", "1"),
    "reduce_max": _reduction("tl.reduce({}, {}, maximum)", 'float("-inf")', str(LEAST)),
    "reduce_min": _reduction("tl.reduce({}, {}, minimum)", 'float("inf")', str(MOST)),
    "reduce_any": _truth("tl.max({}, axis={})", "0"),
    "reduce_all": _truth("tl.min({}, axis={})", "1"),
}
