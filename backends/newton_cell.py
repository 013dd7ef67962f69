"""The step of a recurrence that Newton's method solves, as a cell without states: what every iteration computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from lsrl.backends.expressions import tupled
from lsrl.ir import ops
from lsrl.ir.cell import Cell, Distribution, Input, Output, Param, State
from lsrl.ir.facts.intervals import Interval
from lsrl.ir.laws import simplify
from lsrl.ir.pipeline import VARYING, components
from lsrl.ir.schedules.how import Newton
from lsrl.ir.schedules.newton_form import NewtonForm, newton_form
from lsrl.ir.substitute import moved_names, moved_spans, rebuild
from lsrl.ir.value import Value, depends_on, postorder

TOLD = ("iterations", "fallback", "residual")
"""What the runtime's `newton` tells about each sequence."""
SLOW = 32
"""Iterations at most where the diagonal stands in place of the Jacobian, so that convergence is linear."""


@dataclass(frozen=True, slots=True)
class NewtonStep:
    """What the iterations of a recurrence need.

    Attributes:
        form: of the recurrence.
        reads, statics: the values around it, of every position and the same at all of them, that a step needs.
        cell: without states.  Inputs: the reads, then the arriving states; params: the statics; all under the
            identifiers that they have outside.  Outputs: the next states, then the Jacobian, row by row.
    """

    form: NewtonForm
    reads: tuple[Value, ...]
    statics: tuple[Value, ...]
    cell: Cell

    @property
    def step(self) -> Cell:
        """The next states alone."""
        return replace(self.cell, outputs=self.cell.outputs[: len(self.form.states)])

    @property
    def jacobian(self) -> Cell:
        """The Jacobian alone."""
        return replace(self.cell, outputs=self.cell.outputs[len(self.form.states) :])


def newton_step(
    cell: Cell,
    states: tuple[State, ...],
    sizes: Mapping[str, int],
    how: Newton,
    name: Callable[[Value], str],
    is_number: Callable[[Value], bool],
) -> NewtonStep:
    """The step of one recurrence of a cell.

    Args:
        states: of the recurrence.
        sizes: the number of every size.
        how: which Jacobian.
        name: the identifier of a value.
        is_number: whether a value is written as a number wherever it is used.

    Raises:
        NotLegal: Newton's method does not serve it.
    """
    names = {state.name for state in states}
    part = next(part for part in components(cell) if part.names == names)
    form = newton_form(cell, part, sizes, quasi=how.quasi)
    varying = depends_on(cell.roots(), lambda value: value.op in VARYING)
    taken = [v for v in form.operands if v.op not in ("const", "iota") and not is_number(v)]
    reads = tuple(value for value in taken if value in varying)
    statics = tuple(value for value in taken if value not in varying)
    inputs = [Input(name(v), v.shape, v.kind) for v in (*reads, *form.leaves)]
    params = [Param(name(v), v.shape, v.kind, Distribution("normal")) for v in statics]
    table = {v: ops.leaf("input", i.name, v.shape, v.kind) for v, i in zip((*reads, *form.leaves), inputs, strict=True)}
    table |= {v: ops.leaf("param", p.name, v.shape, v.kind) for v, p in zip(statics, params, strict=True)}
    done = rebuild(form.computed, {old: new for old, new in table.items() if new is not old})
    flat = replace(
        cell,
        name=f"{cell.name} step",
        inputs=tuple(inputs),
        params=tuple(params),
        noises=(),
        states=(),
        outputs=tuple(Output(name, done[v]) for name, v in zip(_names(form), form.computed, strict=True)),
        names=moved_names({v: n for v, n in cell.names.items() if v in done}, done),
        spans=moved_spans({v: places for v, places in cell.spans.items() if v in done}, done),
    )
    return NewtonStep(form, reads, statics, _pruned(simplify(flat)))


def options(step: NewtonStep, how: Newton, reverse: bool) -> Iterator[str]:
    """The arguments by name of the runtime's `newton`."""
    form = step.form
    yield f"lanes={form.lanes}"
    yield f"bounds={tupled([_interval(each) for each in form.bounds])}"
    if form.meeting:
        yield f"meeting={form.meeting}"
    if how.window:
        yield f"window={how.window}"
    if how.iterations or form.meeting:
        yield f"iterations={how.iterations or SLOW}"
    if reverse:
        yield "reverse=True"


def _interval(bounds: Interval | None) -> str:
    """The bounds of a state as an argument of the runtime's `newton`."""
    return "None" if bounds is None else f"({bounds.low!r}, {bounds.high!r})".replace("inf", "math.inf")


def _names(form: NewtonForm) -> list[str]:
    names = [state.name for state in form.states]
    return [*(f"{name}'" for name in names), *(f"d_{row}_d_{column}" for row in names for column in names)]


def _pruned(cell: Cell) -> Cell:
    """Without names and places of what is not there any more."""
    alive = frozenset(postorder(cell.roots()))
    names = {value: name for value, name in cell.names.items() if value in alive and value.args}
    return replace(cell, names=names, spans={v: places for v, places in cell.spans.items() if v in alive})
