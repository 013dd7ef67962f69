"""What runs in tiles over a grid, and what runs in the same ones: matrices where there are some, else elements."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from lsrl.ir.cell import Cell
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.grid_form import grid_form
from lsrl.ir.schedules.grid_form_elements import ElementForm, element_form
from lsrl.ir.schedules.grid_form_parts import GridForm
from lsrl.ir.schedules.grid_together import tiled_groups
from lsrl.ir.schedules.how import How, NotLegal, Tiles, Tree
from lsrl.ir.value import Kind


@lru_cache(maxsize=16)  # asked for by each schedule with tiles, and by the plan
def tile_form(cell: Cell, part: Component) -> GridForm | ElementForm:
    """The form of a recurrence over a grid for tiles; a form of matrices is that of all recurrences of its group.

    Raises:
        NotLegal: it has none; says which fact is missing.
    """
    try:
        return grid_form(cell, part)
    except NotLegal as no_matrices:
        if not is_grid(cell) or not part.cyclic:
            raise
        try:
            return element_form(cell, part)
        except NotLegal as no_elements:
            first = part.states[0]
            matrices = len(first.shape) > 1 and first.kind is Kind.FLOAT
            raise (no_matrices if matrices else no_elements) from None


def states_together(cell: Cell, hows: Mapping[str, How]) -> list[tuple[str, ...]]:
    """The names of states that run in the same tiles, each time they are of several recurrences.

    Args:
        hows: schedules by the name of a state; one of them is that of its group.
    """
    found = []
    for group in tiled_groups(cell) if is_grid(cell) else ():
        names = tuple(state.name for state in group.states)
        if any(isinstance(hows.get(name), Tiles | Tree) for name in names) and tiled_as_one(cell, group):
            found.append(names)
    return found


def tiled_as_one(cell: Cell, group: Component) -> bool:
    """Whether recurrences that are linked run in the same tiles, as matrices do, or each for itself."""
    try:
        return isinstance(tile_form(cell, group), GridForm)
    except NotLegal:
        return False
