"""Tiles of every form in JAX: one turn, layers, elements in four algebras, lines; trees of tiles in both frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import jax
import numpy as np
import pytest
import torch

import lsrl
from lsrl.backends.arrays import Array
from lsrl.backends.runtime import jax_grid_algebra, torch_grid_algebra
from lsrl.backends.runtime.grid_tree import over_tree
from lsrl.ir.lattice import along_one_axis
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.grid_form import grid_form
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_tiles import tile_form
from lsrl.ir.schedules.how import Dag, HowError, NotLegal, Tiles, Tree, parse_how
from lsrl.random_arrays import random_arrays
from lsrl.schedule import ScheduleError
from support.grid_programs import GRIDS
from support.grids import Drawn
from support.tile_more import FORMS, WARPED

ALSO_OF_THE_LIBRARY = ("one turn", "the other turn", "tracking", "layers", "three axes", "maxima")
"""Forms whose programs, or others of the same form, are run in tiles by the tests of the library too."""
D_MODE, SIZES = lsrl.load("std/plstm2d_d"), {"N": 2, "K": 3, "V": 2}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ALSO_OF_THE_LIBRARY else name for name in FORMS]
)
def test_every_form(name: str) -> None:
    """Values, borders that enter and leave, and all gradients."""
    grid, extents, schedule = FORMS[name]
    drawn = Drawn.of(grid, extents)
    errors = drawn.errors(drawn.compiled("jax", "float64", schedule))
    assert {what: error for what, error in errors if not error <= 1e-10} == {}


def test_the_transducer_sums_over_all_alignments() -> None:
    """A path to (t, u) reads t frames and writes u labels, in any order; its log-probability is a sum."""
    drawn = np.random.default_rng(0)
    blank, label = drawn.normal(size=(2, 1, 4, 5))
    run = lsrl.compile(lsrl.load("std/rnnt_lattice"), target="jax", dtype="float64", schedule="dag(parallel, 2)")
    found = np.asarray(run({}, {"blank": blank, "label": label}).outputs["alpha"])[0]
    for t, u in np.ndindex(4, 5):
        logs = [_path(blank[0], label[0], t + u, writes) for writes in combinations(range(t + u), u)]
        assert found[t, u] == pytest.approx(np.logaddexp.reduce(logs), rel=1e-12, abs=1e-12)


def _path(blank: np.ndarray, label: np.ndarray, steps: int, writes: tuple[int, ...]) -> float:
    t, u, total = 0, 0, 0.0
    for step in range(steps):
        total += label[t, u] if step in writes else blank[t, u]
        t, u = (t, u + 1) if step in writes else (t + 1, u)
    return total


def test_no_number_is_lost_where_nothing_arrives() -> None:
    """All borders are -inf: gradients by the scores are those of the reference, and numbers."""
    program = lsrl.load("std/rnnt_lattice")
    _, inputs, _ = random_arrays(program.graph, {}, 1, (3, 4))
    weights = {"finished": np.ones((1, 3, 4)), "alpha": np.ones((1, 3, 4))}
    found, wanted = (
        lsrl.compile(program, target=target, dtype="float64", schedule=schedule).gradients({}, inputs, {}, weights)
        for target, schedule in (("jax", "dag(2)"), ("reference", "sequential"))
    )
    for name in ("blank", "label"):
        np.testing.assert_allclose(found.inputs[name], wanted.inputs[name], rtol=1e-12)


@pytest.mark.parametrize(
    ("framework", "join", "counts", "axes"),
    [
        ("jax", "add", (5, 3), (0, 1)),
        ("jax", "max", (1, 6), (1, 0, 0)),
        ("jax", "logaddexp", (2, 3, 2), (2, 0, 1)),
        ("torch", "add", (3, 2, 5), (2, 1, 0)),
        ("torch", "min", (4, 3), (0, 0, 1)),
        ("torch", "logaddexp", (6, 1), (0, 1)),
        ("torch", "max", (3, 3), (1, 1)),
    ],
)
def test_a_tree_gives_what_going_from_tile_to_tile_does(
    framework: str, join: str, counts: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    drawn, edges = np.random.default_rng(0), (2, 1, 3)[: len(axes)]
    size = sum(edges)
    through = drawn.normal(size=(1, *counts, size, size)) / 2
    added = drawn.normal(size=(1, *counts, size, 1))
    starts = [drawn.normal(size=(1, *counts[:a], *counts[a + 1 :], e, 1)) for a, e in zip(axes, edges)]
    flat = (each.reshape(1, -1, *each.shape[1 + len(counts) :]) for each in (through, added))
    arriving, lasts = TREES[framework](join, *flat, starts, counts, axes, edges)
    borders = [start.copy() for start in starts]
    for number, place in enumerate(np.ndindex(*counts)):
        at = [(0, *place[:axis], *place[axis + 1 :]) for axis in axes]
        here = np.concatenate([border[where] for border, where in zip(borders, at)])
        np.testing.assert_allclose(arriving[0, number], here, rtol=1e-10, atol=1e-12)
        passed = _affine(join, through[0][place], here, added[0][place])
        for border, where, part in zip(borders, at, np.split(passed, np.cumsum(edges)[:-1])):
            border[where] = part
    for last, border in zip(lasts, borders):
        np.testing.assert_allclose(last, border, rtol=1e-10, atol=1e-12)


def _jax_tree(join: str, through: Array, added: Array, starts: list[Array], *grid: object) -> tuple[Array, list[Array]]:
    run = jax.jit(lambda *given: over_tree(jax_grid_algebra.algebra_of(join), *given, *grid))
    arriving, lasts = run(through, added, tuple(starts))
    return np.asarray(arriving), [*map(np.asarray, lasts)]


def _torch_tree(
    join: str, through: Array, added: Array, starts: list[Array], *grid: object
) -> tuple[Array, list[Array]]:
    given = (torch.tensor(through), torch.tensor(added), tuple(map(torch.tensor, starts)))
    arriving, lasts = over_tree(torch_grid_algebra.algebra_of(join), *given, *grid)
    return arriving.numpy(), [last.numpy() for last in lasts]


TREES: Mapping[str, Callable[..., tuple[Array, list[Array]]]] = {"jax": _jax_tree, "torch": _torch_tree}


def _affine(join: str, matrix: np.ndarray, vector: np.ndarray, added: np.ndarray) -> np.ndarray:
    if join == "add":
        return matrix @ vector + added
    plus = {"max": np.maximum, "min": np.minimum, "logaddexp": np.logaddexp}[join]
    terms = np.concatenate([matrix + vector[:, 0], added], 1)
    return plus.reduce(terms, 1)[:, None]


def test_ties_of_paths_share_as_the_reference_does() -> None:
    """Time warping with equal costs: of many shortest paths the derivative takes those that the steps choose."""
    program = lsrl.parse(WARPED)
    cost = np.ones((1, 3, 4))
    start = {"corner": np.zeros((1, 3))}
    found, wanted = (
        lsrl.compile(program, target=target, dtype="float64", schedule=schedule).gradients(
            {}, {"cost": cost}, start, {"best": np.eye(12)[-1].reshape(1, 3, 4)}
        )
        for target, schedule in (("jax", "dag(2)"), ("reference", "sequential"))
    )
    np.testing.assert_allclose(found.inputs["cost"], wanted.inputs["cost"], rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "exact"), [("dag(2)", True), pytest.param("dag(parallel, 2)", False, marks=pytest.mark.slow)]
)
def test_a_cut_between_tiles_changes_no_bit(schedule: str, exact: bool) -> None:
    """Stitched from two parts cut where tiles meet, a grid is the same; a tree adds up in another order."""
    program = lsrl.parse(GRIDS["plstm"].text)
    cell, sizes = program.bind(GRIDS["plstm"].numbers)
    _, inputs, state = random_arrays(cell, sizes, 2, (6, 3))
    fn = lsrl.compile(program, target="jax", sizes=sizes, dtype="float64", schedule=schedule)
    whole = fn({}, inputs, state)
    upper = fn({}, {n: a[:, :4] for n, a in inputs.items()}, {**state, "R": state["R"][:, :4]})
    lower = fn({}, {n: a[:, 4:] for n, a in inputs.items()}, {"R": state["R"][:, 4:], "D": upper.state["D"]})
    stitched = np.concatenate([upper.outputs["o"], lower.outputs["o"]], 1)
    np.testing.assert_allclose(stitched, whole.outputs["o"], rtol=0 if exact else 1e-11, atol=0 if exact else 1e-11)
    assert exact == bool((stitched == whole.outputs["o"]).all())


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ("R=dag(4)", "D=dag(4),R=dag(4)"),
        ("D=dag(parallel)", "D=dag(parallel),R=dag(parallel)"),
        ("D=sequential", "D=sequential,R=dag"),
        ("R=scan", "D=dag,R=scan"),
        ("auto", "D=dag,R=dag"),
    ],
)
def test_recurrences_that_share_their_tiles_run_alike(asked: str, runs: str) -> None:
    assert str(lsrl.compile(D_MODE, target="jax", sizes=SIZES, schedule=asked).schedule) == runs


def test_tiles_are_not_shared_with_another_schedule() -> None:
    with pytest.raises(ScheduleError, match=r"`R` and `D` run in the same tiles, so not as `dag\(4\)` and as `dag`"):
        lsrl.compile(D_MODE, target="jax", sizes=SIZES, schedule="R=dag(4), D=dag")


def test_what_is_written_reads_back() -> None:
    hows = (Dag(), Tiles(), Tiles(8), Tree(), Tree(4))
    assert [parse_how(str(how)) for how in hows] == [*hows]
    with pytest.raises(HowError, match="`dag` takes a positive number here, not `0`"):
        parse_how("dag(parallel, 0)")


BETWEEN = """
cell c(K=2, V=2) over y, x:
    input q, k: [K], v: [V], a: []
    state R: [K, V] along x = 0
    state D: [K, V] along y = 0
    state m: [V] along y = 0
    m' = tanh(q @ D + m)
    R' = a * R + D + outer(k, m)
    D' = a * D + outer(k, v)
    output o = q @ R
