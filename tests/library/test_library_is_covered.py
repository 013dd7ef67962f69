"""No program of the library escapes the table that it is tested by."""

from pathlib import Path

import lsrl
from lsrl.loader import library
from support.exact_programs import PROGRAMS
from support.peers.table import ROWS

# Functions, and cells to import; they and exact programs are tested by what they compute (tests/exact).
PARTS = {"std/counters", "std/memory", "std/lsrl_original"}


def test_every_program_has_a_row() -> None:
    tested = {*PARTS, *PROGRAMS, *(row.name for row in ROWS)}
    assert {name for name in library() if lsrl.load(name).has_cell} == tested


def test_a_program_is_the_cell_that_its_file_is_named_after() -> None:
    assert [row.name for row in ROWS if lsrl.load(row.name).name != Path(row.name).name] == []
