"""Convolutions: a function of one position, vectorised over leading axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call
from lsrl.backends.jax_layout import vectorized
from lsrl.backends.jax_place import Operand, Place, Printer
from lsrl.ir.infer import dims, integer, integers
from lsrl.ir.value import Value


def _options(value: Value) -> str:
    stride, dilation, flat = (integers(value.attr(name)) for name in ("stride", "dilation", "padding"))
    padding = tuple(zip(flat[0::2], flat[1::2], strict=True))
    groups = integer(value.attr("groups"))
    return f"stride={stride}, padding={padding}, dilation={dilation}, groups={groups}"


def _conv(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    function = vectorized(f"partial(conv, {_options(value)})", value, operands)
    return call(function, *(operand.code for operand in operands))


def _adjoint(name: str) -> Printer:
    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        shape = place.shape(dims(value.attr("shape")), False)
        function = vectorized(f"partial({name}, shape={shape}, {_options(value)})", value, operands)
        return call(function, *(operand.code for operand in operands))

    return printer


PRINTERS: Mapping[str, Printer] = {
    "conv": _conv,
    "conv_dx": _adjoint("conv_dx"),
    "conv_dw": _adjoint("conv_dw"),
}
