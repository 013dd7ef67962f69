"""The arithmetic below range analysis: bounds against rational numbers, progressions against their members."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.backends.evaluation.gaps import Gap, gap
from lsrl.backends.evaluation.grids import INTEGERS, Grid, grid, of_numbers
from lsrl.backends.evaluation.outward import add, contract_positive, lower, multiply, total, upper
from lsrl.backends.evaluation.ranges import Range, everything, exactly, on_grid

FLOATS = st.floats(-1e300, 1e300) | st.floats(-4, 4) | st.integers(-50, 50).map(float)
SIZED = st.floats(-1e6, 1e6) | st.integers(-50, 50).map(float)
STEPS = st.fractions(-4, 4, max_denominator=6)


def around(low: float, exact: Fraction, high: float) -> None:
    """The bounds hold the number, and are that number where floats have it."""
    assert low == -np.inf or Fraction(float(low)) <= exact
    assert high == np.inf or exact <= Fraction(float(high))
    if abs(exact) < Fraction(10) ** 300 and Fraction(float(exact)) == exact and (not exact or abs(exact) > 1e-200):
        assert low == high == float(exact)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(FLOATS, FLOATS)
def test_sums_and_products_of_two(x: float, y: float) -> None:
    a, b = np.array(x), np.array(y)
    around(add(a, b, lower), Fraction(x) + Fraction(y), add(a, b, upper))
    around(multiply(a, b, lower), Fraction(x) * Fraction(y), multiply(a, b, upper))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(SIZED, max_size=6), st.lists(SIZED, max_size=6))
def test_sums_of_many(some: list[float], others: list[float]) -> None:
    terms = np.array([*some, *others])
    exact = sum((Fraction(float(term)) for term in terms), Fraction(0))
    low, high = total(terms, (0,), lower), total(terms, (0,), upper)
    assert Fraction(float(low)) <= exact <= Fraction(float(high))
    assert high - low <= 1e-13 * np.abs(terms).sum()
    pairs = list(zip(np.abs(some), np.abs(others)))
    x, y = np.array(pairs).reshape(-1, 2).T
    dot = sum((Fraction(float(a)) * Fraction(float(b)) for a, b in pairs), Fraction(0))
    assert Fraction(float(contract_positive("i,i->", x, y, lower))) <= dot
    assert dot <= Fraction(float(contract_positive("i,i->", x, y, upper)))


def test_infinite_bounds() -> None:
    """Nothing times infinity is nothing; opposite infinities give none of them away."""
    inf, zero = np.array(np.inf), np.array(0.0)
    assert multiply(inf, zero, upper) == 0
    assert (add(inf, -inf, lower), add(inf, -inf, upper)) == (-np.inf, np.inf)
    found = contract_positive("ij,j->i", np.array([[np.inf, 1], [0, 2]]), np.array([0.0, 3]), upper)
    np.testing.assert_array_equal(found, [3, 6])
    assert contract_positive("i,i->", np.array([np.inf]), np.array([1e-9]), lower) == np.inf


def members(found: Grid, count: int = 5) -> list[Fraction]:
    return [found.offset + k * found.step for k in range(-count, count + 1)]


def holds(found: Grid | None, number: Fraction) -> bool:
    if found is None:
        return True
    apart = number - found.offset
    return apart == 0 if not found.step else (apart / found.step).denominator == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(STEPS.map(abs), STEPS, STEPS.map(abs), STEPS)
def test_progressions(step: Fraction, offset: Fraction, other_step: Fraction, other_offset: Fraction) -> None:
    x, y = grid(step, offset), grid(other_step, other_offset)
    assert x is not None
    assert y is not None
    for a, b in itertools.product(members(x), members(y)):
        assert holds(x + y, a + b)
        assert holds(x * y, a * b)
        assert holds(x | y, a)
        assert holds(x | y, b)
        assert holds(-x, -a)
        assert holds(x.repeated(3), a + a + x.offset)
        assert holds(x.many(), a + a)
    if x.step:
        assert x.below(other_offset, strictly=False) == max(
            number for number in spread(x, other_offset) if number <= other_offset
        )
        assert x.above(other_offset, strictly=True) == min(
            number for number in spread(x, other_offset) if number > other_offset
        )


def spread(found: Grid, number: Fraction) -> list[Fraction]:
    """The members next to a number."""
    turns = (number - found.offset) // found.step
    return [found.offset + (turns + k) * found.step for k in range(-2, 3)]


def test_the_finest_progression() -> None:
    assert of_numbers([Fraction(1, 2), Fraction(5, 2), Fraction(3, 2)]) == Grid(Fraction(1), Fraction(1, 2))
    assert of_numbers([Fraction(7)]) == Grid(Fraction(0), Fraction(7))
    assert grid(Fraction(1, 3**60), Fraction(0)) is None


def test_bounds_move_onto_the_progression() -> None:
    halves = Grid(Fraction(1), Fraction(1, 2))
    found = on_grid(np.array([-0.2, 1.0]), np.array([2.4, np.inf]), halves)
    assert (found.low.tolist(), found.high.tolist()) == ([0.5, 1.5], [1.5, np.inf])


def whole(low: float, high: float) -> Range:
    return on_grid(np.array(low), np.array(high), INTEGERS)


def of_vector(rows: Sequence[Sequence[float]]) -> Range:
    found = exactly(np.array(rows[0], float))
    for row in rows[1:]:
        found = found | exactly(np.array(row, float))
    return found


def test_one_hot_is_known_from_its_sum() -> None:
    assert of_vector(np.eye(3).tolist()).one_hot
    assert not of_vector([[1, 0, 0], [1, 1, 0]]).one_hot
    assert not of_vector([[1, 0, 0], [0, 0, 0]]).one_hot
    assert of_vector([[1, 0, 0], [1, 1, 0]]).boolean


def test_joins_and_meets() -> None:
    joined = whole(0, 2) | whole(7, 9)
    assert (joined.least, joined.most, joined.integral) == (0, 9, True)
    met = whole(0, 9) & Range(np.array(2.5), np.array(20.0))
    assert (met.least, met.most) == (3, 9)
    assert (whole(0, 1) & whole(5, 6)).same(whole(0, 1))
    assert not everything(()).bounded
    assert everything((2,)).magnitude == np.inf


@pytest.mark.parametrize("op", ["gt", "ge", "lt", "le", "eq", "ne"])
@pytest.mark.parametrize(
    ("x", "y"), [((0, 5), (2, 2)), ((-3, 3), (-1, 4)), ((2, 2), (2, 2)), ((5, 5), (2, 2)), ((1, 1), (2, 2))]
)
def test_no_difference_is_in_the_gap(op: str, x: tuple[int, int], y: tuple[int, int]) -> None:
    """And the comparison holds on one side of the gap and fails on the other."""
    found: Gap = gap(op, whole(*x), whole(*y))
    compare = {"gt": "__gt__", "ge": "__ge__", "lt": "__lt__", "le": "__le__", "eq": "__eq__", "ne": "__ne__"}[op]
    assert found.width > 0
    for a, b in itertools.product(range(x[0], x[1] + 1), range(y[0], y[1] + 1)):
        if op in ("eq", "ne"):
            inside = found.below < a - b < found.above
            assert inside == (a == b) == (getattr(a, compare)(b) == (op == "eq"))
        else:
            assert not found.below < a - b < found.above
            assert getattr(a, compare)(b) == ((a - b >= found.above) == (op in ("gt", "ge")))
