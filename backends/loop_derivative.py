"""The derivative of a loop as data: its adjoint, planned, with sums over positions set apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from lsrl.backends.loop_cell import LoopCell
from lsrl.ir import ops
from lsrl.ir.cell import Cell, Input, Output
from lsrl.ir.lattice import is_grid
from lsrl.ir.loop_adjoint import LoopAdjoint, loop_adjoint
from lsrl.ir.pipeline import VARYING, components
from lsrl.ir.plan import INLINE, Plan, make_plan
from lsrl.ir.position_sums import PositionSums, factors, position_sums
from lsrl.ir.schedules.how import How, NotLegal, Scan
from lsrl.ir.schedules.scan_form import ScanForm, are_alike, scan_form
from lsrl.ir.substitute import rebuild, substitute
from lsrl.ir.value import Value, depends_on, postorder


@dataclass(frozen=True, slots=True)
class Derivative:
    """The derivative of a loop, ready to be written.

    Attributes:
        loop: what it is the derivative of.
        adjoint: the loop's adjoint, which reads what the loop kept in place of computing it anew.
        sums: over sequences and positions, for the gradients of params.
        gradients: of every differentiable param, of those sums.
        plan: of the adjoint, whose outputs are the cotangents of inputs, then the factors of sums.
    """

    loop: LoopCell
    adjoint: LoopAdjoint
    sums: PositionSums
    gradients: Mapping[str, Value]
    plan: Plan

    @property
    def saved(self) -> tuple[str, ...]:
        """The states whose arriving values it reads."""
        read = {str(v.attr("name")) for v in postorder(self.plan.roots) if v.op == "input"}
        return tuple(state.name for state in self.loop.cell.states if state.name in read)

    @property
    def leaves(self) -> Mapping[str, Value]:
        """What it refers to outside of itself, by name: the loop's arrays, arriving states, and cotangents."""
        roots = [*self.plan.roots, *self.sums.operands, *self.gradients.values()]
        found = (v for v in postorder(roots) if v.op in ("input", "param") and v not in self.sums.parts)
        return {str(v.attr("name")): v for v in found}


def is_diagonal(form: ScanForm) -> bool:
    """Whether every element is a recurrence of its own."""
    return form.is_diagonal


def never(_: ScanForm) -> bool:
    return False


def loop_derivative(
    loop: LoopCell,
    sizes: Mapping[str, int],
    *,
    scans: Callable[[ScanForm], bool] = is_diagonal,
    reads_kept: bool = True,
    hoist_elementwise: bool = True,
    inline: Collection[type[How]] = INLINE,
    saved_inside: bool = False,
) -> Derivative | None:
    """The derivative of a loop; None where nothing in it has one.

    Args:
        scans: which recurrences of the adjoint run as scans, of those that can.
        reads_kept: whether it reads what the loop kept where it needs that, in place of computing it anew.
        hoist_elementwise, inline: as for `make_plan`.
        saved_inside: outputs, and what is computed from arriving states that the loop kept, belong into the loop of the
            derivative.
    """
    adjoint = loop_adjoint(loop.cell)
    if not adjoint.states and not adjoint.seeds:
        return None
    if reads_kept:
        adjoint = replace(adjoint, cell=_with_kept(adjoint.cell, loop.cell))
    values = {output.name: output.value for output in adjoint.cell.outputs}
    sums = position_sums({name: values[name] for name in adjoint.summed})
    table = {ops.leaf("param", n, values[n].shape, values[n].kind): total for n, total in sums.totals.items()}
    done = rebuild(adjoint.params.values(), table)
    gradients = {name: done[value] for name, value in adjoint.params.items()}
    cell = _with_factors(adjoint, sums)
    hows = {s.name: loop.how for s in cell.states} if is_grid(cell) else dict(_scans(cell, sizes, scans))
    states = {state.name for state in loop.cell.states}
    kept = [v for v in postorder(cell.roots()) if v.op == "input" and v.attr("name") in states]
    plan = make_plan(
        cell,
        sizes,
        hoist_elementwise=hoist_elementwise,
        hows=hows,
        inline=inline,
        near=kept if saved_inside else (),
        all_inside=saved_inside,
    )
    return Derivative(loop, adjoint, sums, gradients, plan)


def _scans(cell: Cell, sizes: Mapping[str, int], wanted: Callable[[ScanForm], bool]) -> Iterator[tuple[str, How]]:
    """The states that run as scans."""
    for part in components(cell) if wanted is not never else ():
        if not are_alike(part.states):
            continue
        try:
            if wanted(scan_form(cell, part, sizes)):
                yield part.states[0].name, Scan()
        except NotLegal:
            continue


def _with_kept(adjoint: Cell, loop: Cell) -> Cell:
    """The adjoint reading what the loop gave out, as inputs under the names of the loop's outputs."""
    states = [v for v in postorder(loop.roots()) if v.op == "state"]
    arriving = {v: ops.leaf("input", str(v.attr("name")), v.shape, v.kind) for v in states}
    done = rebuild((output.value for output in loop.outputs), arriving)
    alive = frozenset(postorder(adjoint.roots()))
    kept = {done[o.value]: o for o in loop.outputs if done[o.value] in alive and o.value.args}
    table = {value: ops.leaf("input", o.name, value.shape, value.kind) for value, o in kept.items()}
    inputs = (*adjoint.inputs, *(Input(o.name, value.shape, value.kind) for value, o in kept.items()))
    return substitute(replace(adjoint, inputs=inputs), table)


def _with_factors(adjoint: LoopAdjoint, sums: PositionSums) -> Cell:
    """The adjoint giving out the factors of sums in place of what is summed."""
    cell = adjoint.cell
    varying = depends_on(sums.operands, lambda value: value.op in VARYING)
    direct = [output for output in cell.outputs if output.name not in adjoint.summed]
    names = {output.value: output.name for output in cell.outputs if output.name in adjoint.summed}
    for name, total in sums.totals.items():
        parts = [sums.parts[v] for v in postorder([total]) if v in sums.parts]
        for place, factor in enumerate(dict.fromkeys(factor for part in parts for factor in factors(part))):
            names.setdefault(factor, f"{name}_factor{place or ''}")
    return replace(cell, outputs=(*direct, *(Output(names[v], v) for v in sums.operands if v in varying)))
