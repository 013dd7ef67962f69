"""Weights of a system that is solved in rounds: numbers for each element of a state, or matrices along one axis."""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.ir import build
from lsrl.ir.dims import Shape
from lsrl.ir.schedules.coefficients import Coefficient, constant, multiplied, repeated, times
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of states of one shape.

    A coefficient that names the axis of matrices has it twice, for rows and columns, behind its others; one that does
    not counts every element along it alike.

    Attributes:
        matrix: the axis of a state along which some weight is a matrix.
    """

    shape: Shape
    matrix: int | None

    def repeated(self, weight: Coefficient, axes: tuple[int, ...]) -> Value:
        """A weight with these axes, and behind them those of its matrix where any weight is one."""
        if self.matrix is None:
            return repeated(weight, axes, self.shape).value
        size = self.shape[self.matrix]
        if not self._is_matrix(weight):
            weight = self.joined(weight, Coefficient(build.eye(size), (self.matrix, self.matrix)))
        new = [place for place, axis in enumerate(axes) if axis not in weight.axes]
        return build.expand(weight.value, (*(self.shape[axis] for axis in axes), size, size), new)

    def joined(self, later: Coefficient, earlier: Coefficient) -> Coefficient:
        """The weight of two arcs one after the other."""
        if constant(1) in (later, earlier):
            return earlier if later == constant(1) else later
        matrices = [self._is_matrix(each) for each in (later, earlier)]
        if self.matrix is None or not any(matrices):
            return times(later, earlier)
        row, inner, column = (len(self.shape) + place for place in range(3))
        ends = [(row, inner), (inner, column)] if all(matrices) else [(row, column)] * 2
        operands = []
        for each, is_matrix, pair in zip((later, earlier), matrices, ends):
            lanes = tuple(axis for axis in each.axes if axis != self.matrix)
            operands.append((each.value, (*lanes, *(pair if is_matrix else ()))))
        lanes = tuple(sorted({*later.axes, *earlier.axes} - {self.matrix}))
        return Coefficient(multiplied(operands, (*lanes, row, column)), (*lanes, self.matrix, self.matrix))

    def weighed(self, weight: Coefficient, more: Value) -> Value:
        """A value of the shape of a state, times a weight."""
        if weight == constant(1):
            return more
        axes = tuple(range(more.rank))
        if not self._is_matrix(weight):
            new = [axis for axis in axes if axis not in weight.axes]
            return build.mul(build.expand(weight.value, more.shape, new), more)
        column = more.rank
        own = tuple(column if axis == self.matrix else axis for axis in axes)
        return multiplied([(weight.value, (*weight.axes[:-1], column)), (more, own)], axes)

    def _is_matrix(self, weight: Coefficient) -> bool:
        return self.matrix is not None and self.matrix in weight.axes
