"""The structure of an affine recurrence: what its transition does along each axis of the state.

Read off the terms of a form.  Along one axis a term either keeps every element where it is (the identity, or a
diagonal matrix when a coefficient varies along the axis), or multiplies by a matrix.  That matrix is `u v^T`, of rank
one, when nothing connects the letter it creates with the letter it sums over; otherwise it is dense.  Terms of rank
one whose left vectors, or whose right vectors, are the same make one: hence the rank of a sum of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lsrl.ir.facts.linear import Factor, Letters, LinearForm, Term
from lsrl.ir.graphs import reached
from lsrl.ir.value import Kind, Value

STENCILS = ("conv", "conv_dx", "conv_dw")


class Along(StrEnum):
    """What a transition does along one axis, from special to general."""

    NONE = "none"
    IDENTITY = "identity"
    DIAGONAL = "diagonal"
    LOW_RANK = "low rank"
    MOVES = "moves elements"
    STENCIL = "stencil"
    DENSE = "dense"


class Transition(StrEnum):
    """A transition as a whole, from special to general."""

    NONE = "none"
    IDENTITY = "identity"
    SCALAR = "scalar"
    DIAGONAL = "diagonal"
    SEPARABLE = "separable"
    LOW_RANK = "diagonal + low rank"
    PRODUCT = "product of diagonal + low rank"
    MOVES = "moves elements"
    STENCIL = "stencil"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class AxisStructure:
    """One axis of the state.

    Attributes:
        along: the most general thing that any term does.
        base: what the terms that keep the axis do: `NONE` where there is no such term, `IDENTITY` or `DIAGONAL`.
        rank: of the matrix that is added to the base, at most; 0 but for `LOW_RANK`.
        head: every coefficient and every contribution has this axis, so that each element lives a life of its own.
    """

    along: Along
    base: Along
    rank: int = 0
    head: bool = False


@dataclass(frozen=True, slots=True)
class Structure:
    """The transition of one state, from itself to itself.

    Attributes:
        kind: the whole.
        axes: one for each axis of the state.
        kinds: whether coefficients are real or complex.
        coefficients: the factors of the terms.
        factors: of a product, the structure of each factor, the one that acts first first; else empty.
    """

    kind: Transition
    axes: tuple[AxisStructure, ...]
    complex: bool
    coefficients: tuple[Value, ...]
    factors: tuple[Structure, ...] = ()


def structure(form: LinearForm, leaf: Value, heads: frozenset[int] = frozenset()) -> Structure:
    """The structure of the part of a form that is linear in `leaf`, a value of the form's shape.

    Args:
        heads: the axes along which every element lives a life of its own.
    """
    terms = [term for term in form.terms if term.leaf is leaf]
    axes = tuple(_axis(terms, axis, axis in heads) for axis in range(leaf.rank))
    factors = dict.fromkeys(factor.value for term in terms for factor in term.factors)
    is_complex = any(value.kind is Kind.COMPLEX for value in factors)
    return Structure(_whole(terms, axes), axes, is_complex, tuple(factors))


def product(factors: Sequence[Structure]) -> Structure:
    """The structure of maps that act one after the other; plain ones join their neighbour."""
    mixing = [factor for factor in factors if factor.kind is Transition.LOW_RANK]
    axes = tuple(_joined([factor.axes[axis] for factor in factors]) for axis in range(len(factors[0].axes)))
    coefficients = tuple(dict.fromkeys(value for factor in factors for value in factor.coefficients))
    is_complex = any(factor.complex for factor in factors)
    kind = Transition.PRODUCT if len(mixing) > 1 else max((f.kind for f in factors), key=list(Transition).index)
    return Structure(kind, axes, is_complex, coefficients, tuple(factors) if len(mixing) > 1 else ())


def _joined(axes: Sequence[AxisStructure]) -> AxisStructure:
    along = _most(each.along for each in axes)
    base = _least(each.base for each in axes)
    return AxisStructure(along, base, sum(each.rank for each in axes), axes[0].head)


def _least(bases: Iterable[Along]) -> Along:
    """The base of a product: none if one factor has none."""
    found = set(bases)
    return Along.NONE if Along.NONE in found else _most(found)


def _most(kinds: Iterable[Along]) -> Along:
    return max(kinds, key=list(Along).index, default=Along.NONE)


def _axis(terms: Sequence[Term], axis: int, head: bool) -> AxisStructure:
    kept = [term for term in terms if term.keeps(axis)]
    base = _most(_kept(term, axis) for term in kept)
    acting = [term for term in terms if not term.keeps(axis)]
    along = _most([base, *(_acting(term, axis) for term in acting)])
    rank = _rank(acting, axis) if along is Along.LOW_RANK else 0
    return AxisStructure(along, base, rank, head)


def _kept(term: Term, axis: int) -> Along:
    """Coefficients inside of an operand that went through other operations are not known: they may vary."""
    letter = term.result[axis]
    varies = term.through or any(letter in factor.axes for factor in term.factors)
    return Along.DIAGONAL if varies else Along.IDENTITY


def _acting(term: Term, axis: int) -> Along:
    if any(op in STENCILS for op in term.through):
        return Along.STENCIL
    created = term.result[axis] if axis < len(term.result) else None
    summed = term.source(axis)
    if created is None or summed is None or created in term.axes or term.through:
        return Along.DENSE
    left, right = _connected(term, created), _connected(term, summed)
    if summed in left:
        return Along.MOVES if _selects(term, left) else Along.DENSE
    others = {*term.axes, *term.result} - {created, summed} - _lanes(term)
    return Along.DENSE if others & (left | right) else Along.LOW_RANK


def _rank(terms: Sequence[Term], axis: int) -> int:
    """At most as many as there are different left vectors, or right ones."""
    left = {_vector(term, term.result[axis]) for term in terms}
    right = {_vector(term, letter) for term in terms if (letter := term.source(axis)) is not None}
    return min(len(left), len(right))


def _lanes(term: Term) -> frozenset[int]:
    """The letters that the term keeps: for each of their places it is another matrix."""
    return frozenset(term.result[axis] for axis in range(len(term.result)) if term.keeps(axis))


def _connected(term: Term, letter: int) -> frozenset[int]:
    """The letters that factors connect with one, lanes aside."""
    lanes = _lanes(term)
    return reached(letter, ([each for each in factor.axes if each not in lanes] for factor in term.factors))


def _selects(term: Term, letters: frozenset[int]) -> bool:
    return all(factor.selects for factor in term.factors if letters & set(factor.axes))


def _vector(term: Term, letter: int) -> frozenset[tuple[Value, Letters]]:
    """What makes a vector of a term of rank one: its factors, with letters that do not depend on the term."""
    letters = _connected(term, letter)
    own = [factor for factor in term.factors if letters & set(factor.axes)]
    return frozenset((factor.value, _relative(factor, letter, term)) for factor in own)


def _relative(factor: Factor, letter: int, term: Term) -> Letters:
    """0 for the vector's own axis, the place in the result for a lane, below zero for what is summed over."""
    lanes = _lanes(term)
    return tuple(0 if a == letter else 1 + term.result.index(a) if a in lanes else -1 - a for a in factor.axes)


