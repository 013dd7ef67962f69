"""What later work needs of a matrix state: products with vectors, so that no state is kept at every position.

Values that depend on the state are one of three: whole (they still have its rows and its columns), read (affine in the
state as it arrives and as it is passed on, and one of its two axes summed over), or free (made from what is read).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.linear import Letters, LinearForm, Term, fitted
from lsrl.ir.schedules.chunk_form_groups import Group, connected, culprit, others
from lsrl.ir.schedules.chunk_form_parts import Read, ReadTerm, Side
from lsrl.ir.schedules.chunk_form_values import Axes, product, signed
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value, depends_on, postorder

_ALL = "all of its state is wanted at every position, not only products with vectors"


def reads(cell: Cell, state: State, leaf: Value, axes: Axes) -> tuple[Read, ...]:
    """The reads that everything needs which is wanted beyond the state.

    Raises:
        NotLegal: something needs more than products of the state with vectors.
    """
    found = frontier(cell, [state], [leaf], axes)
    return tuple(_read(value, form, leaf, axes) for value, form in found.items())


def frontier(
    cell: Cell, states: Sequence[State], leaves: Sequence[Value], axes: Axes
) -> dict[Value, LinearForm | None]:
    """The first values without rows or columns on the way from states of one shape to what is wanted beyond them.

    Returns:
        Their forms in the states as they arrive and as they are passed on; None where one is not affine in them.
    """
    sources = (*leaves, *(state.next for state in states))
    dependent = depends_on(cell.roots(), frozenset(leaves).__contains__)
    tied = tuple(value for value in postorder(cell.roots()) if value in dependent)
    forms = dict(zip(tied, read_affine(tied, sources)[0]))
    whole = _whole(tied, forms, axes, sources)
    wanted = [*(output.value for output in cell.outputs), *(s.next for s in cell.states if s not in states)]
    found: dict[Value, LinearForm | None] = {}
    seen: set[Value] = set()
    stack = wanted[::-1]
    while stack:
        value = stack.pop()
        if value in seen or value not in forms:
            continue
        seen.add(value)
        if value in whole or not whole.isdisjoint(value.args):
            found[value] = forms[value]
        else:
            stack += reversed(value.args)
    return found


def _whole(
    tied: Sequence[Value], forms: Mapping[Value, LinearForm | None], axes: Axes, states: Collection[Value]
) -> frozenset[Value]:
    """The values that still have rows and columns, and those made of them by what is not affine."""
    both = (axes.rows,) if axes.columns is None else (axes.rows, axes.columns)
    found = set(states)
    for value in tied:
        form = forms[value]
        if found.isdisjoint(value.args):
            is_whole = False  # made of what is read, whose axes may have become others: `reshape(q @ S', [N*V])`
        elif form is None:
            is_whole = True
        else:
            is_whole = any(t.through or all(t.source(axis) in t.result for axis in both) for t in form.terms)
        if is_whole:
            found.add(value)
    return frozenset(found)


def _read(value: Value, form: LinearForm | None, leaf: Value, axes: Axes) -> Read:
    if form is None:
        raise NotLegal(_ALL, value)
    terms = [(_term(term, leaf, axes, value)) for term in form.terms]
    perms = {perm for _, perm in terms}
    if len(perms) > 1:
        raise NotLegal("what is wanted of its state sums over rows and over columns at once", value)
    rest = None if form.rest is None else fitted(form.rest, form.shape, form.kind)
    return Read(value, tuple(term for term, _ in terms), rest, perms.pop())


@dataclass(frozen=True, slots=True)
class TermParts:
    """A product of a state with a vector, taken apart.

    Attributes:
        vector, scale, numbers: the factors along the axis that is summed over, along the one that is kept, and others.
        side: the axis that is summed over.
        over, along: the letters of the vector, [*lanes, summed], and of what is read, [*lanes, kept].
    """

    vector: Group
    scale: Group
    numbers: Group
    side: Side
    over: Letters
    along: Letters


def term_parts(term: Term, axes: Axes, value: Value) -> TermParts:
    """A term of the form of `value` as a product with a vector.

    Raises:
        NotLegal: it is none.
    """
    lanes = tuple(term.source(axis) for axis in axes.lanes)
    side = Side.ROWS if term.source(axes.rows) not in term.result else Side.COLUMNS
    over, along = (axes.rows, axes.columns) if side is Side.ROWS else (axes.columns, axes.rows)
    summed = None if over is None else term.source(over)
    kept = lanes if along is None else (*lanes, term.source(along))
    if term.through or summed is None or summed in term.result or sorted(term.result) != sorted(map(_known, kept)):
        raise NotLegal(_ALL, value)
    letters = tuple(map(_known, kept))
    by_vector, reached = connected(term.factors, summed, letters[: len(lanes)])
    by_scale = () if along is None else connected(term.factors, letters[-1], letters[: len(lanes)])[0]
    if along is not None and letters[-1] in reached:
        raise NotLegal("what reads its state is a matrix, not a vector", culprit(by_vector, summed, letters[-1]))
    numbers = others(term.factors, by_vector, by_scale)
    return TermParts(by_vector, by_scale, numbers, side, (*letters[: len(lanes)], summed), letters)


def _term(term: Term, leaf: Value, axes: Axes, value: Value) -> tuple[ReadTerm, tuple[int, ...]]:
    """A product of the state with a vector, and which axis of `[*lanes, kept]` each axis of the result is."""
    parts = term_parts(term, axes, value)
    over, along = (axes.rows, axes.columns) if parts.side is Side.ROWS else (axes.columns, axes.rows)
    vector = product((*parts.vector, *parts.numbers), parts.over, axes.dims(axes.vector(over)))
    scale = product(parts.scale, parts.along, axes.dims(axes.vector(along))) if parts.scale else None
    read = ReadTerm(signed(vector, term.sign), parts.side, term.leaf is not leaf, scale)
    return read, tuple(parts.along.index(letter) for letter in term.result)


def _known(letter: int | None) -> int:
    return -1 if letter is None else letter
