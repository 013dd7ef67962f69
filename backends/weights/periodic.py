"""States that nothing enters and that come round: a rewriting for networks whose transitions are real and diagonal.

A rotation, or a one-hot vector that is shifted around, is a function of the position modulo its period.  Such a state
becomes a table of that; the position is a state that every network counts with, and its remainder a sawtooth of steps
within the horizon (`arithmetic.modulo`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir import build, ops
from lsrl.ir.cell import TIME, Cell, State
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Attr, Kind, Value, postorder

LONGEST = 256
POSITION = "position"


@dataclass(frozen=True, slots=True)
class Unrolled:
    """A cell without its periodic states, and what was done, in words."""

    cell: Cell
    notes: tuple[str, ...]


def unrolled(cell: Cell, sizes: Mapping[str, int]) -> Unrolled:
    """Replace every state by a table that only reads itself and is exactly back at its start within LONGEST steps.

    A state that is a decay or a counter in each element is left alone: it has no period, or is constant.
    """
    scope = Scope(sizes)
    cycles = {state.name: cycle for state in cell.states if (cycle := _cycle(state, scope)) is not None}
    if not cycles:
        return Unrolled(cell, ())
    name = POSITION + "_" * sum(state.name.startswith(POSITION) for state in cell.states)
    position = ops.apply("add", ops.state(name, TIME, (), Kind.FLOAT), ops.const(1))
    table: dict[Value, Value] = {}
    for state in cell.states:
        if state.name in cycles:
            cycle = cycles[state.name]
            turn = ops.apply("mod", position, ops.const(len(cycle)))
            phase = build.cast(turn, Kind.INT)
            table[_arriving(state)] = build.gather(_constant(cycle), phase)
            table[state.next] = build.gather(_constant(np.roll(cycle, -1, axis=0)), phase)
    rewritten = substitute(cell, table)
    counter = State(name, (), Kind.FLOAT, (TIME,), ops.const(Fraction(-1)), position, hidden=True)
    kept = tuple(state for state in rewritten.states if state.name not in cycles)
    notes = [
        f"{state}: of period {len(cycle)}, a table of the position modulo {len(cycle)}"
        for state, cycle in cycles.items()
    ]
    return Unrolled(replace(rewritten, states=(*kept, counter)), tuple(notes))


def _cycle(state: State, scope: Scope) -> Array | None:
    """What a state is before each step of a period, [period, *shape]; None where it has none, or is constant."""
    leaf = _arriving(state)
    if state.kind is Kind.COMPLEX or any(
        value.op in ("input", "param", "noise") or (value.op == "state" and value is not leaf)
        for value in postorder([state.next, state.init])
    ):
        return None
    (start,) = evaluate([state.init], {}, scope)
    found = [start]
    while len(found) <= LONGEST:
        (following,) = evaluate([state.next], {leaf: found[-1]}, scope)
        if np.array_equal(following, start):
            return np.stack(found) if len(found) > 1 else None
        found.append(following)
    return None


def _arriving(state: State) -> Value:
    return ops.state(state.name, state.axes[0], state.shape, state.kind, state.domain)


def _constant(array: Array) -> Value:
    return ops.const(_nested(array.tolist()))


def _nested(item: object) -> Attr:
    if isinstance(item, list):
        return tuple(_nested(each) for each in item)
    assert isinstance(item, (bool, int, float))
    return Fraction(item) if isinstance(item, float) else item
