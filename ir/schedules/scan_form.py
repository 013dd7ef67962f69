"""Recurrences whose steps compose cheaply, written out for an associative scan.

In each algebra a step is `h' = A * h + b` with its own sum and product, and two steps one after the other are again
such a step:

    (A1, b1) then (A2, b2)  =  (A2 * A1, A2 * b1 + b2)

The product is cheap where `A` is diagonal, or consists of small matrices that act on few numbers each.  Over (max, +),
(min, +) and (log-sum-exp, +) the product is an addition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsrl.ir import ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.linear import LinearForm
from lsrl.ir.facts.recurrence import Algebra, Recurrence, recurrences
from lsrl.ir.facts.semiring import SemiringForm
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.coefficients import Coefficient, added, constant, dense, diagonal, narrowed
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Kind, Value

MOST_STATES = 4
MOST_ROWS = 8
"""A composition of n x n matrices costs n^3 multiplications where the step costs n^2."""


@dataclass(frozen=True, slots=True)
class ScanForm:
    """States whose every element (or small group of elements) is a recurrence of its own.

    Attributes:
        states: all of one shape and kind.
        reverse: from the last position to the first.
        join: what adds up: "add", or "max", "min", "logaddexp", where coefficients are added to the state, not
            multiplied with it.
        leaves: the arriving values, in the order of the states.
        matrix: `matrix[i][j]` takes state j to the next value of state i; None is zero.
        rest: what each state's step adds to that, of the state's shape and kind; None is nothing.
        block: the axis of the only state along which `matrix[0][0]` holds matrices: its axes name it twice, row then
            column.  None: elements meet only those at the same place.
    """

    states: tuple[State, ...]
    reverse: bool
    join: str
    leaves: tuple[Value, ...]
    matrix: tuple[tuple[Coefficient | None, ...], ...]
    rest: tuple[Coefficient | None, ...]
    block: int | None = None

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """All that are there, row by row, each row followed by its rest."""
        rows = zip(self.matrix, self.rest)
        return tuple(each for row, added in rows for each in (*row, added) if each is not None)

    @property
    def operands(self) -> tuple[Value, ...]:
        """What must be known at every position before the scan, each value once."""
        return tuple(dict.fromkeys(coefficient.value for coefficient in self.coefficients))

    @property
    def results(self) -> tuple[Value, ...]:
        """What the scan computes at every position: the arriving states, then the next ones, each value once."""
        return tuple(dict.fromkeys((*self.leaves, *(state.next for state in self.states))))

    @property
    def is_diagonal(self) -> bool:
        """Whether a step is one number for each element."""
        return len(self.states) == 1 and self.block is None


def scan_form(cell: Cell, component: Component, sizes: Mapping[str, int] | None = None) -> ScanForm:
    """The form of a recurrence of the cell.

    Args:
        sizes: the numbers of sizes, where they are known; they decide whether a matrix is small.

    Raises:
        NotLegal: its steps do not compose cheaply; says which fact is missing.
    """
    known = _recurrence(cell, component)
    for state in known.states:
        if state.kind not in (Kind.FLOAT, Kind.COMPLEX):
            raise NotLegal(f"`{state.name}` holds {state.kind} values, and a scan composes maps of numbers", state.next)
    if known.semiring is not None:
        return _semiring(known, bool(component.reverse), known.semiring)
    if known.algebra is not Algebra.AFFINE:
        raise NotLegal(_nonlinear(known), known.offenders[0] if known.offenders else None)
    if len(known.forms) < len(known.states):
        raise NotLegal(f"the step of `{known.states[0].name}` is a product of maps that is too long to multiply out")
    if len(known.states) == 1:
        return _single(known, bool(component.reverse), sizes or {})
    return _coupled(known, bool(component.reverse))


def are_alike(states: Sequence[State]) -> bool:
    """Whether states are few and of one type; others have no scan, which is known before all else about them."""
    return len(states) <= MOST_STATES and len({(state.shape, state.kind) for state in states}) == 1


def _recurrence(cell: Cell, component: Component) -> Recurrence:
    if not component.cyclic:
        raise NotLegal(f"`{component.states[0].name}` does not feed back into itself")
    return next(each for each in recurrences(cell) if {s.name for s in each.states} == component.names)


def _nonlinear(known: Recurrence) -> str:
    following = _listed([f"`{state.name}'`" for state in known.states])
    verb = "is" if len(known.states) == 1 else "are"
    return f"{following} {verb} not affine in {_listed([f'`{state.name}`' for state in known.states])}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _semiring(known: Recurrence, reverse: bool, form: SemiringForm) -> ScanForm:
    shift = constant(0) if form.shift is None else narrowed(form.shift)
    rest = None if form.rest is None else added(form.rest, form.leaf)
    return ScanForm(known.states, reverse, form.join, known.leaves, ((shift,),), (rest,))


def _single(known: Recurrence, reverse: bool, sizes: Mapping[str, int]) -> ScanForm:
    """One state: a number for each element, or a matrix along one short axis."""
    (state,) = known.states
    form = known.forms[state.name]
    _refuse_operations(state, form)
    mixed = [axis for axis in range(len(state.shape)) if not all(term.keeps(axis) for term in form.terms)]
    if not mixed:
        matrix = diagonal(form.terms, state.shape)
    else:
        _refuse_wide(state, mixed, sizes)
        matrix = dense(form.terms, state.shape, mixed[0])
    block = mixed[0] if mixed else None
    return ScanForm(known.states, reverse, "add", known.leaves, ((matrix,),), (_rest(form, known.leaves[0]),), block)


def _coupled(known: Recurrence, reverse: bool) -> ScanForm:
    """A few states of one shape whose elements meet only at the same place."""
    names = _listed([f"`{state.name}`" for state in known.states])
    if len(known.states) > MOST_STATES:
        raise NotLegal(f"{names} are {len(known.states)} states that need each other; a scan takes up to {MOST_STATES}")
    if not are_alike(known.states):
        raise NotLegal(f"{names} differ in shape or kind, so their elements do not pair up")
    for state in known.states:
        form = known.forms[state.name]
        _refuse_operations(state, form)
        axes = range(len(state.shape))
        if not all(term.keeps(axis) for term in form.terms for axis in axes):
            raise NotLegal(f"`{state.name}'` mixes elements of {names} at different places", state.next)
    rows = tuple(tuple(_entry(known.forms[s.name], leaf) for leaf in _ordered(known)) for s in known.states)
    rests = tuple(_rest(known.forms[state.name], leaf) for state, leaf in zip(known.states, _ordered(known)))
    return ScanForm(known.states, reverse, "add", _ordered(known), rows, rests)


def _ordered(known: Recurrence) -> tuple[Value, ...]:
    """The leaves in the order of the states, those included that no next value reads."""
    by_name = {str(leaf.attr("name")): leaf for leaf in known.leaves}
    return tuple(by_name.get(s.name) or ops.state(s.name, s.axes[0], s.shape, s.kind, s.domain) for s in known.states)


def _entry(form: LinearForm, leaf: Value) -> Coefficient | None:
    return diagonal([term for term in form.terms if term.leaf is leaf], form.shape)


def _rest(form: LinearForm, leaf: Value) -> Coefficient | None:
    return None if form.rest is None else added(form.rest, leaf)


def _refuse_operations(state: State, form: LinearForm) -> None:
    for term in form.terms:
        if term.through:
            raise NotLegal(
                f"`{state.name}` goes through {term.through[0]}, which moves or mixes its elements", state.next
            )


def _refuse_wide(state: State, mixed: Sequence[int], sizes: Mapping[str, int]) -> None:
    if len(mixed) > 1:
        raise NotLegal(f"the step of `{state.name}` mixes elements along {len(mixed)} of its axes", state.next)
    dim = state.shape[mixed[0]]
    rows = dim.evaluate(sizes) if dim.names <= sizes.keys() else None
    if rows is None or rows > MOST_ROWS:
        along = f"{dim}" if rows is None or str(dim) == str(rows) else f"{dim} = {rows}"
        raise NotLegal(
            f"the step of `{state.name}` mixes all elements along an axis of {along}, "
            f"and composing matrices is cheap up to {MOST_ROWS} rows",
            state.next,
        )
