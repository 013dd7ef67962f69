"""Nonlinear recurrences whose whole trajectory is the solution of a system, found by Newton's method.

The unknowns of `h_t = f(h_{t-1}, x_t)` are all h_t at once.  From a trajectory H with the residual
r_t = f(H_{t-1}, x_t) - H_t a Newton step is d_t = J_t d_{t-1} + r_t, d_0 = 0, with J the Jacobian of f by the state at
H_{t-1}: an affine recurrence, hence a scan where J is diagonal or falls into small blocks.  Whatever stands in place of
J, after k steps the first k positions are exact.

Lim et al., 2024 (DEER, arXiv:2309.12252); Gonzalez et al., 2024 (quasi-DEER, arXiv:2407.19115); Danieli et al., 2025
(ParaRNN, arXiv:2510.21450).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from lsrl.ir.adjoint import FLAT
from lsrl.ir.cell import Cell, State
from lsrl.ir.dims import DimError, count
from lsrl.ir.facts.bounds import step_bounds
from lsrl.ir.facts.intervals import ALL, Interval
from lsrl.ir.facts.recurrence import Algebra, Recurrence, recurrences
from lsrl.ir.facts.relations import Coupling, meeting
from lsrl.ir.pipeline import Component, leaf_of
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.newton_quasi import unit_blocks
from lsrl.ir.traces import arriving, sensitivity
from lsrl.ir.value import Kind, Value, depends_on, postorder

MOST_STATES = 4
MOST_ROWS = 8
"""A composition of n x n matrices costs n^3 multiplications where the step costs n^2."""


@dataclass(frozen=True, slots=True)
class NewtonForm:
    """A recurrence with the Jacobian of its step.

    A lane is a group of elements, one or a few of each state, that meet no others: a recurrence of its own.  With the
    diagonal in place of a dense Jacobian, lanes are what the scan treats as such, though their elements meet.

    Attributes:
        states: in the order of declaration; `leaves` are their arriving values.
        reverse: from the last position to the first.
        lanes: for each state the axes along which its elements are in different lanes, in the same order for all.
        jacobian: `jacobian[i][j]` is the derivative of the next value of state i by state j: the axes of state i that
            are not lanes, then all axes of state j.
        bounds: for each state an interval that it never leaves when it starts in it, None where none is known.
        meeting: how many of the axes of lanes, the last ones, have elements that meet; 0 where the Jacobian is whole.
    """

    states: tuple[State, ...]
    reverse: bool
    lanes: tuple[tuple[int, ...], ...]
    jacobian: tuple[tuple[Value, ...], ...]
    bounds: tuple[Interval | None, ...]
    meeting: int = 0

    @property
    def leaves(self) -> tuple[Value, ...]:
        return tuple(arriving(state) for state in self.states)

    @property
    def computed(self) -> tuple[Value, ...]:
        """What every iteration computes: next states, then the Jacobian, row by row."""
        return (*(state.next for state in self.states), *chain.from_iterable(self.jacobian))

    @property
    def is_diagonal(self) -> bool:
        """Whether every lane is one number."""
        return len(self.states) == 1 and len(self.lanes[0]) == len(self.states[0].shape)

    @property
    def operands(self) -> tuple[Value, ...]:
        """What an iteration reads apart from the states: the last values of the cell's graph that need no state."""
        own = frozenset(postorder(state.next for state in self.states))
        tied = depends_on(self.computed, leaf_of(state.name for state in self.states))

        def known(value: Value) -> bool:
            return value in own and value not in tied

        return tuple(value for value in postorder(self.computed, stop=known) if known(value) and value.op != "const")

    @property
    def results(self) -> tuple[Value, ...]:
        """What it computes at every position: the arriving states, then the next ones."""
        return (*self.leaves, *dict.fromkeys(state.next for state in self.states))


def newton_form(
    cell: Cell, component: Component, sizes: Mapping[str, int] | None = None, *, quasi: bool = False
) -> NewtonForm:
    """The form of a recurrence of the cell.

    Args:
        sizes: the numbers of sizes, where they are known; they decide whether a block of the Jacobian is small.
        quasi: with the diagonal in place of blocks larger than a unit's.

    Raises:
        NotLegal: Newton's method does not serve it; says which fact is missing.
    """
    known = _recurrence(cell, component)
    _check_step(known)
    lanes = tuple(known.jacobian.lanes[state.name] for state in known.states)
    if quasi and not _by_units(known):
        return _quasi(cell, component, known, lanes)
    _check_blocks(known, lanes, sizes or {})
    rows = tuple(
        tuple(_entry(state, own, other, places) for other, places in zip(known.states, lanes, strict=True))
        for state, own in zip(known.states, lanes, strict=True)
    )
    return NewtonForm(known.states, bool(component.reverse), lanes, rows, _bounds(cell, known.states))


