"""Loops over a grid that run in other directions than forward, or several as one: a call of `in_directions`."""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.backends.expressions import tupled
from lsrl.backends.jax_stages import Stages
from lsrl.backends.places import travels
from lsrl.ir.plan import Abreast
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Taken:
    """What the function of a loop takes and gives, in order: values of the first of the loops that it runs."""

    reads: tuple[Value, ...]
    statics: tuple[Value, ...]
    emits: tuple[Value, ...]


def write_directed(stages: Stages, function: str, beside: Abreast, taken: Taken) -> None:
    """The call that runs a loop in several directions.

    Args:
        function: it takes reads, statics, starts and extents, and gives what is kept and the last states.
        taken: what of the first loop these are.
    """
    codes = stages.statements.codes
    reads, statics = (
        tupled([tupled([str(codes[value]) for value in values]) for values in beside.played(each)])
        for each in (taken.reads, taken.statics)
    )
    starts = tupled([tupled([stages.starts[state.name] for state in loop.states]) for loop in beside.loops])
    lasts = [tupled(stages.passed_on(loop.states)) for loop in beside.loops]
    kept = [tupled([stages.statements.bind(value) for value in values]) for values in beside.played(taken.emits)]
    turns = tupled([tupled([str(axis) for axis in turn]) for turn in beside.turns(stages.cell.axes)])
    arguments = [function, turns, reads, statics, starts, "extents", travels(stages.cell, beside.loops[0].states)]
    found = tupled([f"({each}, {last})" for each, last in zip(kept, lasts, strict=True)])
    stages.writer.line(f"{found} = in_directions({', '.join(arguments)})")
