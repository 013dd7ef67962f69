"""Affine maps of states, as sums of products.

A value that is affine in the states of a recurrence is `terms + rest`.  A term is one einsum: a state (its operand),
coefficients that do not depend on the states (its factors), and letters that say which axes go where:

    S[k, v]  k[k]  k[j]  b[]  ->  [j, v]        b * outer(k, k @ S)

A letter of the operand that the result has too is kept; one that it lacks is summed over; one of the result that the
operand lacks is created by a factor.  Letters are numbers and belong to one term: equal letters in two terms mean
nothing.  Coefficients and rests are values of the graph, so whoever schedules a recurrence can emit them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lsrl.ir import build, ops
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.fold import exact
from lsrl.ir.value import Kind, Value

Letters = tuple[int, ...]
MOST_LETTERS = len(build.LETTERS)


@dataclass(frozen=True, slots=True)
class Factor:
    """A coefficient and the letters of its axes.

    `selects`: it is a matrix of zeros and ones that only moves elements to other places, or drops some.
    """

    value: Value
    axes: Letters
    selects: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """A linear map of one state, with at most `MOST_LETTERS` letters.

    Attributes:
        leaf: the state as it arrives.
        operand: the leaf, or a linear function of it that is no einsum (a convolution, another shape).
        origin: for each axis of the operand, the axis of the leaf that it is, or None.
        axes: the letters of the operand.
        factors: the coefficients.
        result: the letters of the result.
        sign: 1 or -1.
        through: the operations between leaf and operand; their coefficients are inside of the operand.
    """

    leaf: Value
    operand: Value
    origin: tuple[int | None, ...]
    axes: Letters
    factors: tuple[Factor, ...]
    result: Letters
    sign: int = 1
    through: tuple[str, ...] = ()

    def size(self, letter: int) -> Dim:
        """The size of the axis that a letter stands for."""
        pairs = [*zip(self.axes, self.operand.shape), *(p for f in self.factors for p in zip(f.axes, f.value.shape))]
        return dict(pairs)[letter]

    def source(self, axis: int) -> int | None:
        """The letter of the leaf's axis `axis` in the operand, if it is there."""
        return next((letter for letter, place in zip(self.axes, self.origin) if place == axis), None)

    def keeps(self, axis: int) -> bool:
        """Whether axis `axis` of the result is that of the leaf, element for element."""
        return axis < len(self.result) and self.source(axis) == self.result[axis]


@dataclass(frozen=True, slots=True)
class LinearForm:
    """`terms + rest`, of shape `shape` and kind `kind`.

    `rest` is a value of that type that no term's state reaches; None is zero.
    """

    shape: Shape
    kind: Kind
    terms: tuple[Term, ...]
    rest: Value | None

    @property
    def coefficients(self) -> tuple[Value, ...]:
        """Every factor, each once, in order."""
        return tuple(dict.fromkeys(factor.value for term in self.terms for factor in term.factors))


def materialise(form: LinearForm) -> Value:
    """The value that a form stands for, built anew."""
    total = form.rest
    for term in form.terms:
        part = _fitted(term_value(term), form)
        total = part if total is None else build.add(total, part)
    return build.zeros(form.shape, form.kind) if total is None else _fitted(total, form)


def term_value(term: Term) -> Value:
    """One term as a value: an einsum of the operand and its coefficients, or the operand itself."""
    operands = [(term.operand, term.axes), *((factor.value, factor.axes) for factor in term.factors)]
    if len(operands) == 1 and term.axes == term.result:
        product = term.operand
    else:
        names: dict[int, str] = {}
        spec = ",".join(_spelt(axes, names) for _, axes in operands)
        product = build.einsum(f"{spec}->{_spelt(term.result, names)}", *(value for value, _ in operands))
    return product if term.sign == 1 else build.neg(product)


def fitted(value: Value, shape: Shape, kind: Kind) -> Value:
    """The value repeated to a shape if it is a scalar, and of a kind."""
    return build.full(shape, build.cast(value, kind))


@lru_cache(maxsize=256)  # coefficients meet few sizes, each again and again
def ones(dim: Dim) -> Value:
    """[dim]: a factor that repeats along a new axis."""
    return build.full((dim,), ops.const(1))


def is_ones(value: Value) -> bool:
    return value.op == "expand" and value.rank == 1 and exact(value.args[0]) == 1


def _fitted(value: Value, form: LinearForm) -> Value:
    return fitted(value, form.shape, form.kind)


def _spelt(axes: Sequence[int], names: dict[int, str]) -> str:
    """Letters for numbers, in order of first use."""
    return "".join(names.setdefault(axis, build.LETTERS[len(names)]) for axis in axes)
