"""No execution leaves its range: sampled programs, states and operations, and what is known of particular ones."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsrl
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.gaps import Gap
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.given_ranges import BOOLEAN, ONE_HOT, Given, RangeError, read_given
from lsrl.backends.initialise import places_of
from lsrl.backends.ranges import gap_of, ranges_of
from lsrl.backends.reference.lattice import sweep
from lsrl.catalog import catalog
from lsrl.ir import ops
from lsrl.ir.cell import Cell
from lsrl.ir.value import Kind, Value, postorder
from lsrl.random_arrays import random_arrays
from support.commands import Run
from support.exact_programs import PROGRAMS

ROUNDING = 1e-9

Arrays = dict[str, np.ndarray]


def arrays_of(
    cell: Cell,
    sizes: Mapping[str, int],
    inputs: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray] | None = None,
) -> dict[Value, np.ndarray]:
    """Every value of a run, [*places, *shape]."""
    length, batch = next(iter(inputs.values())).shape[1::-1]
    scope = Scope(sizes)
    env = {ops.leaf("param", each.name, each.shape, each.kind): (params or {})[each.name] for each in cell.params}
    for each in cell.inputs:
        leaf = ops.leaf("input", each.name, each.shape, each.kind, each.domain)
        env[leaf] = inputs[each.name].astype(scope.dtype(each.kind))
    swept = sweep(cell, scope, places_of(cell, "", {"B": batch, "T": length}), env, {})
    evaluate(cell.roots(), swept.env, scope)
    return swept.env


def assert_inside(array: np.ndarray, known: Range, said: str) -> None:
    array = np.asarray(array, float)
    if not array.size:
        return
    rows = array.reshape(-1, *known.shape)
    slack = np.where(np.isinf(rows), 0, ROUNDING * (1 + np.abs(rows)))
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
        slack = np.where(np.isinf(sums), 0, ROUNDING * (1 + np.abs(rows).sum(-1)))
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


@settings(max_examples=20, deadline=None, derandomize=True)
@given(expressions(), expressions(), expressions())
def test_no_execution_leaves_its_range(first: str, second: str, out: str) -> None:
    text = (
        "cell f():\n    input x, y, n: []\n    state h: [] = 1/2\n    state k: [] = 0\n"
        f"    h' = clamp({first}, -8, 8)\n    k' = where(n > 2, k + sign({second}), 1 - k)\n    output o = {out}\n"
    )
    check(text, {"x": Given(-1.5, 2), "y": Given(0, 1), "n": Given(0, 4, Fraction(1))})


VECTOR = (
    "p", "v", "concat(p[1:4], p[0:1])", "concat(p[2:4], v[0:2])", "where(p > 1/2, v, 0)", "p + v", "p - v", "p * v",
    "where(x > 0, p, v)", "T @ p", "v @ T", "relu(v)", "one_hot(n, 4)", "float(v > 1/2)", "float(p >= 1)", "cumsum(v)",
    "where(p > 1/2, concat(p[3:4], p[0:3]), s)", "T[n]", "v / (1 + abs(s))", "min(s, p)", "float(iota(4) == n)",
    "p[0:2] @ [p, v]", "softmax(v)", "outer(p, v)[n]", "s",
)  # fmt: skip
SCALAR = (
    "dot(p, float(iota(4)))", "dot(v, p)", "sum(v)", "max(v)", "min(s)", "mean(s)", "sum(float(v > 0))", "v[n]",
    "k + x", "dot(one_hot(n, 4), s)", "where(any(v > 1), k, 0)", "float(argmax(v))", "prod([x, k, x])",
    "sum(outer(p, v))", "where(k < 9, k + 1, 0)", "where(k + 1 > 5, 0, k + 1)", "where(k == 3, 0, k + 1)",
    "sum(p[1:3] + s[0:2])",
)  # fmt: skip


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from(VECTOR), st.sampled_from(VECTOR), st.sampled_from(SCALAR), st.sampled_from(SCALAR))
def test_no_vector_leaves_its_range(first: str, second: str, third: str, out: str) -> None:
    text = (
        "cell f():\n    input p, v: [4], x: [], n: [] int(4)\n"
        "    const T: [4, 4] = [[1,0,2,1],[0,1,0,0],[1/2,0,0,1],[0,0,0,-1]]\n"
        "    state s: [4] = one_hot(3, 4)\n    state k: [] = 0\n"
        f"    s' = {first}\n    k' = {third}\n    output o = {second}, q = {out}, r = sum({first} + {second})\n"
    )
    step = Fraction(1, 2)
    check(
        text, {"p": ONE_HOT, "v": Given(-1, 2, step), "x": Given(-2, 1, step), "n": Given(0, 3, Fraction(1))}, length=8
    )


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "std/exact/vec2vec"])
def test_exact_programs_keep_to_their_ranges(name: str) -> None:
    """Inputs are whole numbers below what their declaration says; those that say nothing are below 5."""
    program = lsrl.load(name)
    cell, sizes = program.bind(PROGRAMS[name])
    most = {each.name: (each.bound.evaluate(sizes) if each.bound else 5) - 1 for each in cell.inputs}
    said = {name: Given(0, high, Fraction(1)) for name, high in most.items()}
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(0, high + 1, (50, 40)) for name, high in most.items()}
    found = arrays_of(cell, sizes, inputs)
    for horizon in (None, 200):
        known = ranges_of(cell, sizes, said, horizon)
        for value, array in found.items():
            if value in known:
                assert_inside(array, known[value], f"{cell.names.get(value, value)} at horizon {horizon}")
        assert all(known[output.value].integral for output in cell.outputs)


LEARNED = ("std/lstm", "std/mlstm", "std/gated_delta", "std/stack_rnn", "std/titans", "std/minlstm_log", "std/gsa")


@pytest.mark.parametrize("name", LEARNED)
def test_learned_programs_keep_to_their_ranges(name: str) -> None:
    """Bounds that follow from the shape of gates, softmaxes and running maxima, whatever was learned."""
    (case,) = [entry for entry in catalog() if entry.name == name]
    cell, sizes = lsrl.load(name).bind(case.sizes)
    params, inputs, _ = random_arrays(cell, sizes, batch=2, length=6)
    known = ranges_of(cell, sizes, horizon=6)
    for value, array in arrays_of(cell, sizes, inputs, params).items():
        if value in known and value.kind is not Kind.COMPLEX:
            assert_inside(array, known[value], f"{cell.names.get(value, value)}")


def ranges(body: str, given: str = "", horizon: int | None = None) -> dict[str, Range]:
    """The ranges of the names of a cell with scalar inputs x (any number) and b (0 or 1)."""
    cell = lsrl.parse(f"cell f():\n    input x: [], b: [] int(2)\n{body}").graph
    found = ranges_of(cell, {}, read_given(given.split()), horizon)
    nexts = {state.name: found[state.next] for state in cell.states}
    return {cell.names[value]: known for value, known in found.items() if value in cell.names} | nexts


def ends(known: Range) -> tuple[float, float]:
    return known.least, known.most


@pytest.mark.parametrize(
    ("body", "horizon", "expected"),
    [
        ("    state c: [] = 0\n    c' = c + float(b)\n    output c'\n", 1000, (0, 1000)),
        ("    state c: [] = 0\n    c' = c + float(b)\n    output c'\n", None, (0, np.inf)),
        ("    state c: [] = 0\n    c' = where(b > 0, 0, c + 1)\n    output c'\n", 300, (0, 300)),
        ("    state c: [] = 0\n    c' = where(c < 999, c + 1, 0)\n    output c'\n", None, (0, 999)),
        ("    state c: [] = 0\n    c' = where(c == 70, 0, c + 1)\n    output c'\n", None, (0, 70)),
        ("    state c: [] = 0\n    c' = min(c + float(b), 200)\n    output c'\n", None, (0, 200)),
        ("    state c: [] = 4\n    c' = c / 2 + float(b)\n    output c'\n", None, (0, 3)),
        ("    state c: [] = 0\n    c' = c + 1/2 - float(b)\n    output c'\n", 7, (-3.5, 3.5)),
        ("    state c, d: [] = 0\n    c' = c + float(b)\n    d' = d + c'\n    output c', d'\n", 100, (0, 100)),
    ],
)
def test_states(body: str, horizon: int | None, expected: tuple[float, float]) -> None:
    assert ends(ranges(body, horizon=horizon)["c"]) == expected


def test_what_only_happens_at_first_does_not_blur_the_rest() -> None:
    """A register that is written at the first position, in a sequence of any length."""
    body = "    state t: [] = -1, r: [] = 0\n    t' = t + 1\n    r' = r + where(t' < 1, x, 0)\n    output r'\n"
    assert ends(ranges(body, "x=-2:5")["r"]) == (-2, 5)


def test_a_place_that_is_turned_stays_one_place() -> None:
    cell, sizes = lsrl.load("std/counters", "modulo_counter").bind({"M": 100})
    found = ranges_of(cell, sizes)
    assert found[cell.states[0].next].one_hot
    assert ends(found[cell.outputs[0].value]) == (0, 99)


@pytest.mark.parametrize(
    ("comparison", "given", "below", "above"),
    [
        ("x > 3/2", "x=0:9:1", (-1, 2), (1, 2)),
        ("x >= 3", "x=0:9:1", (-1, 1), (0, 1)),
        ("x < 3", "x=0:9:1", (-1, 1), (0, 1)),
        ("x <= 3", "x=0:9:1", (0, 1), (1, 1)),
        ("x == 3", "x=0:9:1", (-1, 1), (1, 1)),
        ("x / 4 > 1/3", "x=0:9:1", (-1, 12), (1, 6)),
        ("x > 3", "x=-1:1", (-1, 1), (3, 1)),
        ("x > 1/2", "x=0:1", (0, 1), (0, 1)),
    ],
)
def test_gaps(comparison: str, given: str, below: tuple[int, int], above: tuple[int, int]) -> None:
    cell = lsrl.parse(f"cell f():\n    input x: []\n    output y = float({comparison})\n").graph
    found = ranges_of(cell, {}, read_given([given]))
    compared = next(value for value in postorder(cell.roots()) if value.op in ("gt", "ge", "lt", "le", "eq"))
    if given == "x=-1:1":  # always false: anything up to the difference that is nearest to 0
        assert gap_of(compared, found) == Gap(Fraction(-2), Fraction(0))
    else:
        assert gap_of(compared, found) == Gap(Fraction(*below), Fraction(*above))


def test_declared_ranges_are_read() -> None:
    assert read_given(["x=-1:1", "n=0:9:1", "b=bool", "c=one_hot", "l.q=1/2:2:1/4"][:4]) == {
        "x": Given(-1, 1),
        "n": Given(0, 9, Fraction(1)),
        "b": BOOLEAN,
        "c": ONE_HOT,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "is no range"),
        ("x=1", "is no range"),
        ("x=2:1", "no number is between 2 and 1"),
        ("x=0:1:0", "lead nowhere"),
        ("x=a:1", "`x=a:1`"),
        ("y=0:1", "f is not given y; it is given x, b"),
        ("x=one_hot", "x is a scalar"),
    ],
)
def test_declared_ranges_that_are_none(text: str, said: str) -> None:
    with pytest.raises(RangeError, match=said):
        ranges("    output y = x + float(b)\n", text)


def test_table_of_the_command_line(run: Run) -> None:
    done = run("explain", "std/exact/majority", "--ranges", "--horizon", "50")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["for_one'", "[]", "0", "50", "whole", "numbers", "std/exact/majority.lsrl:7"] in lines
    assert ["for_one'", ">", "for_zero'", "0", "1", "1", "std/exact/majority.lsrl:10"] in lines
    assert run("explain", "std/exact/majority", "--horizon", "50").status == 2


def test_table_of_a_file(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "near.lsrl"
    place.write_text("cell near():\n    input x: []\n    output y = float(x > 0)\n")
    assert "none holds it" in run("explain", str(place), "--ranges", "--given", "x=-1:1").out
    assert "none holds it" not in run("explain", str(place), "--ranges", "--given", "x=-3:3:1").out
    assert run("explain", str(place), "--ranges", "--given", "z=0:1").status == 1
