"""Typing of spatial convolution and of its two adjoints.

Operands have no batch axis: x [C, *spatial], w [O, C / groups, *kernel] and g [O, *out].  Attributes: `stride` and
`dilation` (one number per spatial axis), `padding` (low, high for each spatial axis) and `groups`.  As in the deep
learning libraries this is a correlation: the kernel is not flipped.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.ir import fault
from lsrl.ir.dims import Shape, shape_text
from lsrl.ir.fault import Fault
from lsrl.ir.infer import Attributes, Typing, common_domain, dims, integer, integers, promote
from lsrl.ir.value import Kind, Value

ATTRS = ("dilation", "groups", "padding", "stride")


def convolution(args: Sequence[Value], attrs: Attributes) -> Typing:
    """conv(x, w): [O, *out]."""
    x, w = args
    groups = integer(attrs["groups"])
    if x.rank < 2 or x.rank != w.rank - 1:
        raise Fault(
            fault.RANK_MISMATCH,
            "conv needs x [C, *spatial] and w [O, C/groups, *kernel]",
            shape_text(w.shape),
            shape_text(x.shape),
        )
    if w.shape[1] * groups != x.shape[0]:
        raise Fault(
            fault.SHAPES_DIFFER, "the kernel has another number of channels", str(w.shape[1] * groups), str(x.shape[0])
        )
    return Typing(
        (w.shape[0], *output_sizes(x.shape[1:], w.shape[2:], attrs)),
        promote([x.kind, w.kind, Kind.INT]),
        common_domain(args),
    )


def input_adjoint(args: Sequence[Value], attrs: Attributes) -> Typing:
    """conv_dx(g, w): what reaches x; `shape` is x's."""
    return Typing(dims(attrs["shape"]), promote([a.kind for a in args]), common_domain(args))


def kernel_adjoint(args: Sequence[Value], attrs: Attributes) -> Typing:
    """conv_dw(x, g): what reaches w; `shape` is w's."""
    return Typing(dims(attrs["shape"]), promote([a.kind for a in args]), common_domain(args))


def output_sizes(spatial: Shape, kernel: Shape, attrs: Attributes) -> Shape:
    """(size + padding - dilation (kernel - 1) - 1) // stride + 1, for each axis."""
    stride, dilation, padding = (integers(attrs[name]) for name in ("stride", "dilation", "padding"))
    return tuple(
        (size + low + high - step * (taps - 1) - 1) // apart + 1
        for size, taps, apart, step, low, high in zip(
            spatial, kernel, stride, dilation, padding[0::2], padding[1::2], strict=True
        )
    )


def same_padding(kernel: Shape, dilation: Sequence[int]) -> tuple[int, ...]:
    """Low and high padding per axis that keeps sizes at stride 1; Fault when a kernel's size is not yet a number."""
    padding: list[int] = []
    for taps, step in zip(kernel, dilation, strict=True):
        if taps.constant is None:
            raise Fault(fault.SIZE_MEANINGLESS, f"`same` padding needs a kernel of known size, not {taps}")
        total = step * (taps.constant - 1)
        padding += [total // 2, total - total // 2]
    return tuple(padding)
