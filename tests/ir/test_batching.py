"""A cell with heads computes, for each head, what the cell of one head computes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.ir import build, verify
from lsrl.ir.batching import with_heads
from lsrl.ir.cell import Cell, bind_sizes
from lsrl.ir.dims import Dim
from lsrl.ir.fault import Fault
from lsrl.ir.ops import OPS, Family
from lsrl.ir.value import Kind
from support.cells import arrives, cell_of, input_, param, state
from support.graphs import Grower, random_cell
from support.running import random_arrays

HEADS, BATCH, LENGTH = 3, 2, 3
SIZES = {"H": 4, "D": 8}
LINES = [name for name, op in OPS.items() if op.family is not Family.GRAPH]


def names(cell: Cell) -> list[str]:
    """Everything that can be shared."""
    return [one.name for one in (*cell.inputs, *cell.params, *cell.noises)]


def agree_head_by_head(cell: Cell, shared: set[str], seed: int, heads: Dim) -> None:
    """Compare a run of all heads with a run for each."""
    known = {size.name for size in cell.sizes}
    sizes = {name: number for name, number in SIZES.items() if name in known}
    many = verify.check(with_heads(cell, heads, shared))
    arrays = random_arrays(many, sizes, BATCH, LENGTH, seed)
    together = reference.run(many, sizes, *arrays)
    for head in range(HEADS):

        def own(array: Array, name: str, axis: int, head: int = head) -> Array:
            return array if name in shared else np.take(array, head, axis)

        params, inputs, states = (
            {name: own(array, name, axis) for name, array in one.items()}
            for one, axis in zip(arrays, (0, 2, 1), strict=True)
        )
        alone = reference.run(cell, sizes, params, inputs, states)
        for name, expected in alone.outputs.items():
            found = np.take(together.outputs[name], head, axis=2)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=f"{name} of head {head}")
        for name, expected in alone.state.items():
            np.testing.assert_allclose(np.take(together.state[name], head, axis=1), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", LINES)
def test_every_operation_lifts(op: str) -> None:
    for seed in range(6):
        random = Random(f"{op} {seed}")
        grower = Grower(random)
        value = grower.grow(op)
        if value.kind is Kind.BOOL:
            value = build.cast(value, Kind.FLOAT)
        cell = cell_of({"y": value, "z": build.mul(2.0, input_("own"))})
        shared = {name for name in names(cell) if random.random() < 0.4} - {"own"}
        agree_head_by_head(cell, shared, seed, Dim.of(HEADS))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(8))
def test_random_cells_lift(seed: int) -> None:
    random = Random(seed)
    cell = random_cell(random, operations=10, constants=(1, True, "pi", 2j, (1, 2)))
    cell = replace(cell, requires=(), inputs=tuple(replace(i, bound=None) for i in cell.inputs))
    shared = {name for name in names(cell) if random.random() < 0.3}
    agree_head_by_head(cell, shared, seed, Dim.of(HEADS))


def test_the_number_of_heads_may_be_a_size() -> None:
    x, w, h = input_("x", "D"), param("w", "D"), arrives("h", "D")
    cell = cell_of({"y": build.mul(w, h)}, [state(h, build.add(h, build.mul(x, w)), 0.0)])
    many = with_heads(replace(cell, sizes=(*cell.sizes,)), Dim.of("D") // 2, set())
    assert many.heads == Dim.of("D") // 2
    assert [i.shape for i in many.inputs] == [(Dim.of("D") // 2, Dim.of("D"))]
    assert bind_sizes(many, {"D": 4}) == {"D": 4}


def test_a_shared_state_must_not_differ_between_heads() -> None:
    x, h = input_("x"), arrives("h")
    cell = cell_of({"y": h}, [state(h, build.add(h, x))])
    with pytest.raises(Fault, match="shared state h"):
        with_heads(cell, Dim.of(2), {"h"})


def test_a_convolution_per_head_needs_their_number() -> None:
    x, w = input_("x", 2, 5), param("w", 3, 2, 3)
    with pytest.raises(Fault, match="needs a number of heads"):
        with_heads(cell_of({"y": build.conv(x, w)}), Dim.of("N"), set())
