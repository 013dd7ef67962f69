"""Logic without constants: truth tables, and comparisons however near their sides are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lsrl

NAMES = "step, bump, larger, smaller, eq, neq, not_, and_, or_, xor_, majority_, ifelse, ifeq, clamp_step"
TRUTHS = (0.0, 1.0)
SIDES = (-7.0, -1.0, 0.0, 2.0**-40, 1.0, 1 + 2.0**-40, 300.0, 1e12)


def values(expression: str, inputs: dict[str, list[float]], dtype: str = "float64") -> list[float]:
    """An expression of scalars, at as many positions as they have values."""
    text = f"from std.logic import {NAMES}\ncell f():\n    input {', '.join(inputs)}: []\n    output r = {expression}\n"
    fn = lsrl.compile(lsrl.parse(text), target="reference", dtype=dtype)
    found = fn({}, {name: np.array([numbers]) for name, numbers in inputs.items()}).outputs["r"][0]
    return [float(number) for number in found]


def columns(names: str, choices: tuple[float, ...]) -> tuple[list[tuple[float, ...]], dict[str, list[float]]]:
    rows = list(itertools.product(choices, repeat=len(names)))
    return rows, {name: [row[place] for row in rows] for place, name in enumerate(names)}


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("and_(p, q)", lambda p, q: p and q),
        ("or_(p, q)", lambda p, q: p or q),
        ("xor_(p, q)", lambda p, q: p != q),
        ("not_(p) + 0 * q", lambda p, q: not p),
        ("majority_(p, q, 1)", lambda p, q: p + q + 1 >= 2),
        ("majority_(p, q, 0)", lambda p, q: p + q >= 2),
        ("ifelse(p, 5, q)", lambda p, q: 5 if p else q),
    ],
)
def test_truth_tables(expression: str, function: object) -> None:
    rows, inputs = columns("pq", TRUTHS)
    assert values(expression, inputs) == [float(function(*row)) for row in rows]  # type: ignore[operator]


@pytest.mark.parametrize("dtype", ["float64", "exact"])
@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("larger(x, y)", lambda x, y: x > y),
        ("smaller(x, y)", lambda x, y: x < y),
        ("eq(x, y)", lambda x, y: x == y),
        ("neq(x, y)", lambda x, y: x != y),
        ("step(x - y)", lambda x, y: x > y),
        ("bump(x, y, y + 1)", lambda x, y: y < x <= y + 1),
        ("ifeq(x, y, 5, -3)", lambda x, y: 5 if x == y else -3),
    ],
)
def test_comparisons_however_near(expression: str, function: object, dtype: str) -> None:
    """The published forms are wrong below 1/1000, and 1e12 is beyond what their conditionals hold."""
    rows, inputs = columns("xy", SIDES)
    assert values(expression, inputs, dtype) == [float(function(*row)) for row in rows]  # type: ignore[operator]


def test_conditionals_hold_any_number() -> None:
    """The published one leaks beyond 1e10, and loses 7 to a condition of 1e-9."""
    assert values("ifelse(c, a, b)", {"c": [0, 1, 1e-9], "a": [2e10, 2e10, 2e10], "b": [7, 7, 7]}) == [7, 2e10, 7]


def test_the_clamped_ramp_does_not_cancel() -> None:
    far = [4e4 + place / 7 for place in range(7)]
    assert values("clamp_step(x, 1000)", {"x": far}, "float32") == [1] * 7
    assert values("clamp_step(x, 1000)", {"x": [-1, 0, 0.0005, 0.001, 9]}) == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("m", [1, 2, 3, 7, 70, 71, 100, 257])
def test_the_shifted_counter_is_exact(m: int) -> None:
    """The published counter fails from 71 on."""
    fn = lsrl.compile(lsrl.load("std/counters", "modulo_counter"), target="reference", sizes={"M": m}, dtype="float16")
    counted = fn({}, {}, batch=1, length=2 * m + 3).outputs["count"][0]
    assert counted.tolist() == [t % m for t in range(2 * m + 3)]
