"""What later work needs of a matrix state: products with vectors, so that no state is kept at every position.

Values that depend on the state are one of three: whole (they still have its rows and its columns), read (affine in the
state as it arrives and as it is passed on, and one of its two axes summed over), or free (made from what is read).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.linear import LinearForm, Term, fitted
from lsrl.ir.schedules.chunk_form_groups import connected, culprit, others
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
    dependent = depends_on(cell.roots(), lambda value: value is leaf)
    tied = tuple(value for value in postorder(cell.roots()) if value in dependent)
    forms = dict(zip(tied, read_affine(tied, [leaf, state.next])[0]))
    whole = _whole(tied, forms, axes, (leaf, state.next))
    wanted = [*(output.value for output in cell.outputs), *(s.next for s in cell.states if s.name != state.name)]
    found: dict[Value, Read] = {}
    seen: set[Value] = set()
    stack = wanted[::-1]
    while stack:
        value = stack.pop()
        if value in seen or value not in forms:
            continue
        seen.add(value)
        if value in whole or not whole.isdisjoint(value.args):
            found[value] = _read(value, forms[value], leaf, axes)
        else:
            stack += reversed(value.args)
    return tuple(found.values())


def _whole(
    tied: Sequence[Value], forms: Mapping[Value, LinearForm | None], axes: Axes, states: tuple[Value, Value]
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


def _term(term: Term, leaf: Value, axes: Axes, value: Value) -> tuple[ReadTerm, tuple[int, ...]]:
    """A product of the state with a vector, and which axis of `[*lanes, kept]` each axis of the result is."""
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
    factors = (*by_vector, *others(term.factors, by_vector, by_scale))
    vector = product(factors, (*letters[: len(lanes)], summed), axes.dims(axes.vector(over)))
    scale = product(by_scale, letters, axes.dims(axes.vector(along))) if by_scale else None
    read = ReadTerm(signed(vector, term.sign), side, term.leaf is not leaf, scale)
    return read, tuple(letters.index(letter) for letter in term.result)


def _known(letter: int | None) -> int:
    return -1 if letter is None else letter
