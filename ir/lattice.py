"""Cells over grids, brought into the form in which they run: every state travels along one axis.

A grid is a lattice of places; a state's leaf reads what the neighbour one step back on an axis passed on.  A state
along several axes is as many states that pass on the same value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, TIME, Cell, State
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Value


def is_grid(cell: Cell) -> bool:
    """Whether a cell runs over a grid: neither over time nor over a graph."""
    return cell.axes not in ((TIME,), (GRAPH,))


def along_one_axis(cell: Cell) -> Cell:
    """The cell with `h.y` and `h.x` in place of a state `h` along `y` and `x`; states along one axis stay."""
    states = tuple(part for state in cell.states for part in _parts(state))
    several = [state for state in cell.states if len(state.axes) > 1]
    table: dict[Value, Value] = {}
    for state in several:
        for axis in state.axes:
            leaf = ops.state(state.name, axis, state.shape, state.kind)
            table[leaf] = ops.state(f"{state.name}.{axis}", axis, state.shape, state.kind)
    return substitute(replace(cell, states=states), table) if several else cell


def _parts(state: State) -> Iterator[State]:
    if len(state.axes) == 1:
        yield state
    else:
        yield from (replace(state, name=f"{state.name}.{axis}", axes=(axis,)) for axis in state.axes)
