"""Grids in JAX: any number of axes, any lengths, values and derivatives held to the float64 reference."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
import pytest

import lsrl
from lsrl.ir.schedules.how import Dag, Sequential
from lsrl.random_arrays import random_arrays, random_weights
from lsrl.schedule import ScheduleError
from lsrl.verify import relative_errors
from support.grid_programs import GRIDS, Grid

PAIRS = [(3, 4), (1, 5), (5, 1), (7, 2), (1, 1)]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def check(grid: Grid, extents: tuple[int, ...], schedule: str, *, started: bool = True) -> None:
    """Outputs, states at the far borders, and gradients by everything."""
    program = lsrl.parse(grid.text)
    cell, sizes = program.bind(grid.numbers)
    params, inputs, state = random_arrays(cell, sizes, 2, extents)
    params, inputs = ({name: array / 2 for name, array in group.items()} for group in (params, inputs))
    given = (params, inputs, state if started else {})
    told = {} if cell.inputs else {"batch": 2, "length": extents}
    ours = lsrl.compile(program, target="jax", sizes=sizes, dtype="float64", schedule=schedule)
    truth = lsrl.compile(program, target="reference", sizes=sizes)
    found, wanted = ours(*given, **told), truth(*given, **told)
    results = {**wanted.outputs, **{f"state.{name}": array for name, array in wanted.state.items()}}
    close({**found.outputs, **{f"state.{name}": array for name, array in found.state.items()}}, results)
    weights = random_weights(results)
    mine, theirs = (each.gradients(*given, weights, **told) for each in (ours, truth))
    for group in ("params", "inputs", "state"):
        close(getattr(mine, group), getattr(theirs, group))


def close(found: dict[str, object], wanted: dict[str, np.ndarray]) -> None:
    arrays = {name: np.asarray(array) for name, array in found.items()}
    assert max(relative_errors(arrays, wanted).values(), default=0.0) <= 1e-10


@pytest.mark.parametrize("schedule", ["dag", "sequential"])
@pytest.mark.parametrize("name", GRIDS)
def test_every_kind_of_grid(name: str, schedule: str) -> None:
    check(GRIDS[name], (3, 4, 2)[: GRIDS[name].axes], schedule)


@pytest.mark.parametrize("extents", PAIRS)
@pytest.mark.parametrize("name", ["plstm", "md_rnn"])
def test_all_sides(name: str, extents: tuple[int, ...]) -> None:
    check(GRIDS[name], extents, "dag", started=False)


@pytest.mark.parametrize("extents", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("schedule", ["dag", "sequential"])
def test_grids_without_places_pass_their_borders_on(extents: tuple[int, ...], schedule: str) -> None:
    check(GRIDS["md_rnn"], extents, schedule)


def test_tiles_are_stitched_by_their_borders() -> None:
    """A grid in two tiles, the second of which takes the borders of the first, is the whole grid."""
    program = lsrl.parse(GRIDS["plstm"].text)
    cell, sizes = program.bind(GRIDS["plstm"].numbers)
    _, inputs, state = random_arrays(cell, sizes, 2, (6, 5))
    fn = lsrl.compile(program, target="jax", sizes=sizes, dtype="float64")
    whole = fn({}, inputs, state)
    upper = fn({}, {n: a[:, :4] for n, a in inputs.items()}, {**state, "R": state["R"][:, :4]})
    lower = fn({}, {n: a[:, 4:] for n, a in inputs.items()}, {"R": state["R"][:, 4:], "D": upper.state["D"]})
    np.testing.assert_array_equal(np.concatenate([upper.outputs["o"], lower.outputs["o"]], 1), whole.outputs["o"])
    np.testing.assert_array_equal(np.concatenate([upper.state["R"], lower.state["R"]], 1), whole.state["R"])
    np.testing.assert_array_equal(lower.state["D"], whole.state["D"])


def test_schedules_of_grids_and_of_sequences_are_apart() -> None:
    grid, line = lsrl.parse(GRIDS["plstm"].text), lsrl.load("std/mingru")
    sizes = GRIDS["plstm"].numbers
    assert lsrl.compile(grid, sizes=sizes).schedule.hows["R"] == Dag()
    assert lsrl.compile(grid, sizes=sizes, schedule="R=sequential").schedule.hows["D"] == Sequential()
    with pytest.raises(ScheduleError, match="`R` and `D` travel along y and x, not along one axis, so `scan` cannot"):
        lsrl.compile(grid, sizes=sizes, schedule="scan")
    with pytest.raises(ScheduleError, match="the states of mingru do not travel on a grid"):
        lsrl.compile(line, sizes={"D": 2, "H": 3}, schedule="dag")
