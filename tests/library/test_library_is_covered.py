"""No program of the library escapes the table that it is tested by."""

from pathlib import Path

import lsrl
from lsrl.loader import library
from support.peers.table import ROWS

PARTS = {"std/logic"}  # functions, and cells to import; tested by what they compute


def test_every_program_has_a_row() -> None:
    assert {name for name in library() if lsrl.load(name).has_cell} - PARTS == {row.name for row in ROWS}


def test_a_program_is_the_cell_that_its_file_is_named_after() -> None:
    assert [row.name for row in ROWS if lsrl.load(row.name).name != Path(row.name).name] == []
