"""How a module counts positions: along time, or over a grid whose places lie in a row inside of its functions."""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.ir.cell import Cell, State
from lsrl.ir.lattice import is_grid


def outer_axes(cell: Cell) -> tuple[str, ...]:
    """The leading axes of inputs and outputs, for people: `B, T`, or `B, Y, X`."""
    return ("B", *(axis.upper() for axis in cell.axes))


def inner_axes(cell: Cell) -> tuple[str, str]:
    """The leading axes of values inside of functions: places of a grid lie in a row."""
    return ("B", "P" if is_grid(cell) else "T")


def border_axes(cell: Cell, state: State) -> tuple[str, ...]:
    """The leading axes of a state where it enters and leaves: every axis but the one that it travels along."""
    return ("B", *(axis.upper() for axis in cell.axes if axis not in state.axes)) if is_grid(cell) else ("B",)


def borders(cell: Cell) -> dict[tuple[str, ...], list[State]]:
    """States by the leading axes of what enters and leaves."""
    found: dict[tuple[str, ...], list[State]] = {}
    for state in cell.states:
        found.setdefault(border_axes(cell, state), []).append(state)
    return found


def extent_name(cell: Cell) -> str:
    """What functions call the number of positions: a number, or of a grid one for each axis."""
    return "extents" if is_grid(cell) else "length"


def lengths(axes: Sequence[str]) -> list[str]:
    """The identifiers of the numbers of places along axes of a grid."""
    return [f"length_{axis}" for axis in axes]


def travels(cell: Cell, states: Sequence[State]) -> str:
    """The numbers of the axes that states travel along, as a tuple in the text."""
    return f"({', '.join(str(cell.axes.index(state.axes[0])) for state in states)},)"


def outer_lead(cell: Cell) -> tuple[str, ...]:
    """The lengths of the leading axes of inputs and outputs, in the text."""
    return ("batch", "*extents" if is_grid(cell) else "length")


def loop_extent(cell: Cell, reads: bool) -> tuple[str, ...]:
    """What tells a loop's function how many positions there are, where nothing does that it reads at each."""
    if is_grid(cell):
        return ("extents",)
    return () if reads else ("length",)


def arrived(cell: Cell, state: State, first: object, following: object) -> str:
    """The code of what arrives at every position, and leaves in the end, from what every position passes on."""
    if is_grid(cell):
        options = ", reverse=True" if state.backward else ""
        return f"from_neighbours({first}, {following}, extents, {cell.axes.index(state.axes[0])}{options})"
    return f"{'earlier' if state.backward else 'later'}({first}, {following})"
