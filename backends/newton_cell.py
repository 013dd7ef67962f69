"""The step of a loop that Newton's method solves, as a cell without states: what every iteration computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lsrl.backends.loop_cell import LoopCell
from lsrl.ir import ops
from lsrl.ir.cell import Cell, Input, Output
from lsrl.ir.laws import simplify
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.newton_form import NewtonForm, newton_form
from lsrl.ir.substitute import substitute
from lsrl.ir.value import postorder


@dataclass(frozen=True, slots=True)
class NewtonStep:
    """What the iterations of a loop need.

    Attributes:
        form: of the loop's recurrence.
        cell: without states.  Inputs: the loop's, then the arriving states under their names; params: the loop's;
            outputs: the next states, then the Jacobian, row by row.
    """

    form: NewtonForm
    cell: Cell

    @property
    def bounds(self) -> tuple[tuple[float, float] | None, ...]:
        """An interval for each state that it does not leave, where one is known."""
        return tuple(None if each is None else (each.low, each.high) for each in self.form.bounds)


def newton_step(part: LoopCell, sizes: Mapping[str, int]) -> NewtonStep:
    """The step of a loop, which holds one recurrence.

    Args:
        sizes: the number of every size.

    Raises:
        NotLegal: Newton's method does not serve it.
    """
    (recurrence,) = components(part.cell)
    form = newton_form(part.cell, recurrence, sizes)
    names = [state.name for state in form.states]
    outputs = [*(f"{name}'" for name in names), *(f"d_{row}_d_{column}" for row in names for column in names)]
    found = replace(part.cell, outputs=tuple(map(Output, outputs, form.computed)))
    leaves = dict(zip(names, form.leaves, strict=True))
    table = {leaf: ops.leaf("input", name, leaf.shape, leaf.kind) for name, leaf in leaves.items()}
    flat = substitute(found, table)
    arriving = tuple(Input(state.name, state.shape, state.kind) for state in form.states)
    simple = simplify(replace(flat, name=f"{part.cell.name} step", inputs=(*flat.inputs, *arriving), states=()))
    alive = frozenset(postorder(simple.roots()))
    spans = {value: places for value, places in simple.spans.items() if value in alive}
    return NewtonStep(form, replace(simple, names={v: n for v, n in simple.names.items() if v in alive}, spans=spans))
