"""Recurrences: which states depend on which, and in which order they can run.

The strongly connected components of the state dependency graph are the recurrences of a program.  A component whose
state does not depend on itself is no recurrence at all but a shift (a lag): its value at a position is another value
one position back, or several of those in a line (`lsrl.ir.lines`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.ir.cell import Cell, State
from lsrl.ir.fault import Refusal
from lsrl.ir.graphs import in_order
from lsrl.ir.lines import Line, line_of
from lsrl.ir.value import Value, postorder

VARYING = ("input", "noise", "state")
"""Operations whose values differ from position to position."""


class PipelineError(Refusal):
    """States that no order of computation serves."""


@dataclass(frozen=True, slots=True)
class Component:
    """States that need each other.

    Attributes:
        states: in the order of declaration.
        reverse: the axes on which they run from the end to the start.
        cyclic: they feed back into themselves; otherwise this is a single state and a mere shift.
    """

    states: tuple[State, ...]
    reverse: frozenset[str]
    cyclic: bool

    @property
    def names(self) -> frozenset[str]:
        return frozenset(state.name for state in self.states)


def components(cell: Cell, together: Iterable[Sequence[str]] = ()) -> tuple[Component, ...]:
    """The components of the cell's states, each after those that it depends on.

    Args:
        together: names of states that are to be of one component, as if they depended on each other.

    Raises:
        PipelineError: forward and reversed states depend on each other.
    """
    readers = dependencies(cell)
    for names in together:
        for name, other in zip(names, (*names[1:], names[0])):
            readers[name].append(other)
    place = {state.name: position for position, state in enumerate(cell.states)}
    return tuple(_component(cell, names, readers) for names in in_order(place, readers, place))


def dependencies(cell: Cell) -> dict[str, list[str]]:
    """The states whose next value reads each state, through any number of operations.

    A line does not count as its own reader: its values only move up.
    """
    readers: dict[str, list[str]] = {state.name: [] for state in cell.states}
    for state in cell.states:
        line = line_of(state)
        for name in states_read([line.taken if line else state.next]):
            readers[name].append(state.name)
    return readers


def fed(cell: Cell) -> tuple[Cell, dict[str, Line]]:
    """The cell in which every line that no recurrence contains passes on what it takes in, and these lines by name."""
    found = {state.name: line for state in cell.states if (line := line_of(state)) is not None}
    if not found:
        return cell, {}
    straight = {name for part in components(cell) if not part.cyclic for name in part.names}
    lines = {name: line for name, line in found.items() if name in straight}
    states = tuple(replace(s, next=lines[s.name].taken) if s.name in lines else s for s in cell.states)
    return replace(cell, states=states), lines


def states_read(roots: Iterable[Value]) -> tuple[str, ...]:
    """The names of the states that the roots depend on, in order of first use."""
    return tuple(dict.fromkeys(str(value.attr("name")) for value in postorder(roots) if value.op == "state"))


def leaf_of(names: Iterable[str]) -> Callable[[Value], bool]:
    """Whether a value is the leaf of one of the states `names`."""
    known = frozenset(names)
    return lambda value: value.op == "state" and value.attr("name") in known


def _component(cell: Cell, names: list[str], readers: Mapping[str, list[str]]) -> Component:
    states = tuple(cell.state(name) for name in names)
    return Component(states, _direction(states), len(names) > 1 or names[0] in readers[names[0]])


def _direction(states: Sequence[State]) -> frozenset[str]:
    """The axes on which states that need each other run from the end to the start.

    On an axis that none of them travels along either way will do; then it is that of the others they stand with.
    """
    forward = {axis for state in states for axis in state.axes if axis not in state.reverse}
    if any(state.backward & forward for state in states):
        raise PipelineError(
            f"{', '.join(state.name for state in states)} depend on each other but run in opposite directions, so "
            "neither can be computed first"
        )
    return frozenset(axis for state in states for axis in state.reverse if axis not in forward)
