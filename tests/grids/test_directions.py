"""Cells that run backward on some axes of a grid, and loops that differ only in that: they run as one."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import lsrl
from lsrl.backends.arrays import Array
from lsrl.ir.lattice import along_one_axis
from lsrl.ir.plan import Loop, Plan, make_plan
from lsrl.ir.schedules.how import Dag
from lsrl.unparse import unparse
from support.elaborated import problems
from support.grid_programs import Grid
from support.grids import Drawn

SIZES = {"D": 2, "H": 2}
WAYS: dict[str, tuple[int, ...]] = {"f": (), "f_2": (2,), "f_3": (1,), "f_4": (1, 2)}

# A nonlinear state, an affine one that travels along x alone, and an input one place up.
ONE = """
cell f(D, H) over y, x:
    input u: [D]
    param W: [H, D]
    param U: [H, H]
    state h: [H] along y, x = 0
    state c: [H] along x = 1
    h' = tanh(W @ u + U @ h[y-1] - h[x-1] + 0.5 * u[y-1][0])
    c' = 0.5 * c + h'
    output o = h' + c
"""
FOUR = f"""
{ONE}
cell four(D, H) over y, x:
    input u: [D]
    upper = f(D, H)(u) + 2 * (reverse along x f(D, H)(u))
    lower = 3 * (reverse along y f(D, H)(u)) + 4 * (reverse along (y, x) f(D, H)(u))
    output o = upper + lower
"""
# All ways share what is the same at all places; the first takes one array twice.
SHARED = """
cell g(H) over y, x:
    input u, v: [H], U: [H, H]
    state h: [H] along y, x = 0
    h' = tanh(U @ (h[y-1] + h[x-1]) + u) + v
    output h'

cell four(H) over y, x:
    input u, v: [H]
    param U: [H, H]
    a = g(H)(u, u, U)
    b = reverse along y g(H)(u, v, U)
    output o = a + b + 2 * (reverse g(H)(v, u, U))
"""


# Linear memories with gates of their own.
MEMORIES = """
from std import plstm2d_d

cell four(K, V) over y, x:
    input q, k: [1, K], v: [1, V], t, s, m, d: [1]
    a = plstm2d_d(1, K, V)(q, k, v, t, t, t, s, s, m, m, d)
    b = reverse along x plstm2d_d(1, K, V)(q, k, v, t, s, t, s, d, m, m, d)
    c = reverse along y plstm2d_d(1, K, V)(q, k, v, t, t, d, s, s, m, t, d)
    output o = a + 2 * b + 3 * c + 4 * (reverse plstm2d_d(1, K, V)(q, k, v, s, t, t, s, s, m, m, d))
"""


def plan_of(text: str, sizes: dict[str, int]) -> Plan:
    cell = along_one_axis(lsrl.parse(text).cell(sizes))
    return make_plan(cell, sizes, hows={state.name: Dag() for state in cell.states})


def test_each_way_is_the_cell_on_the_grid_turned_round() -> None:
    """Outputs, and the states where they enter and where they leave."""
    one = lsrl.parse(ONE)
    drawn = Drawn.of(Grid(FOUR, sizes=tuple(SIZES.items())), (3, 4))
    params, inputs, state = drawn.given
    found = drawn.program.reference(params, inputs, state, sizes=SIZES)
    total = np.zeros_like(found.outputs["o"])
    for factor, (way, turn) in enumerate(WAYS.items(), start=1):
        own, starts, lasts = (_of(way, group) for group in (params, state, found.state))
        turned = {name: _turned(name, array, turn) for name, array in starts.items()}
        plain = one.reference(own, {"u": np.flip(inputs["u"], turn)}, turned, sizes=SIZES)
        total += factor * np.flip(plain.outputs["o"], turn)
        assert lasts.keys() == plain.state.keys()
        for name, array in lasts.items():
            np.testing.assert_array_equal(array, _turned(name, plain.state[name], turn))
    np.testing.assert_allclose(found.outputs["o"], total, rtol=1e-13)


def _of(way: str, group: dict[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(f"{way}."): array for name, array in group.items() if name.startswith(f"{way}.")}


def _turned(name: str, border: Array, turn: tuple[int, ...]) -> Array:
    """A border has the axis that its state does not travel along."""
    other = 1 if name in ("h.x", "c") else 2
    return np.flip(border, 1) if other in turn else border


@pytest.mark.filterwarnings("ignore:.* runs in its plain PyTorch form")
@pytest.mark.parametrize("text", [FOUR, SHARED], ids=["own", "shared"])
@pytest.mark.parametrize(("target", "schedule"), [("jax", "dag"), ("triton", "dag"), ("triton", "sequential")])
def test_every_backend_runs_all_ways(target: str, schedule: str, text: str) -> None:
    """Values, states at the far borders, and gradients by parameters, inputs and states at the near ones."""
    drawn = Drawn.of(Grid(text, sizes=tuple(SIZES.items()) if text is FOUR else (("H", 2),)), (3, 4))
    with jax.enable_x64(True):
        compiled = drawn.compiled(target, "float64", schedule)
        assert {what: error for what, error in drawn.errors(compiled) if error > 1e-10} == {}


def test_loops_that_differ_in_direction_run_as_one() -> None:
    """`c` stands behind a product with a parameter, so it has a loop of its own."""
    plan = plan_of(FOUR, SIZES)
    assert [each.turns(plan.cell.axes) for each in plan.abreast] == [((), (1,), (0,), (0, 1))] * 2
    assert [len(each.loops[0].states) for each in plan.abreast] == [2, 1]


def test_the_most_general_loop_runs_for_all() -> None:
    """A loop that takes one array twice is a case of one that takes two."""
    plan = plan_of(SHARED, {"H": 2})
    (beside,) = plan.abreast
    assert len(beside.loops) == 3
    first, *others = beside.played(beside.loops[0].reads)
    assert len(set(first)) == 2
    assert all(len(own) == len(first) for own in others)


@pytest.mark.parametrize("other", ["tanh(U @ h[y-1] + u - h[x-1])", "sin(U @ h[y-1] + u + h[x-1])"])
def test_other_loops_run_by_themselves(other: str) -> None:
    plan = plan_of(
        f"""
