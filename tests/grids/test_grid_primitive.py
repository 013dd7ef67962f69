"""Affine recurrences over grids in tiles: recognised from the graph, values and derivatives held to the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax
import numpy as np
import pytest

import lsrl
from lsrl.ir.schedules.how import Dag, HowError, Tiles, parse_how
from lsrl.random_arrays import random_arrays, random_weights
from lsrl.schedule import ScheduleError
from lsrl.verify import relative_errors
from support.grid_programs import GRIDS
from support.tile_programs import TILES

SIZES = {"K": 3, "V": 2}

PROGRAMS = {name: grid.text for name, grid in TILES.items()}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def check(
    text: str, extents: tuple[int, ...], schedule: str, *, started: bool = True, sizes: Mapping[str, int] = SIZES
) -> None:
    """Outputs, states at the far borders, and gradients by everything."""
    program = lsrl.parse(text)
    cell, sizes = program.bind({"N": 2, **sizes} if "(N" in text else sizes)
    params, inputs, state = random_arrays(cell, sizes, 2, extents)
    given = (params, {name: array / 2 for name, array in inputs.items()}, state if started else {})
    ours = lsrl.compile(program, target="jax", sizes=sizes, dtype="float64", schedule=schedule)
    truth = lsrl.compile(program, target="reference", sizes=sizes)
    assert set(map(type, ours.schedule.hows.values())) == {Tiles}
    found, wanted = (_results(each(*given)) for each in (ours, truth))
    close(found, wanted)
    mine, theirs = (each.gradients(*given, random_weights(wanted)) for each in (ours, truth))
    for group in ("params", "inputs", "state"):
        close(getattr(mine, group), getattr(theirs, group))


def _results(result: lsrl.Result) -> dict[str, object]:
    return {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}


def close(found: Mapping[str, object], wanted: Mapping[str, np.ndarray]) -> None:
    arrays = {name: np.asarray(array) for name, array in found.items()}
    assert max(relative_errors(arrays, wanted).values(), default=0.0) <= 1e-10


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_form(name: str) -> None:
    check(PROGRAMS[name], (3, 5, 2)[: 3 if name == "cube" else 2], "dag(2)")


@pytest.mark.parametrize(("extents", "side"), [((1, 5), 2), ((5, 1), 3), ((4, 4), 4), ((3, 7), 16)])
def test_tiles_of_any_side_on_grids_of_any_side(extents: tuple[int, int], side: int) -> None:
    check(PROGRAMS["plstm"], extents, f"dag({side})", started=False)


def test_grids_without_places_pass_their_borders_on() -> None:
    check(PROGRAMS["plstm"], (0, 3), "dag(2)")


def test_large_tiles_follow_one_another() -> None:
    """Where the matrices of a tile are large, tiles run one by one and not by waves."""
    check(PROGRAMS["plstm"], (5, 3), "dag(4)", sizes={"K": 32, "V": 32})


def test_tiles_are_chosen_where_states_are_matrices_that_outweigh_their_coefficients() -> None:
    program = lsrl.parse(PROGRAMS["plstm"])
    assert lsrl.compile(program, sizes=SIZES).schedule.hows["R"] == Dag()
    assert lsrl.compile(program, sizes={"K": 16, "V": 16}).schedule.hows["R"] == Tiles(4)
    assert lsrl.compile(program, sizes={"K": 64, "V": 64}).schedule.hows["R"] == Tiles(8)
    assert "sides=(4, 4,)" in lsrl.compile(program, sizes={"K": 16, "V": 16}, schedule="dag(tiles)").source
    assert "sides=(8, 8,)" in lsrl.compile(program, sizes={"K": 64, "V": 64}, schedule="dag(tiles)").source


def test_what_is_written_reads_back() -> None:
    assert [parse_how(str(how)) for how in (Dag(), Tiles(), Tiles(8))] == [Dag(), Tiles(), Tiles(8)]
    with pytest.raises(HowError, match="`dag` takes a positive number here, not `0`"):
        parse_how("dag(0)")


ELEMENTS = {
    "vectors": (
        "cell c(K=2) over y, x:\n"
        "    input u: [K]\n"
        "    state R: [K] along x = 0\n"
        "    state D: [K] along y = 0\n"
        "    R' = R + D + u\n"
        "    D' = R - D\n"
        "    output o = R\n",
        {},
    ),
    "more than a number": (PROGRAMS["plstm"].replace("R' = trl * R", "R' = diag(k) @ R"), SIZES),
    "all of a state": (PROGRAMS["plstm"] + "    output all = R\n", SIZES),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_what_no_vectors_read_and_write_runs_element_by_element(name: str) -> None:
    text, sizes = ELEMENTS[name]
    assert "tiled_elements(" in lsrl.compile(lsrl.parse(text), target="jax", sizes=sizes, schedule="dag(4)").source


def test_what_tiles_cannot_run_is_refused_with_the_fact_that_fails() -> None:
    program = lsrl.parse(GRIDS["md_rnn"].text)
    with pytest.raises(ScheduleError, match=r"`h\.y'` and `h\.x'` are not affine in `h\.y` and `h\.x`"):
        lsrl.compile(program, target="jax", schedule="dag(4)")
