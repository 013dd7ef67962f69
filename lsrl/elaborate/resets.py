"""`reset when r`: states that start anew before the positions where a condition holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Kind, Value


def with_reset(cell: Cell, condition: Value, exempt: Collection[str], label: str = "reset") -> Cell:
    """The cell in which every arriving state, `exempt` ones aside, is its initial value where `condition` holds.

    A state that travels backwards arrives from the position behind, so the boundary it crosses is that position's:
    the condition is read one position later, by a hidden state that travels backwards too.
    """
    behind = {axis: ops.state(f"{label}[{axis}+1]", axis, (), Kind.BOOL) for axis in cell.axes}
    arriving: dict[Value, Value] = {}
    unguarded: dict[Value, Value] = {}
    for state in cell.states:
        if state.name in exempt:
            continue
        for axis in state.axes:
            leaf = ops.state(state.name, axis, state.shape, state.kind, state.domain)
            stand_in = ops.state(f"{label} of {state.name}", axis, state.shape, state.kind, state.domain)
            starts = behind[axis] if state.reverse else condition
            arriving[leaf] = build.where(starts, state.init, stand_in)
            unguarded[stand_in] = leaf
    added = tuple(
        State(str(leaf.attr("name")), (), Kind.BOOL, (axis,), ops.const(False), condition, reverse=True, hidden=True)
        for axis, leaf in behind.items()
        if any(state.reverse and axis in state.axes for state in cell.states)
    )
    # The stand-in keeps the substitution from replacing the state inside of its own replacement.
    guarded = substitute(cell, arriving)
    return replace(plain := substitute(guarded, unguarded), states=(*plain.states, *added))
