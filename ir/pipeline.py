"""Recurrences: which states depend on which, and in which order they can run.

The strongly connected components of the state dependency graph are the recurrences of a program.  A component whose
state does not depend on itself is no recurrence at all but a shift (a lag): its value at a position is another value
one position back, or several of those in a line (`lsrl.ir.lines`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import networkx as nx

from lsrl.ir.cell import Cell, State
from lsrl.ir.fault import Refusal
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
        reverse: they run from the end to the start.
        cyclic: they feed back into themselves; otherwise this is a single state and a mere shift.
    """

    states: tuple[State, ...]
    reverse: bool
    cyclic: bool

    @property
    def names(self) -> frozenset[str]:
        return frozenset(state.name for state in self.states)


def components(cell: Cell) -> tuple[Component, ...]:
    """The components of the cell's states, each after those that it depends on.

    Raises:
        PipelineError: forward and reversed states depend on each other.
    """
    graph = dependencies(cell)
    condensed = nx.condensation(graph)
    place = {state.name: position for position, state in enumerate(cell.states)}
    members: Mapping[int, set[str]] = nx.get_node_attributes(condensed, "members")
    order = nx.lexicographical_topological_sort(condensed, key=lambda node: min(place[name] for name in members[node]))
    return tuple(_component(cell, sorted(members[node], key=place.__getitem__), graph) for node in order)


def dependencies(cell: Cell) -> nx.DiGraph:
    """An edge from each state to every state whose next value reads it (through any number of operations).

    A line does not count as its own reader: its values only move up.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(state.name for state in cell.states)
    for state in cell.states:
        line = line_of(state)
        graph.add_edges_from((name, state.name) for name in states_read([line.taken if line else state.next]))
    return graph


def fed(cell: Cell) -> tuple[Cell, dict[str, Line]]:
    """The cell in which every line that no recurrence contains passes on what it takes in, and these lines by name."""
    found = {state.name: line for state in cell.states if (line := line_of(state)) is not None}
    lines = {
        s.name: found[s.name] for p in components(cell) if found and not p.cyclic for s in p.states if s.name in found
    }
    if not lines:
        return cell, {}
    states = tuple(replace(s, next=lines[s.name].taken) if s.name in lines else s for s in cell.states)
    return replace(cell, states=states), lines


def states_read(roots: Iterable[Value]) -> tuple[str, ...]:
    """The names of the states that the roots depend on, in order of first use."""
    return tuple(dict.fromkeys(str(value.attr("name")) for value in postorder(roots) if value.op == "state"))


def leaf_of(names: Iterable[str]) -> Callable[[Value], bool]:
    """Whether a value is the leaf of one of the states `names`."""
    known = frozenset(names)
    return lambda value: value.op == "state" and value.attr("name") in known


def _component(cell: Cell, names: list[str], graph: nx.DiGraph) -> Component:
    states = tuple(cell.state(name) for name in names)
    directions = {state.reverse for state in states}
    if len(directions) > 1:
        raise PipelineError(
            f"{', '.join(names)} depend on each other but run in opposite directions, so neither can be computed first"
        )
    return Component(states, directions.pop(), len(names) > 1 or graph.has_edge(names[0], names[0]))
