"""Facts about recurrences held against numbers, as assertions."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.backends.arrays import Array
from lsrl.check_facts import check_facts, structure_checks
from lsrl.ir.cell import Cell
from lsrl.ir.facts.recurrence import Recurrence, recurrences
from lsrl.ir.facts.structure import Structure


def check_recurrences(cell: Cell, sizes: Mapping[str, int], seed: int = 0) -> tuple[Recurrence, ...]:
    """Compare all that is claimed about the recurrences of a cell with numbers at a random point."""
    wrong = [each for each in check_facts(cell, sizes, seed) if not each.holds]
    assert not wrong, wrong
    return recurrences(cell)


def check_structure(claimed: Structure, jacobian: Array) -> None:
    """A Jacobian [*shape, *shape] against what is claimed of each axis."""
    assert all(each.holds for each in structure_checks("S", claimed, jacobian))
