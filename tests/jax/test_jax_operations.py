"""Every operation as JAX code, on random operands of every sort, against the reference."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.jax_ops import PRINTERS
from lsrl.backends.module_loader import load_module
from lsrl.backends.reference import run
from lsrl.ir import build, ops
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim
from lsrl.ir.plan import Loop, make_plan
from lsrl.ir.value import Kind, postorder
from support.operations import NAMES, SIZES, cell_of, grown, renamed, with_recurrence
from support.running import random_arrays

CASES = 4


def compare(cell: Cell, seed: int) -> None:
    params, inputs, state = random_arrays(cell, SIZES, batch=2, length=3, seed=seed)
    expected = run(cell, SIZES, params, inputs, state)
    plan = make_plan(cell, SIZES)
    module = load_module(emit_jax(plan, "float64"), "emitted_operations")
    outputs, final = jax.jit(module.apply)(params, inputs, state)
    for name, array in expected.outputs.items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-10, atol=1e-12, err_msg=name)
        assert outputs[name].dtype == array.dtype
    for name, array in expected.state.items():
        np.testing.assert_allclose(final[name], array, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.fixture(autouse=True)
def _double() -> object:
    with jax.enable_x64(True), np.errstate(all="ignore"):
        yield


def test_every_operation_has_a_row() -> None:
    assert set(PRINTERS) == set(NAMES)


@pytest.mark.parametrize("op", NAMES)
def test_at_all_positions(op: str) -> None:
    seed = NAMES.index(op)
    made = [renamed(grown(op, 100 * seed + case), case) for case in range(CASES)]
    has_input = any(v.op == "input" for v in postorder(made))
    extra = [] if has_input else [ops.leaf("input", "x", (), Kind.FLOAT)]
    compare(cell_of([*made, *extra]), seed)


@pytest.mark.parametrize("op", NAMES)
def test_inside_a_loop(op: str) -> None:
    seed = NAMES.index(op)
    for case in range(2):
        value, state = with_recurrence(grown(op, 100 * seed + case))
        cell = cell_of([value, ops.leaf("input", "x", (), Kind.FLOAT)], (state,))
        (loop,) = (stage for stage in make_plan(cell, SIZES).stages if isinstance(stage, Loop))
        assert value in loop.body
        compare(cell, seed)




@pytest.mark.parametrize(("axis", "batch"), [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize(("table", "index"), [("input", "input"), ("param", "input"), ("input", "param")])
def test_gather_and_scatter(axis: int, batch: int, table: str, index: str) -> None:
    """Any axis, shared leading axes, indices outside (which are clamped), operands that vary or do not."""
    shape = (Dim.of("H"), Dim.of("D"), Dim.of(3))
    places = ops.leaf(index, "places", (*shape[:batch], Dim.of(2)), Kind.INT)
    entries = ops.leaf(table, "entries", shape, Kind.FLOAT)
    picked = ops.apply("gather", entries, places, axis=axis, batch=batch)
    updates = ops.leaf(table, "updates", picked.shape, Kind.FLOAT)
    added = ops.apply("scatter", updates, places, axis=axis, batch=batch, size=shape[axis])
    compare(cell_of([picked, added, ops.leaf("input", "x", (), Kind.FLOAT)]), seed=axis + 10 * batch)


@pytest.mark.parametrize("op", ["conv", "conv_dx", "conv_dw"])
@pytest.mark.parametrize(("image", "kernel"), [("input", "param"), ("input", "input"), ("param", "input")])
def test_strided_dilated_grouped_convolution(op: str, image: str, kernel: str) -> None:
    x = ops.leaf(image, "image", (Dim.of(4), Dim.of(9), Dim.of("D")), Kind.FLOAT)
    w = ops.leaf(kernel, "kernel", (Dim.of("D"), Dim.of(2), Dim.of(3), Dim.of(2)), Kind.FLOAT)
    made = build.conv(x, w, stride=2, dilation=2, groups=2, padding=2)
    values = {
        "conv": lambda: made,
        "conv_dx": lambda: ops.apply("conv_dx", made, w, shape=x.shape, **dict(made.attrs)),
        "conv_dw": lambda: ops.apply("conv_dw", x, made, shape=w.shape, **dict(made.attrs)),
    }
    compare(cell_of([values[op](), ops.leaf("input", "x", (), Kind.FLOAT)]), seed=7)
