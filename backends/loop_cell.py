"""A loop of a plan as a cell of its own: the contract between a loop and what surrounds it.

Its inputs are what the loop reads at every position, its params what is the same at all of them, its outputs what it
keeps.  For kernels the cut is drawn where arrays lie in memory: a loop that needs a slice of an array takes the array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.naming import Names
from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Input, Output, Param
from lsrl.ir.plan import SEQUENTIAL, Loop, Plan
from lsrl.ir.schedules.how import How
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Value, postorder

_DECLARED = ("input", "noise", "param")
VIEWS = ("slice", "select", "flip", "re", "im")
_STATIC_VIEWS = (*VIEWS, "transpose", "expand", "concat")


@dataclass(frozen=True, slots=True)
class LoopCell:
    """A loop and its surroundings.

    Attributes:
        cell: the loop; names of its inputs, params and outputs are identifiers of the surrounding function.
        reverse: it runs from the last position to the first, on every axis.
        how: the schedule that the loop was given.
        saved: the states whose arriving values its derivative needs; they can be kept while it runs.
        reads, statics, emits: the values of the surrounding cell that these are, in the same order.
    """

    cell: Cell
    reverse: bool
    reads: tuple[Value, ...]
    statics: tuple[Value, ...]
    emits: tuple[Value, ...]
    how: How = SEQUENTIAL
    saved: tuple[str, ...] = ()


def loop_cell(
    plan: Plan, loop: Loop, names: Names, is_number: Callable[[Value], bool], *, whole: bool = True
) -> LoopCell:
    """The loop, which runs forward or backward on all axes alike, cut out of its plan.

    Args:
        names: identifiers of the surrounding module.
        is_number: whether a value is written as a number wherever it is used.
        whole: take arrays as they lie in memory; otherwise just what the loop reads, which may be parts of arrays (but
            without repetition).
    """
    reads = _declared_first(plan.cell, _bases(loop.reads, VIEWS if whole else (), is_number))
    ends = _static_ends(loop)
    views = _STATIC_VIEWS if whole else ("expand",)
    statics = _declared_first(plan.cell, _bases([*loop.statics, *ends], views, is_number))
    table = {v: ops.leaf("input", names[v], v.shape, v.kind) for v in reads}
    table |= {v: ops.leaf("param", names[v], v.shape, v.kind) for v in statics}
    states = tuple(replace(s, init=build.zeros(s.shape, s.kind), reverse=loop.reverse) for s in loop.states)
    uncut = replace(
        plan.cell,
        inputs=tuple(Input(names[v], v.shape, v.kind) for v in reads),
        params=tuple(Param(names[v], v.shape, v.kind, Distribution("normal")) for v in statics),
        noises=(),
        states=states,
        outputs=tuple(Output(names[v], v) for v in loop.emits),
    )
    cell = substitute(uncut, {old: new for old, new in table.items() if new is not old})
    alive = frozenset(postorder(cell.roots()))
    cell = replace(
        cell,
        names={v: name for v, name in cell.names.items() if v in alive and v.args},
        spans={v: spans for v, spans in cell.spans.items() if v in alive},
    )
    return LoopCell(cell, bool(loop.reverse), reads, statics, loop.emits, loop.how)


def _static_ends(loop: Loop) -> list[Value]:
    """Values that states become which are the same at every position."""
    inside = {*loop.body, *loop.reads}
    return [s.next for s in loop.states if s.next not in inside and s.next.op not in ("state", "input", "noise")]


def _declared_first(cell: Cell, values: Iterable[Value]) -> tuple[Value, ...]:
    """Declared arrays in the order of their declaration, then those that are computed."""
    names = [*(i.name for i in cell.inputs), *(n.name for n in cell.noises), *(p.name for p in cell.params)]
    order = {name: place for place, name in enumerate(names)}

    def place(value: Value) -> int:
        return len(names) if value.args or value.op not in _DECLARED else order[str(value.attr("name"))]

    return tuple(sorted(values, key=place))


def _bases(values: Iterable[Value], views: Sequence[str], is_number: Callable[[Value], bool]) -> tuple[Value, ...]:
    """The arrays in memory that the values are, or are views of; numbers and places along an axis are neither."""
    found: dict[Value, None] = {}
    stack = list(values)[::-1]
    while stack:
        value = stack.pop()
        if value.op in views:
            stack.extend(reversed(value.args))
        elif value.op != "iota" and not is_number(value):
            found[value] = None
    return tuple(found)
