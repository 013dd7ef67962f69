"""The form in which a schedule takes a recurrence: one entry for each schedule that is an operation on sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lsrl.ir.cell import Cell
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.chunk_form import chunk_form
from lsrl.ir.schedules.grid_form import grid_form
from lsrl.ir.schedules.how import Chunk, How, Newton, NotLegal, Quadratic, Rounds, Scan, Tiles
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
    match how:
        case Scan():
            return scan_form(cell, part, sizes)
        case Chunk() | Quadratic():
            return chunk_form(cell, part, sizes)
        case Newton(quasi=quasi):
            return newton_form(cell, part, sizes, quasi=quasi)
        case Tiles():
            return grid_form(cell, part)
        case Rounds():
            return rounds_form(cell)
    raise NotLegal(f"`{how}` is no operation on whole sequences")
