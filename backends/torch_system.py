"""Systems of linear equations in PyTorch: all positions are one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call
from lsrl.backends.torch_place import Operand, Place, Printer, promoted
from lsrl.ir.value import Kind, Value


def _solve(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """Both operands of the result's kind, since LAPACK mixes none."""
    raised = (promoted([operand], Kind.FLOAT, place.types)[0] for operand in operands)
    alike = (operand if operand.kind is value.kind else operand.as_type(value.kind, place.types) for operand in raised)
    return call("solve", *(operand.code for operand in alike))


PRINTERS: Mapping[str, Printer] = {"solve": _solve}
