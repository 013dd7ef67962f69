"""Every program of the library computes the same by every legal schedule on every backend, derivatives included."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import jax
import pytest

import lsrl
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


def check(name: str, target: str, dtypes: tuple[str, ...]) -> None:
    found = list(verify(case(name), (target,), dtypes))
    assert found
    assert [row for row in found if not row.holds] == []


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_pytorch(name: str) -> None:
    check(name, "torch", ("float64",))


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_jax(name: str) -> None:
    check(name, "jax", ("float64",))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["torch", "triton", "jax"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_precision(name: str, target: str) -> None:
    check(name, target, DTYPES)
