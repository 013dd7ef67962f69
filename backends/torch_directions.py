"""Loops over a grid that run in other directions than forward, or several as one, in PyTorch: `in_directions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from lsrl.backends.expressions import tupled
from lsrl.backends.loop_cell import LoopCell, loop_cell
from lsrl.backends.naming import Names
from lsrl.backends.places import travels
from lsrl.ir.cell import Cell
from lsrl.ir.plan import Abreast, Loop, Plan
from lsrl.ir.value import Value

Runs = Mapping[int, Abreast]


def runs(plan: Plan) -> dict[int, Abreast]:
    """The loops that run as one, by the place among the stages of the first of them.

    Their arrays join each other along the batch, so what is the same at all places has to be so for all of them.
    """
    return {place: beside for place, beside in _found(plan) if plan.stages[place] is beside.loops[0]}


def _found(plan: Plan) -> Iterator[tuple[int, Abreast]]:
    for place, stage in enumerate(plan.stages):
        if isinstance(stage, Loop):
            beside = plan.beside(stage)
            yield place, beside if beside.shares_statics else Abreast((stage,), ({},))


def run_cells(plan: Plan, runs: Runs, names: Names, is_number: Callable[[Value], bool]) -> dict[int, LoopCell]:
    """What runs for each of these, cut out of the plan; arrays that are turned round are those that it reads."""
    found = {}
    for place, each in runs.items():
        plain = each.is_plain(plan.cell.axes)
        found[place] = loop_cell(plan, each.loops[0] if plain else each.forward, names, is_number, whole=plain)
    return found


def directed_call(
    function: str,
    beside: Abreast,
    cell: Cell,
    given: tuple[Sequence[Sequence[str]], Sequence[str], Sequence[Sequence[str]]],
) -> str:
    """The call that runs a loop in several directions: for each what is kept, then the last states.

    Args:
        given: for each direction what is read, what is the same at all places, for each direction the first states.
    """
    reads, statics, starts = given
    turns = tupled([tupled([str(axis) for axis in turn]) for turn in beside.turns(cell.axes)])
    arrays = [
        tupled([tupled(list(each)) for each in reads]),
        tupled(list(statics)),
        tupled([tupled(list(s)) for s in starts]),
    ]
    arguments = [function, turns, *arrays, "extents", travels(cell, beside.loops[0].states)]
    return f"in_directions({', '.join(arguments)})"
