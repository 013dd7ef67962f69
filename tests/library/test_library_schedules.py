"""Every program of the library computes the same by every legal schedule on every backend, derivatives included."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import jax
import pytest

import lsrl
from lsrl.ir.lattice import is_grid
from lsrl.ir.schedules.how import Dag, How, Sequential
from lsrl.verify import BATCH, DTYPES, LENGTH, Case, verify
from support.peers.row import Row, draw, lengths
from support.peers.table import ROWS

pytestmark = pytest.mark.filterwarnings("ignore:.*plain PyTorch form")
PROGRAMS = {row.name: row for row in reversed(ROWS)}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """JAX computes in float64 during a test, not in those of other files, and forgets what it compiled for it."""
    with jax.enable_x64(True):
        yield
    jax.clear_caches()


@cache
def case(name: str) -> Case:
    """A program on arrays that are valid for it, from states that are not where it starts."""
    row: Row = PROGRAMS[name]
    program = lsrl.load(name)
    cell, sizes = program.bind(row.sizes)
    told = {} if cell.inputs else {"batch": BATCH, "length": lengths(cell, LENGTH)}
    return Case(program, sizes, draw(row, BATCH, LENGTH, started=True), told)


def check(name: str, target: str, dtypes: tuple[str, ...], hows: tuple[How, ...] | None = None) -> None:
    found = list(verify(case(name), (target,), dtypes, hows))
    assert found
    assert [row for row in found if not row.holds] == []


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_pytorch(name: str) -> None:
    check(name, "torch", ("float64",))


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_jax(name: str) -> None:
    """Blocks of several layers over grids take XLA minutes: here they run as they come, each layer in every way."""
    layered = name.startswith("std/blocks/") and is_grid(case(name).cell)
    check(name, "jax", ("float64",), (Dag(),) if layered else None)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_loops_in_c(name: str) -> None:
    """A scan is the same loop; chunks and all that has no loop are PyTorch's."""
    check(name, "cpu", ("float64",), (Sequential(),))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["torch", "triton", "jax"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_precision(name: str, target: str) -> None:
    check(name, target, DTYPES)
