"""No program of the library escapes the tests that go through a table."""

from pathlib import Path

from lsrl.loader import library
from support.programs import LIBRARY

FUNCTIONS = {"logic"}  # tested by what its functions compute
PROGRAMS = {Path(name).name for name in library()} - FUNCTIONS


def test_every_program_has_sizes_to_run_the_backends_with() -> None:
    assert set(LIBRARY) == PROGRAMS


def test_every_program_is_compared_with_a_published_one() -> None:
    peers = Path(__file__).with_name("test_std_against_peers.py").read_text()
    assert {name for name in PROGRAMS if f'"{name}"' not in peers} == set()
