"""What a loop keeps for its backward pass: the states of every position, or of the first of every so many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lsrl.backends.loop_cell import LoopCell
from lsrl.ir.dims import Shape, count
from lsrl.ir.lattice import is_grid
from lsrl.ir.schedules.how import Sequential

MOST_STATES = 4
"""States of more than so many times the numbers that a loop reads at a position are computed anew, not kept."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """States are kept at the start of every `size` positions; None: about as many pieces as a piece has positions."""

    size: int | None = None


def pieces(part: LoopCell, numbers: Mapping[str, int]) -> Pieces | None:
    """The pieces that a loop's backward pass computes anew, None where it keeps all states.

    Args:
        numbers: the number of every size.
    """
    if is_grid(part.cell):
        return None  # there is no order in which a grid could be cut into pieces
    match part.how:
        case Sequential(save=True):
            return None
        case Sequential(recompute=int(size)):
            return Pieces(size)
        case Sequential():
            states = _numbers((state.shape for state in part.cell.states), numbers)
            reads = _numbers((declared.shape for declared in part.cell.inputs), numbers)
            return Pieces() if states > MOST_STATES * reads else None
        case _:
            return None


def _numbers(shapes: Iterable[Shape], numbers: Mapping[str, int]) -> int:
    return sum(count(shape).evaluate(numbers) for shape in shapes)
