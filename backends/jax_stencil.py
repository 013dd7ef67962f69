"""Convolutions: leading axes are a batch where the kernel is shared, else the function of one position is mapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call
from lsrl.backends.jax_layout import vectorized
from lsrl.backends.jax_place import Operand, Place, Printer
from lsrl.ir.infer import dims, integer, integers
from lsrl.ir.value import Value


def _options(value: Value) -> dict[str, object]:
    """What differs from a plain convolution."""
    stride, dilation, flat = (integers(value.attr(name)) for name in ("stride", "dilation", "padding"))
    options: dict[str, object] = {"padding": tuple(zip(flat[0::2], flat[1::2], strict=True))}
    if set(stride) != {1}:
        options["stride"] = stride
    if set(dilation) != {1}:
        options["dilation"] = dilation
    return options if value.attr("groups") == 1 else {**options, "groups": integer(value.attr("groups"))}


def _conv(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """One call for all positions where they share the kernel."""
    x, w = operands
    if not w.varies:
        return call("conv", x.code, w.code, **_options(value))
    function = vectorized(str(call("partial", "conv", **_options(value))), value, operands)
    return call(function, x.code, w.code)


def summed_conv_dw(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """The sum of `conv_dw` over all sequences and positions, which are one more batch to it."""
    shape = place.shape(dims(value.attr("shape")), False)
    return call("conv_dw", *(operand.code for operand in operands), shape, **_options(value))


def _adjoint(name: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        shape = place.shape(dims(value.attr("shape")), False)
        function = vectorized(str(call("partial", name, shape=shape, **_options(value))), value, operands)
        return call(function, *(operand.code for operand in operands))

    return printer


PRINTERS: Mapping[str, Printer] = {
    "conv": _conv,
    "conv_dx": _adjoint("conv_dx"),
    "conv_dw": _adjoint("conv_dw"),
}
