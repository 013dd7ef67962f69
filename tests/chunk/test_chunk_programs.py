"""Programs that run in chunks in JAX: the reference's outputs, final states and gradients in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

import lsrl
from lsrl.ir.schedules.how import Chunk, How, Quadratic
from lsrl.verify import case, verify
from support.chunk_programs import CHUNKED

SIZES = {"N": 2, "K": 4, "V": 3}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def hold(text: str, how: How, length: int) -> None:
    program = lsrl.parse(text)
    sizes = {name: SIZES[name] for name in program.sizes}
    (row,) = verify(case(program, sizes, length=length), ("jax",), ("float64",), (how,))
    assert str(how) in row.schedule
    assert row.holds, row


@pytest.mark.parametrize("name", CHUNKED)
def test_chunks(name: str) -> None:
    hold(CHUNKED[name], Chunk(4), 11)


@pytest.mark.parametrize("name", ["rwkv6", "invention"])
def test_one_chunk_as_long_as_the_sequence(name: str) -> None:
    hold(CHUNKED[name], Quadratic(), 6)
