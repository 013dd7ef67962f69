"""What must hold of every schedule of every program, on programs drawn at random.

The result does not depend on the size of chunks, tiles or windows, nor on where a sequence is cut and continued from
its state; heads permute; what comes later changes nothing before; a reset starts a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from random import Random
from typing import Any

import jax
import numpy as np
import pytest

import lsrl
from lsrl import stages
from lsrl.backends.arrays import Array
from lsrl.compiled import Compiled
from lsrl.ir.schedules.how import Chunk, How, Newton, Quadratic, Scan, Sequential
from lsrl.program import Program
from lsrl.random_arrays import Drawn, random_arrays
from lsrl.schedule import Schedule
from lsrl.verify import candidates
from support.recurrent_programs import HEADS, matrix_program, vector_program

BATCH, LENGTH = 2, 29
TOLERANCE = 1e-10
SIZES: tuple[How, ...] = (Sequential(), Scan(), Chunk(4), Chunk(11), Chunk(64), Newton(5), Newton(64), Quadratic())
SEEDS = range(4)
TEXTS = (*(vector_program(Random(seed)) for seed in SEEDS), *(matrix_program(Random(seed)) for seed in SEEDS))
pytestmark = pytest.mark.filterwarnings("ignore:.*plain PyTorch form")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """JAX computes in float64 during a test, not in those of other files."""
    with jax.enable_x64(True):
        yield


@cache
def program(text: str) -> Program:
    return lsrl.parse(text)


@cache
def schedules(text: str, target: str, hows: tuple[How, ...] = SIZES) -> tuple[Schedule, ...]:
    cell, sizes = program(text).bind()
    return candidates(stages.make(cell, sizes, target).recurrences, hows)


@cache
def compiled(text: str, target: str, schedule: str) -> Compiled:
    found = lsrl.compile(program(text), target, schedule=schedule, dtype="float64")
    if target == "triton":
        found.engine.module.INTERPRETED = False  # the plain form of PyTorch
    return found


@cache
def arrays(text: str) -> Drawn:
    cell, sizes = program(text).bind()
    params, inputs, state = random_arrays(cell, sizes, BATCH, LENGTH)
    inputs["r"] = np.random.default_rng(1).random((BATCH, LENGTH)) < 0.1
    return params, inputs, state


def run(text: str, target: str, schedule: str, given: Drawn | None = None) -> tuple[Array, dict[str, Array]]:
    """The output and the final states."""
    found = compiled(text, target, schedule)
    result = found(*(given or arrays(text)))
    to_numpy = found.engine.to_numpy
    return to_numpy(result.outputs["y"]), {name: to_numpy(array) for name, array in result.state.items()}


def same(found: Any, wanted: Any) -> None:
    (output, state), (output_wanted, state_wanted) = found, wanted
    np.testing.assert_allclose(output, output_wanted, rtol=TOLERANCE, atol=TOLERANCE)
    for name, array in state_wanted.items():
        np.testing.assert_allclose(state[name], array, rtol=TOLERANCE, atol=TOLERANCE)


def at(inputs: Mapping[str, Array], positions: Any) -> dict[str, Array]:
    return {name: array[:, positions] for name, array in inputs.items()}


# JAX compiles every program and length anew, so its cases are slow ones.
FAST = {0, 1, len(SEEDS), len(SEEDS) + 1}
ONE_OF_EACH: tuple[How, ...] = (Sequential(), Scan(), Chunk(16), Newton(5), Quadratic())


def cases() -> Iterator[Any]:
    for place, text in enumerate(TEXTS):
        yield pytest.param((text, "jax"), marks=pytest.mark.slow, id=f"{place}-jax")
        yield pytest.param((text, "triton"), marks=() if place in FAST else pytest.mark.slow, id=f"{place}-torch")


@pytest.fixture(params=cases())
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A program and a target."""
    text, target = request.param
    return text, target


def test_every_size_of_pieces_gives_what_the_program_means(case: tuple[str, str]) -> None:
    text, target = case
    wanted = program(text).reference(*arrays(text))
    for schedule in schedules(text, target):
        same(run(text, target, str(schedule)), (wanted.outputs["y"], wanted.state))


def test_a_sequence_can_be_cut_and_continued(case: tuple[str, str]) -> None:
    text, target = case
    params, inputs, state = arrays(text)
    for schedule in map(str, schedules(text, target, ONE_OF_EACH)):
        first, between = run(text, target, schedule, (params, at(inputs, slice(None, 11)), state))
        second, last = run(text, target, schedule, (params, at(inputs, slice(11, None)), between))
        same((np.concatenate([first, second], 1), last), run(text, target, schedule))


def test_heads_permute(case: tuple[str, str]) -> None:
    text, target = case
    params, inputs, state = arrays(text)
    order = np.random.default_rng(2).permutation(HEADS)
    moved_params = {name: array[order] for name, array in params.items()}
    moved_inputs = {name: array[:, :, order] if name != "r" else array for name, array in inputs.items()}
    moved_state = {name: array[:, order] for name, array in state.items()}
    for schedule in map(str, schedules(text, target, ONE_OF_EACH)):
        output, last = run(text, target, schedule)
        wanted = output[:, :, order], {name: array[:, order] for name, array in last.items()}
        same(run(text, target, schedule, (moved_params, moved_inputs, moved_state)), wanted)


def test_what_comes_later_changes_nothing_before(case: tuple[str, str]) -> None:
    text, target = case
    params, inputs, state = arrays(text)
    later = {name: array.copy() for name, array in inputs.items()}
    for name, array in later.items():
        array[:, 17:] = ~array[:, 17:] if name == "r" else 3 - array[:, 17:]
    for schedule in map(str, schedules(text, target, ONE_OF_EACH)):
        found, _ = run(text, target, schedule, (params, later, state))
        np.testing.assert_allclose(
            found[:, :17], run(text, target, schedule)[0][:, :17], rtol=TOLERANCE, atol=TOLERANCE
        )


def test_a_reset_starts_a_sequence_of_its_own(case: tuple[str, str]) -> None:
    text, target = case
    params, inputs, state = arrays(text)
    starts = np.zeros((BATCH, LENGTH), bool)
    starts[:, [9, 20]] = True
    apart = [slice(None, 9), slice(9, 20), slice(20, None)]
    for schedule in map(str, schedules(text, target, ONE_OF_EACH)):
        whole, last = run(text, target, schedule, (params, {**inputs, "r": starts}, state))
        quiet = {**inputs, "r": np.zeros_like(starts)}
        parts = [
            run(text, target, schedule, (params, at(quiet, piece), state if piece.start is None else {}))
            for piece in apart
        ]
        same((whole, last), (np.concatenate([output for output, _ in parts], 1), parts[-1][1]))
