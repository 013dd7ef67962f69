"""Recurrences over a grid whose states all travel along one of its axes: each line of places is a sequence.

Along the other axes they are parallel, so what serves a recurrence over time serves them, with lines in place of
sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lsrl.ir.cell import Cell
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.chunk_form_parts import ChunkForm
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.scan_form import ScanForm
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class LineForm:
    """A recurrence along one axis of a grid.

    Attributes:
        along: what runs on every line.
        axis: the number of the axis of the grid.
    """

    along: ScanForm | ChunkForm
    axis: int

    @property
    def operands(self) -> tuple[Value, ...]:
        """What must be computed before, each once."""
        return self.along.operands

    @property
    def results(self) -> tuple[Value, ...]:
        """What it makes for all places."""
        return self.along.results


def line_form(cell: Cell, part: Component, read: Callable[[], ScanForm | ChunkForm]) -> LineForm:
    """The form of a recurrence along one axis, whose form on a line `read` gives.

    Raises:
        NotLegal: its states travel along several axes; what `read` raises.
    """
    axes = sorted({axis for state in part.states for axis in state.axes}, key=cell.axes.index)
    if len(axes) > 1:
        names = " and ".join(f"`{state.name}`" for state in part.states)
        verb = "travels" if len(part.states) == 1 else "travel"
        raise NotLegal(f"{names} {verb} along {' and '.join(axes)}, not along one axis")
    (axis,) = axes
    return LineForm(replace(read(), reverse=axis in part.reverse), cell.axes.index(axis))
