"""Coefficients of transitions as values of the graph, never larger than what they vary along.

A decay per head times a state [head, K, V] stays one number per head; whoever runs the recurrence repeats it where it
is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from lsrl.ir import build
from lsrl.ir.dims import Shape
from lsrl.ir.facts.factors import without_axis
from lsrl.ir.facts.linear import Factor, Letters, Term, fitted
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A value whose axes are some of a state's.

    Attributes:
        value: of a float or complex kind.
        axes: for each axis of the value the axis of the state that it goes along, ascending; matrices have one axis
            twice, its rows and then its columns.
    """

    value: Value
    axes: tuple[int, ...]


def constant(number: int) -> Coefficient:
    """A number, the same for every element."""
    return Coefficient(build.cast(build.value(number), Kind.FLOAT), ())


def narrowed(value: Value) -> Coefficient:
    """A value of the state's shape (or a scalar) without the axes along which the graph shows it to be constant."""
    axes = list(range(value.rank))
    for axis in reversed(range(value.rank)):
        smaller = without_axis(value, axis)
        if smaller is not None:
            value = smaller
            del axes[axis]
    return Coefficient(number(value), tuple(axes))


def diagonal(terms: Sequence[Term], shape: Shape) -> Coefficient | None:
    """What terms that keep every axis multiply each element by; None where there are no terms."""
    return _total([_product(term, term.factors, term.result) for term in terms], shape)


def dense(terms: Sequence[Term], shape: Shape, axis: int) -> Coefficient | None:
    """The matrices along one axis by which terms that keep all others multiply.

    Its axes name `axis` twice: the row (the element that becomes) and, after it, the column (the one that arrives).
    """
    sizes = (*shape[: axis + 1], *shape[axis:])
    total = _total([_dense(term, sizes, axis) for term in terms], sizes)
    return total and Coefficient(total.value, tuple(place - (place > axis) for place in total.axes))


def added(value: Value, like: Value) -> Coefficient:
    """What a step adds to the state `like`, repeated to its shape and of its kind."""
    return Coefficient(fitted(value, like.shape, like.kind), tuple(range(like.rank)))


def _dense(term: Term, sizes: Shape, axis: int) -> Coefficient:
    """One term's matrices; its axes are places in `sizes`, which has columns after rows."""
    row, column, factors = term.result[axis], term.source(axis), term.factors
    assert column is not None, "a term whose state went through other operations has no matrix"
    if column == row:
        column = -1  # a letter that no term has
        factors = (*factors, Factor(build.eye(sizes[axis]), (row, column)))
    found = _product(term, factors, (*term.result[: axis + 1], column, *term.result[axis + 1 :]))
    return repeated(found, {*found.axes, axis, axis + 1}, sizes)


def _product(term: Term, factors: Sequence[Factor], letters: Letters) -> Coefficient:
    """The signed product of factors; letters that are not among `letters` are summed over."""
    used = {letter for factor in factors for letter in factor.axes}
    kept = tuple(letter for letter in letters if letter in used)
    value = multiplied([(number(factor.value), factor.axes) for factor in factors], kept)
    return Coefficient(build.neg(value) if term.sign < 0 else value, tuple(letters.index(letter) for letter in kept))


def multiplied(operands: Sequence[tuple[Value, Letters]], result: Letters) -> Value:
    """Element by element where the axes allow it, since that joins the operations around it; else an einsum."""
    if all(axes in ((), result) for _, axes in operands):
        return reduce(build.mul, (value for value, _ in operands)) if operands else constant(1).value
    names: dict[int, str] = {}
    spelt = ["".join(names.setdefault(axis, build.LETTERS[len(names)]) for axis in axes) for _, axes in operands]
    spec = f"{','.join(spelt)}->{''.join(names[axis] for axis in result)}"
    return build.einsum(spec, *(value for value, _ in operands))


def _total(parts: Sequence[Coefficient], shape: Shape) -> Coefficient | None:
    """The sum, each part repeated along the axes that another one has."""
    if not parts:
        return None
    axes = {axis for part in parts for axis in part.axes}
    total = repeated(parts[0], axes, shape)
    for part in parts[1:]:
        total = Coefficient(build.add(total.value, repeated(part, axes, shape).value), total.axes)
    return total


def times(left: Coefficient, right: Coefficient) -> Coefficient:
    """The product, with the axes that either has."""
    axes = tuple(sorted({*left.axes, *right.axes}))
    return Coefficient(multiplied([(left.value, left.axes), (right.value, right.axes)], axes), axes)


def repeated(part: Coefficient, axes: Iterable[int], shape: Shape) -> Coefficient:
    """The coefficient repeated along those of `axes` of a state of a shape that it does not have."""
    whole = tuple(sorted(axes))
    new = [place for place, axis in enumerate(whole) if axis not in part.axes]
    return Coefficient(build.expand(part.value, tuple(shape[axis] for axis in whole), new), whole)


def number(value: Value) -> Value:
    """Bools and whole numbers as floats."""
    return value if value.kind in (Kind.FLOAT, Kind.COMPLEX) else build.cast(value, Kind.FLOAT)