def _recurrence(cell: Cell, component: Component) -> Recurrence:
    if not component.cyclic:
        raise NotLegal(f"`{component.states[0].name}` does not feed back into itself")
    return next(each for each in recurrences(cell) if {s.name for s in each.states} == component.names)


def _check_step(known: Recurrence) -> None:
    """The step must be nonlinear, and smooth almost everywhere."""
    names, nexts = _listed(known.states, ""), _listed(known.states, "'")
    verb = "is" if len(known.states) == 1 else "are"
    for state in known.states:
        if state.kind is not Kind.FLOAT:
            raise NotLegal(f"`{state.name}` holds {state.kind} values, and Newton's method needs real ones", state.next)
    if known.algebra is not Algebra.NONLINEAR:
        raise NotLegal(f"{nexts} {verb} {known.algebra} in {names}: there is nothing to iterate", known.states[0].next)
    nexts_of = [state.next for state in known.states]
    tied = depends_on(nexts_of, leaf_of(state.name for state in known.states))
    for value in postorder(nexts_of):
        if value.op in FLAT and value.op != "stopgrad" and any(arg in tied for arg in value.args):
            raise NotLegal(f"`{value.op}` of what depends on {names} jumps, and no derivative shows it", value)


def _by_units(known: Recurrence) -> bool:
    return known.jacobian.kind in (Coupling.DIAGONAL, Coupling.PER_UNIT)


def _quasi(cell: Cell, component: Component, known: Recurrence, lanes: Sequence[tuple[int, ...]]) -> NewtonForm:
    """With the elements at one place of all states in place of those that meet."""
    rows = unit_blocks(known.states)
    if len({*lanes}) > 1:
        raise NotLegal(f"{_listed(known.states, '')} lie in different orders, so no diagonal joins them")
    rest = tuple(axis for axis in range(len(known.states[0].shape)) if axis not in lanes[0])
    every = ((*lanes[0], *rest),) * len(known.states)
    return NewtonForm(known.states, bool(component.reverse), every, rows, _bounds(cell, known.states), len(rest))


def _check_blocks(known: Recurrence, lanes: Sequence[tuple[int, ...]], sizes: Mapping[str, int]) -> None:
    """Each lane must be a few numbers."""
    if _by_units(known) and len(known.states) <= MOST_STATES:
        return
    rows = _rows(known.states, lanes, sizes)
    if rows is None or rows > MOST_ROWS:
        each = "for each head" if known.jacobian.kind is Coupling.PER_HEAD else "in all"
        many = "several numbers" if rows is None else f"{rows} numbers"
        whole = f"the Jacobian of {_listed(known.states, '')} is {known.jacobian.kind.value}"
        raise NotLegal(f"{whole}: {many} {each} meet, and {MOST_ROWS} are the most", meeting(known.states))


def _rows(states: Sequence[State], lanes: Sequence[tuple[int, ...]], sizes: Mapping[str, int]) -> int | None:
    """How many numbers a lane has; None where sizes are not known."""
    shapes = [
        tuple(dim for axis, dim in enumerate(state.shape) if axis not in own)
        for state, own in zip(states, lanes, strict=True)
    ]
    try:
        return sum(count(shape).evaluate(sizes) for shape in shapes)
    except (DimError, KeyError):
        return None


def _entry(state: State, own: tuple[int, ...], other: State, places: tuple[int, ...]) -> Value:
    """The derivative of a state's next value by another state."""
    lane_of = dict(zip(places, own, strict=True))
    return sensitivity(state.next, arriving(other), tuple(lane_of.get(axis) for axis in range(len(other.shape))))


def _bounds(cell: Cell, states: Sequence[State]) -> tuple[Interval | None, ...]:
    known = step_bounds(cell)
    found = [known[state.next] | known.get(arriving(state), known[state.next]) for state in states]
    return tuple(None if interval == ALL else interval for interval in found)


def _listed(states: Sequence[State], mark: str) -> str:
    names = [f"`{state.name}{mark}`" for state in states]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
