"""Vectors and numbers of the normal form as values: products of factors, scaled vectors, sums where None is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl.ir import build, ops
from lsrl.ir.dims import Shape
from lsrl.ir.facts.linear import Factor, Letters
from lsrl.ir.fold import exact
from lsrl.ir.schedules.coefficients import multiplied, number
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class Axes:
    """Which axis of a state is what.

    Attributes:
        lanes: axes along which every element has a recurrence of its own.
        rows: the axis on which the transition may act by more than a diagonal.
        columns: the other axis of each lane's matrix; None when each lane has a vector.
        shape: the state's.
    """

    lanes: tuple[int, ...]
    rows: int
    columns: int | None
    shape: Shape

    @property
    def perm(self) -> tuple[int, ...]:
        return (*self.lanes, self.rows, *(() if self.columns is None else (self.columns,)))

    def vector(self, axis: int | None) -> Letters:
        """The axes of a vector along one axis of the state: the lanes, then that axis if there is one."""
        return (*self.lanes, *(() if axis is None else (axis,)))

    def dims(self, axes: Letters) -> Shape:
        return tuple(self.shape[axis] for axis in axes)


def product(factors: Sequence[Factor], letters: Letters, shape: Shape) -> Value:
    """The product of factors with axes `letters`, repeated along those that no factor has, others summed over."""
    used = {letter for factor in factors for letter in factor.axes}
    kept = tuple(letter for letter in letters if letter in used)
    found = multiplied([(number(factor.value), factor.axes) for factor in factors], kept)
    return build.expand(found, shape, [place for place, letter in enumerate(letters) if letter not in used])


def signed(value: Value, sign: int) -> Value:
    return value if sign > 0 else build.neg(value)


def scaled(vector: Value, scale: Value | None) -> Value:
    """[*lanes, X] times [*lanes] or [*lanes, X]."""
    if scale is None or _is_one(scale):
        return vector
    if _is_one(vector):
        return build.expand(scale, vector.shape, range(scale.rank, vector.rank))
    return build.mul(vector, build.expand(scale, vector.shape, range(scale.rank, vector.rank)))


def times(left: Value | None, right: Value | None) -> Value | None:
    """The product of two numbers or vectors, None being 1; a number is repeated along the axis of a vector."""
    if left is None or right is None:
        return right if left is None else left
    return scaled(left, right) if left.rank >= right.rank else scaled(right, left)


def plus(left: Value | None, right: Value | None) -> Value | None:
    """The sum, None being 0; the shorter one is repeated along the last axis."""
    if left is None or right is None:
        return right if left is None else left
    wide = left.shape if left.rank >= right.rank else right.shape
    return build.add(*(build.expand(each, wide, range(each.rank, len(wide))) for each in (left, right)))


def dot(left: Value, right: Value) -> Value:
    """The sums over the last axis of products, [*lanes]."""
    letters = build.LETTERS[: left.rank]
    return build.einsum(f"{letters},{letters}->{letters[:-1]}", left, right)


def ones(shape: Shape) -> Value:
    return build.full(shape, build.cast(ops.const(1), Kind.FLOAT))


def is_zero(value: Value) -> bool:
    """Whether the graph shows that all elements are zero."""
    while value.op in ("expand", "cast", "neg", "transpose", "reshape"):
        value = value.args[0]
    return not value.rank and exact(value) == 0


def _is_one(value: Value) -> bool:
    while value.op in ("expand", "cast"):
        value = value.args[0]
    return not value.rank and exact(value) == 1
