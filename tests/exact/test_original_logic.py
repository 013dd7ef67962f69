"""The published primitives: truth tables, what they cost, and how far their counter counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lsrl

NAMES = "step, clamp_step, bump, larger, smaller, not_, and_, or_, eq, neq, ifelse, ifelse_step, ifelse_mul, ifeq"


def value(expression: str, dtype: str = "float64", **inputs: float) -> np.ndarray:
    """An expression of scalars x, y, ... in one position."""
    text = f"from std.lsrl_original import {NAMES}\ncell f():\n"
    text += f"    input {', '.join(inputs)}: []\n    output r = {expression}\n"
    fn = lsrl.compile(lsrl.parse(text), target="reference", dtype=dtype)
    given = {name: np.array([[number]]) for name, number in inputs.items()}
    return np.asarray(fn({}, given).outputs["r"])[0, 0]


@pytest.mark.parametrize(("x", "y"), list(itertools.product((-7, -1, 0, 1, 2, 300), repeat=2)))
def test_comparisons_of_integers(x: int, y: int) -> None:
    assert value("larger(x, y)", x=x, y=y) == float(x > y)
    assert value("smaller(x, y)", x=x, y=y) == float(x < y)
    assert value("eq(x, y)", x=x, y=y) == float(x == y)
    assert value("neq(x, y)", x=x, y=y) == float(x != y)
    assert value("ifeq(x, y, 5, -3)", x=x, y=y) == (5 if x == y else -3)


@pytest.mark.parametrize(("a", "b"), list(itertools.product((0, 1), repeat=2)))
def test_truth_tables(a: int, b: int) -> None:
    assert value("and_(x, y)", x=a, y=b) == float(a and b)
    assert value("or_(x, y)", x=a, y=b) == float(a or b)
    assert value("not_(x)", x=a) == float(not a)


@pytest.mark.parametrize("form", ["ifelse", "ifelse_step", "ifelse_mul"])
@pytest.mark.parametrize("condition", [0, 1])
@pytest.mark.parametrize(("a", "b"), [(7.0, -2.0), (0.0, 3.5), (-1e3, 1e3)])
def test_conditionals(form: str, condition: int, a: float, b: float) -> None:
    assert value(f"{form}(c, a, b)", c=condition, a=a, b=b) == pytest.approx(a if condition else b, rel=1e-5)


def test_the_ramp_of_step_and_the_cell_of_bump() -> None:
    for x, expected in ((-1, 0), (0, 0), (0.0005, 0.5), (0.001, 1), (9, 1)):
        assert value("step(x)", x=x) == pytest.approx(expected, abs=1e-12)
    for x, expected in ((1, 0), (1.001, 1), (2, 1), (2.001, 0)):
        assert value("bump(x, 1, 2)", x=x) == pytest.approx(expected, abs=1e-9)


def test_caveats_are_as_documented() -> None:
    large = [4e4 + place / 7 for place in range(7)]
    assert max(abs(value("step(x)", "float32", x=x) - 1) for x in large) >= 0.5
    assert all(value("clamp_step(x)", "float32", x=x) == 1 for x in large)
    assert value("and_(x, y)", x=0.5, y=0.5) == 1
    assert value("ifelse(c, a, b)", c=1e-9, a=5, b=7) == 0
    assert value("ifelse_step(c, a, b)", "exact", c=0.25, a=5, b=7) == 7
    assert value("ifelse_step(c, a, b)", "exact", c=0.5, a=5, b=7) == 0  # neither branch, as published
    assert value("ifelse_mul(c, a, b)", c=1e-9, a=5, b=7) == pytest.approx(7, rel=1e-8)
    assert value("ifelse(c, a, b)", c=0, a=2e10, b=7) == 1e10 + 7


@pytest.mark.parametrize("m", [2, 3, 7, 70])
def test_the_rotated_counter_is_exact_up_to_70(m: int) -> None:
    np.testing.assert_allclose(counts(m, 2 * m + 3), [t % m for t in range(2 * m + 3)], atol=1e-6)


@pytest.mark.parametrize("m", [71, 100])
def test_the_rotated_counter_fails_from_71_on(m: int) -> None:
    assert np.abs(np.array(counts(m, m)) - np.arange(m)).max() > 1


def counts(m: int, length: int) -> list[float]:
    fn = lsrl.compile(lsrl.load("std/lsrl_original"), target="reference", sizes={"M": m})
    return list(np.asarray(fn({}, {}, batch=1, length=length).outputs["count"])[0])