cell f(H) over y, x:
    input u: [H]
    param U: [H, H]
    state h: [H] along y, x = 0
    h' = tanh(U @ h[y-1] + u + h[x-1])
    output h'

cell g(H) over y, x:
    input u: [H]
    param U: [H, H]
    state h: [H] along y, x = 0
    h' = {other}
    output h'

cell both(H) over y, x:
    input u: [H]
    output o = f(H)(u) + reverse along y g(H)(u)
""",
        {"H": 2},
    )
    assert plan.abreast == ()
    assert [loop.reverse for loop in plan.stages if isinstance(loop, Loop)] == [frozenset(), {"y"}]


def test_one_way_after_the_other_is_not_at_once() -> None:
    plan = plan_of(
        f"{ONE}\ncell both(H) over y, x:\n    input u: [H]\n"
        "    output o = reverse along y f(H, H)(reverse along x f(H, H)(u))\n",
        {"H": 2},
    )
    assert plan.abreast == ()


# The language.


def test_directions_add_up() -> None:
    """What is turned twice is forward; an axis that a state does not travel along counts for those beside it."""
    program = lsrl.parse(f"""{ONE}
cell turned(D, H) over y, x:
    input u: [D]
    output o = reverse along y reverse f(D, H)(u) + reverse along x reverse along x f(D, H)(u)
""")
    found = {state.name: state.reverse for state in program.cell(SIZES).states}
    assert found["f.c"] == found["f.h"] == {"x"}
    assert found["f_2.c"] == found["f_2.h"] == frozenset()


def test_resets_turn_with_the_cell() -> None:
    """A state that comes from the right starts anew on the other side of the boundary."""
    text = """
cell f() over y, x:
    input u: []
    state h: [] along x = 0
    h' = h + u
    output h'

cell every() over y, x:
    input u: [], r: [] bool
    reset when r
    output a = f()(u), b = reverse along x f()(u), c = reverse along y f()(u)
