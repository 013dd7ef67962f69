"""Sizes: a canonical form, exact division, and what only numbers can decide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsrl.ir.dims import Dim, DimError, count, shape_of, shape_text

H, K = Dim.of("H"), Dim.of("K")
SIZES = {"H": 12, "K": 5, "N": 3}


Pair = tuple[Dim, int]
LEAVES = st.one_of(
    st.integers(-4, 9).map(lambda n: (Dim.of(n), n)),
    st.sampled_from(sorted(SIZES)).map(lambda name: (Dim.of(name), SIZES[name])),
)


def combined(op: str, left: Pair, right: Pair) -> Pair:
    """A dim and, beside it in plain integers, its value under SIZES; divisors are made positive by b * b + 1."""
    (a, m), (b, n) = left, right
    divisor, number = b * b + 1, n * n + 1
    return {
        "+": (a + b, m + n),
        "-": (a - b, m - n),
        "*": (a * b, m * n),
        "//": (a // divisor, m // number),
        "%": (a % divisor, m % number),
        "/": ((a * divisor) / divisor, m),
    }[op]


def extended(parts: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    return st.builds(combined, st.sampled_from(["+", "-", "*", "//", "%", "/"]), parts, parts)


EXPRESSIONS = st.recursive(LEAVES, extended, max_leaves=6)


@given(EXPRESSIONS)
def test_arithmetic_is_that_of_integers(pair: tuple[Dim, int]) -> None:
    dim, number = pair
    assert dim.evaluate(SIZES) == number
    assert dim.substitute(SIZES).evaluate({}) == number


def test_equal_means_equal_for_all_sizes() -> None:
    assert H + H == 2 * H
    assert (H + K) * (H - K) == H**2 - K**2
    assert 2 * H / 2 == H
    assert (H * K + K) / K == H + 1
    assert K * (H / K) == H
    assert (H / K) * (K + 1) * K == H * (K + 1)
    assert (2 * H + 1) // 2 == H
    assert (2 * H + K + 5) // 2 == H + (K + 5) // 2
    assert Dim.of(3) == (4 * H * K + 7) % 4
    assert H != K
    assert hash(H + K) == hash(K + H)


def test_division_that_does_not_come_out_even() -> None:
    assert str(H / 2) == "H/2"
    assert (H / 2).evaluate({"H": 8}) == 4
    with pytest.raises(DimError, match="not a whole number, for H=7"):
        (H / 2).evaluate({"H": 7})
    with pytest.raises(DimError, match="7 / 3"):
        (H / (K + 1)).evaluate({"H": 7, "K": 2})
    with pytest.raises(DimError, match="by zero"):
        _ = H / 0


def test_names_and_missing_values() -> None:
    assert (H // (K + 1) + 2).names == {"H", "K"}
    with pytest.raises(DimError, match="K has no value"):
        (H + K).evaluate({"H": 1})


def test_text() -> None:
    assert shape_text(shape_of("H", 2 * H + 1, (H + K) // 2)) == "[H, 2*H + 1, ((H + K) // 2)]"
    assert str(Dim.of(0)) == "0"
    assert str(K - H) in ("K - H", "-H + K")
    assert count(shape_of("H", "K", 3)) == 3 * H * K