"""


def test_what_runs_between_two_recurrences_keeps_them_out_of_the_same_tiles() -> None:
    cell = along_one_axis(lsrl.parse(BETWEEN).graph)
    part = next(part for part in components(cell) if "R" in part.names)
    with pytest.raises(NotLegal, match="`R` and `D` would run in the same tiles, but `m` runs between them"):
        grid_form(cell, part)
    assert isinstance(tile_form(cell, part), ElementForm)


REFUSED = {
    "`h'` mixes elements of its states at different places": """
cell c(K=2) over y, x:
    input u: [K], W: [K, K]
    state h: [K] along x = 0
    state g: [K] along y = 0
    h' = W @ h + g + u
    g' = h
    output o = h
""",
    "`n'` and `m'` are not affine in `n` and `m`": """
cell c() over y, x:
    input u: []
    state n: [] along x = 0
    state m: [] along y = 0
    n' = max(n + m, u)
    m' = max(n, m)
    output o = n
""",
    "`up` holds int values, of which none is infinite": """
cell edit() over y, x:
    input cost: [] int
    state up: [] int along y = 0
    state left: [] int along x = 0
    state corner: [] int along x = 0
    best = min(min(up, left) + 1, corner + cost)
    up' = best
    left' = best
    corner' = up
    output best
""",
    "`h` and `g` travel along y and x, not along one axis": """
cell c() over y, x:
    input u: []
    state h: [] along x = 0
    state g: [] along y = 0
    h' = g + u
    g' = h
    output o = h
""",
}


@pytest.mark.parametrize("target", ["jax", "triton"])
@pytest.mark.parametrize("reason", REFUSED)
def test_what_tiles_cannot_run_is_refused_with_the_fact_that_fails(reason: str, target: str) -> None:
    schedule = "scan" if "one axis" in reason else "dag(4)"
    with pytest.raises(ScheduleError) as refusal:
        lsrl.compile(lsrl.parse(REFUSED[reason]), target=target, schedule=schedule)
    assert reason in str(refusal.value)