"""
    reset = np.array([[[False, False, True, False], [False, False, False, True]]])
    found = lsrl.parse(text).reference({}, {"u": np.ones((1, 2, 4)), "r": reset}, sizes={}).outputs
    np.testing.assert_array_equal(found["a"], [[[1, 2, 1, 2], [1, 2, 3, 1]]])
    np.testing.assert_array_equal(found["b"], [[[2, 1, 2, 1], [3, 2, 1, 1]]])
    np.testing.assert_array_equal(found["c"], found["a"])


@pytest.mark.parametrize(
    ("axes", "over", "said"),
    [("z", "y, x", "no axis z"), ("(y, z)", "y, x", "no axis z"), ("y", "", "no axis y")],
)
def test_axes_that_the_cell_has_not(axes: str, over: str, said: str) -> None:
    runs = f" over {over}" if over else ""
    text = f"cell f(D){runs}:\n    input u: [D]\n    output y = 2 * u\n"
    text += f"\ncell g(D){runs}:\n    input u: [D]\n    output y = reverse along {axes} f(D)(u)\n"
    (problem,) = [each for each in problems(text) if each.severity == "error"]
    assert (problem.code, said in problem.message) == ("E0512", True)
    assert problem.span.column == len("    output y = reverse ") + 1


def test_text_has_the_axes() -> None:
    """A flat text has a cell for each backward recurrence and lag, used with its axes."""
    program = lsrl.parse(FOUR)
    text = unparse(program.cell(SIZES))
    assert [text.count(f"= reverse {way}") for way in ("along x backward", "along y backward", "backward")] == [3, 3, 3]
    drawn = Drawn.of(Grid(FOUR, sizes=tuple(SIZES.items())), (2, 3), started=False)
    params, inputs, _ = drawn.given
    flat, written = lsrl.parse(text), {name.replace(".", "_"): array for name, array in params.items()}
    own = {param.name: written[param.name.rpartition(".")[2]] for param in flat.cell(SIZES).params}
    again, wanted = flat.reference(own, inputs, sizes=SIZES), program.reference(params, inputs, sizes=SIZES)
    np.testing.assert_allclose(again.outputs["o"], wanted.outputs["o"], rtol=1e-13)


def test_element_wise_work_leaves_loops_that_then_share_what_is_static() -> None:
    """Else gates with biases of their own would keep the directions of a layer apart where arrays join in the batch."""
    program = lsrl.load("std/plstm2d_d_four")
    sizes = {"D": 2, "N": 1, "K": 2, "V": 2}
    cell = along_one_axis(program.cell(sizes))
    plan = make_plan(cell, sizes, hows={state.name: Dag() for state in cell.states}, hoist_elementwise=False)
    assert [(len(each.loops), each.shares_statics) for each in plan.abreast] == [(4, True)]


@pytest.mark.filterwarnings("ignore:.* runs in its plain PyTorch form")
@pytest.mark.parametrize(
    ("target", "schedule"), [("jax", "dag(2)"), ("triton", "dag(2)"), ("triton", "dag(parallel, 2)")]
)
def test_all_ways_run_in_the_same_tiles(target: str, schedule: str) -> None:
    """Values, borders and gradients of one call that runs all four, each two recurrences with gates of its own."""
    drawn = Drawn.of(Grid(MEMORIES, sizes=(("K", 2), ("V", 3))), (3, 5))
    with jax.enable_x64(True):
        compiled = drawn.compiled(target, "float64", schedule)
        assert {what: error for what, error in drawn.errors(compiled) if error > 1e-10} == {}
    assert compiled.source.partition("def apply(")[2].count("tiled_in_directions(") == 1
    assert "4 directions in one pass" in compiled.explain()


LAYERS = """
from std import plstm2d, plstm2d_tracking

cell ways(J, K, V) over y, x:
    input q, k: [1, K, J], v: [1, V, J], a, b: [1, J, J], s: [1, J, J, J], d: [1, J, J, J, J], t: [1]
    one = plstm2d_tracking(1, K, V, J)(q, k, v, a, b, b, a, s, s, s, s, d)
    output o = one + (reverse along y plstm2d_tracking(1, K, V, J)(q, k, v, b, a, a, b, s, s, s, s, d))
    alone = plstm2d(1, K, V)(q[:, :, 0], k[:, :, 0], v[:, :, 0], t, t, t, t, t, t, t)
    output p = alone
"""


@pytest.mark.filterwarnings("ignore:.* runs in its plain PyTorch form")
def test_tiles_of_other_forms_run_by_themselves() -> None:
    """Those of states in layers run at once, and beside them others of one layer."""
    drawn = Drawn.of(Grid(LAYERS, sizes=(("J", 2), ("K", 2), ("V", 3))), (3, 4))
    compiled = drawn.compiled("triton", "float64", "dag(2)")
    assert {what: error for what, error in drawn.errors(compiled) if error > 1e-10} == {}
    body = "".join(compiled.source.partition("def apply(")[2].split())
    assert body.count("=tiled_in_directions(functools.partial(tiled_layers,tiled,torch.stack),") == 1
    assert body.count("=tiled(") == 1


@pytest.mark.parametrize("target", ["jax", "triton"])
def test_a_layer_from_four_corners_is_one_pass(target: str) -> None:
    """Also where the projections of all directions have become one product, of which each takes its part."""
    sizes = {"D": 2, "N": 1, "K": 2, "V": 2}
    compiled = lsrl.compile(lsrl.load("std/plstm2d_four"), target=target, sizes=sizes, schedule="dag")
    assert compiled.source.partition("def apply(")[2].count("in_directions(") == 1
    assert compiled.explain().count("4 directions in one pass") == 4
