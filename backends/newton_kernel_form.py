"""A loop that Newton's method solves, as a kernel takes it: the step and its Jacobian, and what is made of the states.

As for a scan (`lsrl.backends.scan_kernel_form`), arriving and following states are leaves of one cell; before them
stands the step of the arriving ones with its derivatives, behind them what the loop keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from lsrl.backends.kernel_form import KernelForm, NoKernel, kernel_form
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel_form import Step
from lsrl.ir import ops
from lsrl.ir.cell import Cell, Distribution, Output, Param
from lsrl.ir.facts.intervals import Interval
from lsrl.ir.infer import integers
from lsrl.ir.laws import simplify
from lsrl.ir.schedules.newton_form import NewtonForm
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Value, postorder


@dataclass(frozen=True, slots=True)
class NewtonKernelForm:
    """A loop whose states are solved for in a kernel; all sequences are in the order of the states.

    Attributes:
        form: of a cell whose outputs are those of the loop, the steps, and the Jacobian.
        names: of the states.
        arriving, following: their values on both sides of a step.
        starts: stand-ins for the states at the start, which differ in no position.
        stepped: the step of the arriving states.
        jacobian: of the step, row by row, without the axes along which the graph repeats it.
        bounds: for each state an interval that it never leaves once it is inside, where one is known.
        kept: the values of the loop's outputs by name.
    """

    form: KernelForm
    names: tuple[str, ...]
    arriving: tuple[Value, ...]
    following: tuple[Value, ...]
    starts: tuple[Value, ...]
    stepped: tuple[Value, ...]
    jacobian: tuple[Step, ...]
    bounds: tuple[Interval | None, ...]
    kept: Mapping[str, Value]


def newton_kernel_form(loop: LoopCell, newton: NewtonForm, numbers: Mapping[str, int]) -> NewtonKernelForm:
    """The loop's form.

    Args:
        newton: of the loop's cell.
        numbers: the number of every size.

    Raises:
        NoKernel: lanes of a state have several numbers, or there are operations that kernels do not know.
    """
    for state, lanes in zip(newton.states, newton.lanes, strict=True):
        if lanes != tuple(range(len(state.shape))):
            raise NoKernel(f"the elements of `{state.name}` meet along an axis")
    form = kernel_form(replace(loop, cell=simplify(_cut(loop, newton))), numbers)
    outputs = {output.name: output.value for output in form.cell.outputs}
    names = tuple(state.name for state in newton.states)
    nexts = {state.name: state.next for state in form.cell.states}
    return NewtonKernelForm(
        form=form,
        names=names,
        arriving=tuple(outputs[f"{name} arriving"] for name in names),
        following=tuple(outputs[f"{name} following"] for name in names),
        starts=tuple(nexts[name] for name in names),
        stepped=tuple(outputs[_stepped(name)] for name in names),
        jacobian=tuple(_narrowed(outputs[_entry(*pair)]) for pair in product(names, repeat=2)),
        bounds=newton.bounds,
        kept={output.name: outputs[output.name] for output in loop.cell.outputs},
    )


def _narrowed(value: Value) -> Step:
    axes = tuple(range(value.rank))
    if value.op == "expand":
        new = integers(value.attr("axes"))
        return Step(value.args[0], tuple(axis for axis in axes if axis not in new))
    return Step(value, axes)


# Names with a blank are no identifiers, so no name of a program is one of these.


def _stepped(name: str) -> str:
    return f"{name} stepped"


def _entry(row: str, column: str) -> str:
    return f"{row} by_{column}"


def _cut(loop: LoopCell, newton: NewtonForm) -> Cell:
    """Both sides of the step as one cell, in which all states share their axes."""
    cell = loop.cell
    following = [ops.state(f"{s.name}'", s.axes[0], s.shape, s.kind) for s in newton.states]
    nexts = (state.next for state in newton.states)
    behind = substitute(replace(cell, states=()), dict(zip(nexts, following, strict=True)))
    starts = [ops.leaf("param", f"{s.name} start", s.shape, s.kind) for s in newton.states]
    arriving = [replace(state, next=start) for state, start in zip(newton.states, starts, strict=True)]
    passed = [replace(state, name=f"{state.name}'") for state in newton.states]
    given = (Param(f"{s.name} start", s.shape, s.kind, Distribution("normal")) for s in newton.states)
    outputs = [*behind.outputs, *_computed(newton), *_leaves("following", newton, following)]
    cut = replace(
        behind,
        params=(*cell.params, *given),
        states=(*arriving, *passed),
        outputs=(*outputs, *_leaves("arriving", newton, newton.leaves)),
    )
    alive = frozenset(postorder(cut.roots()))
    names = {**{each.value: each.name for each in _computed(newton)}, **cell.names, **behind.names}
    spans = {**cell.spans, **behind.spans}
    return replace(
        cut,
        names={value: name for value, name in names.items() if value in alive and value.args},
        spans={value: places for value, places in spans.items() if value in alive and value.args},
    )


def _leaves(word: str, newton: NewtonForm, leaves: Sequence[Value]) -> list[Output]:
    return [Output(f"{state.name} {word}", leaf) for state, leaf in zip(newton.states, leaves, strict=True)]


def _computed(newton: NewtonForm) -> list[Output]:
    """The step and its Jacobian."""
    names = [state.name for state in newton.states]
    labels = [*map(_stepped, names), *(_entry(*pair) for pair in product(names, repeat=2))]
    return [Output(label, value) for label, value in zip(labels, newton.computed, strict=True)]
