"""Which recurrences over a grid run in tiles element by element: affine in some algebra, in elements of one place.

    R' = a * R + b * D + u        D' = c * D        m' = logaddexp(m + p, n + q)        n' = max(m, n) + s

Every element of the states is a recurrence of its own, so tiles are made of numbers, where those of
`lsrl.ir.schedules.grid_form` are made of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl.ir import ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.recurrence import Algebra, Recurrence, joint
from lsrl.ir.facts.semiring import SemiringSum
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.coefficients import Coefficient, added, diagonal, narrowed
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.scan_form import ScanForm
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class ElementForm:
    """A recurrence over a grid, element by element.

    Attributes:
        scan: its step, as that of a scan.
        rank: how many axes the grid has.
        axes: the number of the axis of the grid that each state travels along.
        reverse: the numbers of the axes on which it runs from the last place to the first.
    """

    scan: ScanForm
    rank: int
    axes: tuple[int, ...]
    reverse: tuple[int, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        """What must be computed before, each once."""
        return self.scan.operands

    @property
    def results(self) -> tuple[Value, ...]:
        """What it makes for all places: the arriving states, then the next ones."""
        return self.scan.results


def element_form(cell: Cell, component: Component) -> ElementForm:
    """The form of a recurrence; it holds for all sizes.

    Raises:
        NotLegal: it has none; says which fact is missing.
    """
    known = joint(cell, component)
    names = " and ".join(f"`{state.name}`" for state in known.states)
    first = known.states[0]
    for state in known.states:
        if state.kind not in (Kind.FLOAT, Kind.INT) or state.kind is not first.kind:
            raise NotLegal(f"`{state.name}` holds {state.kind} values, and tiles those of real numbers", state.next)
        if state.shape != first.shape:
            raise NotLegal(f"`{first.name}` and `{state.name}` differ in shape, so they do not pair up", state.next)
    if known.algebra is Algebra.NONLINEAR:
        verb = "is" if len(known.states) == 1 else "are"
        nexts = " and ".join(f"`{state.name}'`" for state in known.states)
        raise NotLegal(f"{nexts} {verb} not affine in {names}", next(iter(known.offenders), first.next))
    if first.kind is Kind.INT and known.algebra is not Algebra.AFFINE:
        kind = f"`{first.name}` holds {first.kind} values, of which none is infinite"
        raise NotLegal(f"{kind}, and tiles of what is {known.algebra} begin with one that is")
    leaves = _ordered(known)
    affine = known.algebra is Algebra.AFFINE
    rows = [_affine(known, s, leaves) if affine else _semiring(known.semirings[s.name], leaves) for s in known.states]
    matrix, rest = zip(*rows)
    join = "add" if affine else known.semirings[first.name].join
    scan = ScanForm(known.states, bool(component.reverse), join, leaves, matrix, rest)
    turned = tuple(number for number, axis in enumerate(cell.axes) if axis in component.reverse)
    return ElementForm(scan, len(cell.axes), tuple(cell.axes.index(s.axes[0]) for s in known.states), turned)


_Step = tuple[tuple[Coefficient | None, ...], Coefficient | None]
"""By what each of the arriving states is multiplied in a next one, and what is added."""


def _affine(known: Recurrence, state: State, leaves: Sequence[Value]) -> _Step:
    form = known.forms.get(state.name)
    if form is None:
        raise NotLegal(f"the step of `{state.name}` is a product of maps that is too long to multiply out", state.next)
    for term in form.terms:
        if term.through or not all(map(term.keeps, range(len(term.result)))):
            raise NotLegal(f"`{state.name}'` mixes elements of its states at different places", state.next)
    rest = None if form.rest is None else added(form.rest, leaves[0])
    return tuple(diagonal([term for term in form.terms if term.leaf is leaf], form.shape) for leaf in leaves), rest


def _semiring(form: SemiringSum, leaves: Sequence[Value]) -> _Step:
    shifts = tuple(narrowed(form.shifts[leaf]) if leaf in form.shifts else None for leaf in leaves)
    return shifts, None if form.rest is None else added(form.rest, leaves[0])


def _ordered(known: Recurrence) -> tuple[Value, ...]:
    """The leaves in the order of the states, those included that no next value reads."""
    by_name = {str(leaf.attr("name")): leaf for leaf in known.leaves}
    return tuple(by_name.get(s.name) or ops.state(s.name, s.axes[0], s.shape, s.kind, s.domain) for s in known.states)
