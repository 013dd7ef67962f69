"""Convolutions in PyTorch, at all positions at once where they share their kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call
from lsrl.backends.torch_place import Operand, Place, Printer
from lsrl.ir.infer import dims, integer, integers
from lsrl.ir.value import Value


def _options(value: Value) -> tuple[object, ...]:
    """Stride, padding, dilation and groups; padding low and high per axis."""
    stride, dilation, padding = (integers(value.attr(name)) for name in ("stride", "dilation", "padding"))
    return stride, padding, dilation, integer(value.attr("groups"))


def _conv(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    return call(_mapped("conv", operands, place, 4), *(o.wide().code for o in operands), *_options(value))


def _adjoint(name: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        shape = place.shape(dims(value.attr("shape")), False)
        function = _mapped(name, operands, place, 5)
        return call(function, *(operand.wide().code for operand in operands), shape, *_options(value))

    return printer


def _mapped(function: str, operands: Sequence[Operand], place: Place, options: int) -> str:
    """The function at all positions: it takes leading axes itself where only its first operand has them."""
    if not any(operand.varies for operand in operands) or (function != "conv_dw" and not operands[1].varies):
        return function
    axes = ", ".join([*("0" if operand.varies else "None" for operand in operands), *["None"] * options])
    for _ in place.lead:
        function = f"torch.vmap({function}, ({axes}))"
    return function


def summed_kernel(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """The gradient of a kernel summed over the leading axes, which `conv_dw` does where both operands have them."""
    shape = place.shape(dims(value.attr("shape")), False)
    return call("conv_dw", *(operand.wide().code for operand in operands), shape, *_options(value))


PRINTERS: Mapping[str, Printer] = {
    "conv": _conv,
    "conv_dx": _adjoint("conv_dx"),
    "conv_dw": _adjoint("conv_dw"),
}
