"""No execution leaves its range: sampled programs, states and operations, and what is known of particular ones."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import lsrl
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.given_ranges import Given
from lsrl.backends.initialise import places_of
from lsrl.backends.ranges import ranges_of
from lsrl.backends.reference.lattice import sweep
from lsrl.ir import ops
from lsrl.ir.cell import Cell
from lsrl.ir.value import Kind, Value

ROUNDING = 1e-9

Arrays = dict[str, np.ndarray]


def arrays_of(cell: Cell, sizes: Mapping[str, int], inputs: Arrays) -> dict[Value, np.ndarray]:
    """Every value of a run, [*places, *shape]."""
    length, batch = next(iter(inputs.values())).shape[1::-1]
    scope = Scope(sizes)
    env = {
        ops.leaf("input", each.name, each.shape, each.kind, each.domain): inputs[each.name].astype(
            scope.dtype(each.kind)
        )
        for each in cell.inputs
    }
    swept = sweep(cell, scope, places_of(cell, "", {"B": batch, "T": length}), env, {})
    evaluate(cell.roots(), swept.env, scope)
    return swept.env


def assert_inside(array: np.ndarray, known: Range, said: str) -> None:
    array = np.asarray(array, float)
    rows = array.reshape(-1, *known.shape)
    slack = ROUNDING * (1 + np.abs(rows))
    fine = np.isnan(rows) | ((known.low - slack <= rows) & (rows <= known.high + slack))
    assert fine.all(), (said, known.low, known.high, rows[~fine])
    if known.grid is not None and known.grid.step:
        turns = (rows - float(known.grid.offset)) / float(known.grid.step)
        assert np.abs(turns - np.rint(turns)).max(initial=0) < 1e-6, (said, known.grid, rows)
    if known.grid is not None and not known.grid.step:
        np.testing.assert_allclose(rows, float(known.grid.offset), rtol=ROUNDING)
    if known.shape:
        low, high = known.row_sums()
        sums = rows.sum(-1)
        slack = ROUNDING * (1 + np.abs(rows).sum(-1))
        assert ((low - slack <= sums) & (sums <= high + slack)).all(), (said, low, high, sums)


def check(text: str, inputs: Mapping[str, Given], sizes: Mapping[str, int] | None = None, length: int = 12) -> None:
    """Random inputs within their ranges stay within all ranges, with and without a horizon."""
    cell, numbers = lsrl.parse(text).bind(sizes or {})
    rng = np.random.default_rng(0)
    arrays = {
        each.name: draw(rng, inputs[each.name], (4, length, *Scope(numbers).shape(each.shape))) for each in cell.inputs
    }
    found = arrays_of(cell, numbers, arrays)
    for horizon in (None, length):
        known = ranges_of(cell, numbers, inputs, horizon)
        for value, array in found.items():
            if value in known and value.kind is not Kind.COMPLEX:
                assert_inside(array, known[value], f"{cell.names.get(value, value)} at horizon {horizon}")


def draw(rng: np.random.Generator, said: Given, shape: tuple[int, ...]) -> np.ndarray:
    if said.one_hot:
        return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]
    if said.step is None:
        ends = rng.integers(0, 4, shape)  # the ends themselves are likely to show what is wrong
        inner = rng.uniform(said.low, said.high, shape)
        return np.where(ends == 0, said.low, np.where(ends == 1, said.high, inner))
    steps = int((said.high - said.low) / float(said.step))
    return said.low + float(said.step) * rng.integers(0, steps + 1, shape)


LEAVES = ("x", "y", "n", "h", "k")
UNARY = (
    "-{}",
    "relu({})",
    "abs({})",
    "floor({})",
    "sign({})",
    "tanh({})",
    "sigmoid({})",
    "({})**2",
    "({})**3",
    "exp({})",
    "sqrt(abs({}))",
    "{} / 4",
    "{} % 3",
    "float(int({}))",
    "silu({})",
    "round({})",
    "3 // (1 + abs({}))",
    "1 / (2 + ({})**2)",
)
BINARY = (
    "({}) + ({})",
    "({}) - ({})",
    "({}) * ({})",
    "max({}, {})",
    "min({}, {})",
    "float(({}) < ({}))",
    "float(({}) == ({}))",
    "({}) / (1 + abs({}))",
    "logaddexp({}, {})",
    "float(({}) >= ({}))",
)
CHOICE = "where(({}) > ({}), ({}), ({}))"


@st.composite
def expressions(draw_from: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw_from(st.integers(0, 5)) == 0:
        return draw_from(st.sampled_from((*LEAVES, "1/2", "2", "-3", "1/4")))
    parts = st.deferred(lambda: expressions(depth - 1))
    match draw_from(st.integers(0, 4)):
        case 0 | 1:
            return draw_from(st.sampled_from(UNARY)).format(draw_from(parts))
        case 2 | 3:
            return draw_from(st.sampled_from(BINARY)).format(draw_from(parts), draw_from(parts))
        case _:
            return CHOICE.format(*(draw_from(parts) for _ in range(4)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(expressions(), expressions(), expressions())
def test_no_execution_leaves_its_range(first: str, second: str, out: str) -> None:
    text = (
        "cell f():\n    input x, y, n: []\n    state h: [] = 1/2\n    state k: [] = 0\n"
        f"    h' = clamp({first}, -8, 8)\n    k' = where(n > 2, k + sign({second}), 1 - k)\n    output o = {out}\n"
    )
    check(text, {"x": Given(-1.5, 2), "y": Given(0, 1), "n": Given(0, 4, Fraction(1))})
