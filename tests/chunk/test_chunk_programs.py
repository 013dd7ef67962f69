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
INVENTED = ("rwkv6", "of_matrices", "oja", "both_sides", "invention", "backwards")
"""Most of the others are held to published code in `test_chunk_against_fla`."""


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


@pytest.mark.parametrize("name", INVENTED)
def test_chunks(name: str) -> None:
    hold(CHUNKED[name], Chunk(4), 11)


def test_one_chunk_as_long_as_the_sequence() -> None:
    hold(CHUNKED["rwkv6"], Quadratic(), 7)
