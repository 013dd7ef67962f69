"""`reset when r`: states that start anew before the positions where a condition holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import chain

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.lines import Line, line_of, pushed
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Kind, Value


def with_reset(cell: Cell, condition: Value, exempt: Collection[str], label: str = "reset") -> Cell:
    """The cell in which every arriving state, `exempt` ones aside, is its initial value where `condition` holds.

    A state that travels backwards arrives from the position behind, so the boundary it crosses is that position's:
    the condition is read one position later, by a hidden state that travels backwards too.  A line goes on as it is,
    so that it stays one; what it holds of positions beyond a boundary is covered where it is read.
    """
    behind = {axis: ops.state(f"{label}[{axis}+1]", axis, (), Kind.BOOL) for axis in cell.axes}
    covered = {s.name: line for s in cell.states if s.name not in exempt and (line := line_of(s)) is not None}
    memories: dict[str, State] = {}
    arriving: dict[Value, Value] = {}
    unguarded: dict[Value, Value] = {}
    for state in cell.states:
        if state.name in exempt:
            continue
        for axis in state.axes:
            leaf = ops.state(state.name, axis, state.shape, state.kind, state.domain)
            stand_in = ops.state(f"{label} of {state.name}", axis, state.shape, state.kind, state.domain)
            if state.name in covered:
                memory = _memory(state, covered[state.name], condition, label)
                starts = _beyond(memories.setdefault(memory.name, memory), covered[state.name])
            else:
                starts = behind[axis] if axis in state.reverse else condition
            arriving[leaf] = build.where(starts, state.init, stand_in)
            unguarded[stand_in] = leaf
    added = tuple(
        replace(_flag(leaf, condition), reverse=frozenset({axis}))
        for axis, leaf in behind.items()
        if any(axis in state.backward and state.name not in covered for state in cell.states)
    )
    feeding = tuple(replace(s, next=covered[s.name].taken) if s.name in covered else s for s in cell.states)
    # The stand-in keeps the substitution from replacing the state inside of its own replacement.
    plain = substitute(substitute(replace(cell, states=feeding), arriving), unguarded)
    states = (
        replace(s, next=pushed(covered[s.name].leaf, s.next, covered[s.name].at)) if s.name in covered else s
        for s in plain.states
    )
    return replace(plain, states=tuple(chain(states, added, memories.values())))


def _flag(leaf: Value, condition: Value) -> State:
    """The hidden state that passes the condition on."""
    return State(
        str(leaf.attr("name")), (), Kind.BOOL, (str(leaf.attr("axis")),), ops.const(False), condition, hidden=True
    )


def _memory(state: State, line: Line, condition: Value, label: str) -> State:
    """The line of the condition, as long as that of a state and travelling with it."""
    (axis,) = state.axes
    shape = (state.shape[line.at],)
    name = f"{label}[{axis}+{line.length}:{axis}]" if state.backward else f"{label}[{axis}-{line.length}:{axis}]"
    leaf = ops.state(name, axis, shape, Kind.BOOL)
    init = build.full(shape, False)
    return State(name, shape, Kind.BOOL, (axis,), init, pushed(leaf, condition), state.reverse, hidden=True)


def _beyond(memory: State, line: Line) -> Value:
    """Which values of a line are of positions beyond the latest boundary."""
    (size,) = memory.shape
    flags = ops.state(memory.name, memory.axes[0], memory.shape, Kind.BOOL) if memory.backward else memory.next
    places = ops.iota(size)
    latest = build.reduce("reduce_max", build.where(flags, places, build.full(places.shape, -1)), None)
    hidden = ops.apply("le", places, latest)
    return build.expand(hidden, line.leaf.shape, [axis for axis in range(line.leaf.rank) if axis != line.at])
