"""The form in which a schedule takes a recurrence: one entry for each schedule that is an operation on sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lsrl.ir.cell import TIME, Cell
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.chunk_form import chunk_form
from lsrl.ir.schedules.grid_tiles import tile_form
from lsrl.ir.schedules.how import Chunk, How, Newton, NotLegal, Quadratic, Rounds, Scan, Tiles, Tree
from lsrl.ir.schedules.line_form import LineForm, line_form
from lsrl.ir.schedules.newton_form import newton_form
from lsrl.ir.schedules.rounds_form import rounds_form
from lsrl.ir.schedules.scan_form import scan_form
from lsrl.ir.value import Value


class Form(Protocol):
    """What an operation on whole sequences takes and makes.

    Attributes:
        operands: known for every position before; static ones may be among them.
        results: values of the cell's graph that it makes for every position.
    """

    @property
    def operands(self) -> tuple[Value, ...]: ...

    @property
    def results(self) -> tuple[Value, ...]: ...


def form_of(cell: Cell, part: Component, how: How, sizes: Mapping[str, int]) -> Form:
    """The form of a recurrence for a schedule.

    Raises:
        NotLegal: the schedule cannot serve it.
    """
    if cell.axes != (TIME,) and isinstance(how, Scan | Chunk | Quadratic | Newton):
        return _over_lines(cell, part, how, sizes)
    match how:
        case Scan():
            return scan_form(cell, part, sizes)
        case Chunk() | Quadratic():
            return chunk_form(cell, part, sizes)
        case Newton(quasi=quasi):
            return newton_form(cell, part, sizes, quasi=quasi)
        case Tiles() | Tree():
            return tile_form(cell, part)
        case Rounds():
            return rounds_form(cell, sizes)
    raise NotLegal(f"`{how}` is no operation on whole sequences")


def _over_lines(cell: Cell, part: Component, how: How, sizes: Mapping[str, int]) -> LineForm:
    """The form of what serves a recurrence over time, on lines of a grid."""
    if not is_grid(cell) or isinstance(how, Newton):
        raise NotLegal(f"{cell.name} runs over {', '.join(cell.axes)}, not over one axis {TIME}")
    read = scan_form if isinstance(how, Scan) else chunk_form
    return line_form(cell, part, lambda: read(cell, part, sizes))
