"""Layout inside of a kernel: what is repeated, and what moves between lanes.

Slices of arrays in memory are read in place and never come here; what remains, slices of a state, picks lanes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call, infix, method, subscript
from lsrl.backends.kernel_place import KernelPlace, Operand, Printer, promoted
from lsrl.backends.kernel_tiles import Tile
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.value import Kind, Value


def _transpose(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    (operand,) = operands
    tiles = place.tiling.all_tiles(operand.value)
    perm = [place.block_axis(operand.value, axis) for axis in integers(value.attr("perm")) if not tiles[axis].single]
    order = [*range(len(operand.axes) - len(perm)), *perm]
    if order == sorted(order):
        return operand.code
    return call("tl.trans", operand.code) if len(order) == 2 else call("tl.permute", operand.code, tuple(order))


def _expand(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    (operand,) = operands
    axes = place.tiling.axes(value)
    if operand.host:
        return call("tl.full", place.shape(axes), operand.code, place.types.of(value.kind))
    spread = thinly(value, operand, place)
    return call("tl.broadcast_to", spread, place.shape(axes)) if axes != operand.axes else spread


def thinly(value: Value, operand: Operand, place: KernelPlace) -> Code:
    """An expanded block with axes of length one where it is repeated."""
    if operand.host or not operand.axes:
        return operand.code
    new, tiles = integers(value.attr("axes")), place.tiling.all_tiles(value)
    lead = len(place.tiling.axes(value)) - sum(not tile.single for tile in tiles)
    own = len(operand.axes) - sum(not tile.single for axis, tile in enumerate(tiles) if axis not in new)
    kept = [":"] * own + ["None"] * (lead - own)
    kept += ["None" if axis in new else ":" for axis, tile in enumerate(tiles) if not tile.single]
    return operand.code if "None" not in kept else subscript(operand.code, ", ".join(kept))


def _select(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    """One element: the sum over an axis where all others are zero."""
    operand = _counted(operands[0])
    axis = integer(value.attr("axis"))
    at = place.block_axis(operand.value, axis)
    here = infix("==", _lanes(operand.axes, at), place.dim(dim(value.attr("index"))))
    zero = "0.0" if operand.kind is Kind.FLOAT else "0"
    return _truth(value, call("tl.sum", call("tl.where", here, operand.code, zero), axis=at))


def _slice(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    axis, step, start = integer(value.attr("axis")), integer(value.attr("step")), dim(value.attr("start"))
    axes = place.tiling.axes(value)
    lane = _lanes(axes, place.block_axis(value, axis))
    scaled = infix("*", lane, Code(str(step))) if step != 1 else lane
    source = infix("+", scaled, place.dim(start)) if start != Dim.of(0) else scaled
    return _truth(value, _picked(_counted(operands[0]), axis, source, axes, place))


def _flip(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    axis = integer(value.attr("axis"))
    axes = place.tiling.axes(value)
    last = place.dim(value.shape[axis] - 1)
    source = infix("-", last, _lanes(axes, place.block_axis(value, axis)))
    return _truth(value, _picked(_counted(operands[0]), axis, source, axes, place))


def _concat(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    axis = integer(value.attr("axis"))
    axes = place.tiling.axes(value)
    lane = _lanes(axes, place.block_axis(value, axis))
    parts, ends, start = [], [], Dim.of(0)
    for operand in promoted(operands, value.kind, place.types):
        source = infix("-", lane, place.dim(start)) if start != Dim.of(0) else lane
        parts.append(_picked(_counted(operand), axis, source, axes, place))
        start = start + operand.value.shape[axis]
        ends.append(start)
    whole = parts[-1]
    for part, end in zip(parts[-2::-1], ends[-2::-1], strict=True):
        whole = call("tl.where", infix("<", lane, place.dim(end)), part, whole)
    return _truth(value, whole)


def _picked(operand: Operand, axis: int, source: Code, axes: Sequence[Tile], place: KernelPlace) -> Code:
    """The lanes at the places `source` along an axis; places outside of the block are those of no lane that counts."""
    at = place.block_axis(operand.value, axis)
    block = place.blocks[operand.axes[at].name]
    inside = call("tl.minimum", call("tl.maximum", source, 0), infix("-", Code(block), Code("1")))
    shape = [axes[n] if n == at else tile for n, tile in enumerate(operand.axes)]
    index = call("tl.broadcast_to", inside, place.shape(shape)) if len(shape) > 1 else inside
    picked = call("tl.gather", operand.code, index, at)
    return picked if len(shape) == len(axes) else subscript(picked, ", ".join(["None"] + [":"] * len(shape)))


def _lanes(axes: Sequence[Tile], at: int) -> Code:
    """`o_k[:, None]`: places along one axis of a block."""
    others = ["None"] * len(axes)
    others[at] = ":"
    lanes = Code(f"o_{axes[at].name}")
    return subscript(lanes, ", ".join(others)) if len(axes) > 1 else lanes


def _counted(operand: Operand) -> Operand:
    """Truth values as numbers."""
    if operand.kind is not Kind.BOOL:
        return operand
    return Operand(operand.value, method(operand.code, "to", "tl.int32"), operand.axes)


def _truth(value: Value, code: Code) -> Code:
    return infix("!=", code, Code("0")) if value.kind is Kind.BOOL else code


PRINTERS: Mapping[str, Printer] = {
    "transpose": _transpose,
    "expand": _expand,
    "select": _select,
    "slice": _slice,
    "flip": _flip,
    "concat": _concat,
}