def _whole(terms: Sequence[Term], axes: Sequence[AxisStructure]) -> Transition:
    if not terms:
        return Transition.NONE
    match _most(axis.along for axis in axes):
        case Along.DENSE:
            return Transition.DENSE
        case Along.STENCIL:
            return Transition.STENCIL
        case Along.MOVES:
            return Transition.MOVES
        case Along.LOW_RANK:
            return Transition.LOW_RANK
    if len(terms) == 1 and not terms[0].factors and not terms[0].through and terms[0].sign == 1:
        return Transition.IDENTITY
    diagonal = [axis for axis, each in enumerate(axes) if each.along is Along.DIAGONAL]
    varying = [axis for axis in diagonal if not axes[axis].head]
    if not varying and len(diagonal) < max(len(axes), 1):
        return Transition.SCALAR  # one for each head, where there are heads
    return Transition.SEPARABLE if len(varying) > 1 and _separates(terms, varying) else Transition.DIAGONAL


def _separates(terms: Sequence[Term], varying: Sequence[int]) -> bool:
    """Whether the diagonal is a product of vectors, one for each axis."""
    if len(terms) > 1 or terms[0].through:
        return False
    letters = {terms[0].result[axis] for axis in varying}
    return all(len(letters & set(factor.axes)) < 2 for factor in terms[0].factors)
