"""Laws that put parts between zeros together: what reaches an array by way of its slices is such a sum of parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lsrl.ir import build, ops
from lsrl.ir.dims import Dim
from lsrl.ir.fold import number
from lsrl.ir.infer import integer
from lsrl.ir.requirements import not_negative
from lsrl.ir.value import Value


def sum_of_padded(v: Value) -> Value | None:
    """concat(a, 0) + concat(0, b) -> concat(a, b)"""
    return _together(v, *v.args) if v.op == "add" else None


def sum_with_padded(v: Value) -> Value | None:
    """(x + concat(a, 0)) + concat(0, b) -> x + concat(a, b)"""
    if v.op != "add" or v.args[0].op != "add" or v.args[0].shape != v.shape:
        return None
    inner, right = v.args
    for x, left in (inner.args, inner.args[::-1]):
        both = _together(v, left, right)
        if both is not None:
            return build.add(x, both)
    return None


def _together(v: Value, left: Value, right: Value) -> Value | None:
    """The sum of two concats along one axis, piece by piece, where a piece meets zeros or a piece of its size."""
    if left.op != "concat" or right.op != "concat" or left.kind is not right.kind:
        return None
    axis = integer(left.attr("axis"))
    if axis != integer(right.attr("axis")) or left.shape != right.shape or left.shape != v.shape:
        return None
    pieces = list(_pairs(left.args, right.args, axis))
    if None in pieces or not any(_is_zeros(one) or _is_zeros(other) for one, other in filter(None, pieces)):
        return None
    return ops.apply("concat", *(_added(*pair) for pair in pieces if pair is not None), axis=axis)


def _pairs(left: Sequence[Value], right: Sequence[Value], axis: int) -> Iterator[tuple[Value, Value] | None]:
    """Pieces of both that lie side by side; zeros are cut as needed, None stands for anything else to be cut."""
    first, second = list(left)[::-1], list(right)[::-1]
    while first and second:
        one, other = first.pop(), second.pop()
        rest = one.shape[axis] - other.shape[axis]
        if rest != Dim.of(0) and not_negative(rest) and _is_zeros(one):
            first.append(_zeros(one, axis, rest))
            one = _zeros(one, axis, other.shape[axis])
        elif rest != Dim.of(0) and not_negative(-rest) and _is_zeros(other):
            second.append(_zeros(other, axis, -rest))
            other = _zeros(other, axis, one.shape[axis])
        elif rest != Dim.of(0):
            yield None
            return
        yield one, other


def _added(one: Value, other: Value) -> Value:
    if _is_zeros(one):
        return other
    return one if _is_zeros(other) else build.add(one, other)


def _is_zeros(value: Value) -> bool:
    return value.op == "expand" and number(value.args[0]) == 0


def _zeros(value: Value, axis: int, size: Dim) -> Value:
    """The zeros with another size along an axis."""
    return build.zeros((*value.shape[:axis], size, *value.shape[axis + 1 :]), value.kind)


PADDING = (sum_of_padded, sum_with_padded)
