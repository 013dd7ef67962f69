"""Functions and tables in a prompt: against the function itself, and against looking the answer up."""

from __future__ import annotations

import numpy as np
import pytest

import lsrl
from lsrl.icl import Grid, PromptError
from lsrl.icl_published import CONDITIONALS
from lsrl.ir.fault import Refusal


def wave(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x)


def saddle(x: np.ndarray) -> np.ndarray:
    """[n, 2] to [n, 2], with the Lipschitz constant sqrt(8) on the box below."""
    return np.stack([x[:, 0] * x[:, 1], np.abs(x[:, 0])], -1)


SADDLE = {"lower": [-1.0, 0.0], "upper": [1.0, 2.0], "resolution": 6}

MEANS = [
    {"dtype": "float64"},
    {"dtype": "exact"},
    {"target": "jax"},
    {"arch": "rnn"},
    {"arch": "lstm", "dtype": "float64"},
    {"arch": "gru"},
]


@pytest.mark.parametrize("means", MEANS, ids=str)
def test_a_wave_is_followed_within_the_bound(means: dict[str, str]) -> None:
    """The Lipschitz constant of sin 3x is 3: off by at most 3/16, and by little less at the worst point."""
    found = lsrl.icl.approximate(wave, 0, 1, 8, lipschitz=3.0, queries=64, **means)
    x = np.linspace(0, 1, 97)
    centres = (np.minimum(np.floor(x * 8), 7) + 0.5) / 8
    np.testing.assert_allclose(found(x), wave(centres), atol=1e-6)
    assert found.measured.largest == pytest.approx(0.16, abs=0.02)
    assert found.measured.largest <= found.measured.bound
    assert found.measured.bound == pytest.approx(3 / 16, rel=1e-2)


@pytest.mark.parametrize("means", [{}, {"arch": "rnn"}], ids=str)
def test_two_numbers_of_two(means: dict[str, str]) -> None:
    found = lsrl.icl.approximate(saddle, **SADDLE, lipschitz=8**0.5, **means)
    points = np.random.default_rng(1).uniform([-1, 0], [1, 2], (50, 2))
    corner = np.array([-1.0, 0.0])
    centres = (np.floor((points - corner) * 3) + 0.5) / 3 + corner
    np.testing.assert_allclose(found(points), saddle(centres), atol=1e-6)
    np.testing.assert_allclose(found(points.reshape(5, 10, 2)).reshape(50, 2), found(points))
    assert 0.3 * found.measured.bound < found.measured.largest <= found.measured.bound
    np.testing.assert_allclose(found.measured.bound, 8**0.5 * (8**0.5) / 12, rtol=1e-2)


@pytest.mark.parametrize("conditional", CONDITIONALS)
def test_published_programs_follow_a_wave(conditional: str) -> None:
    """Inside cells; a border belongs to the cell below, and that of the box, which has none, is answered by 0."""
    found = lsrl.icl.approximate(wave, 0, 1, 8, conditional=conditional, dtype="float64", queries=64)
    x = np.setdiff1d(np.linspace(0, 1, 65), np.arange(9) / 8)
    np.testing.assert_allclose(found(x), wave((np.floor(x * 8) + 0.5) / 8), atol=1e-2)
    np.testing.assert_allclose(found(np.arange(9) / 8), [0, *wave((np.arange(8) + 0.5) / 8)], atol=1e-2)
    assert np.isnan(found.measured.bound)
    assert found.runner.title == f"published {conditional}, reference, float64"


@pytest.mark.parametrize("conditional", ["direct", "multiplicative"])
def test_published_programs_translate(conditional: str) -> None:
    assert lsrl.icl.tokens(CAPITALS, conditional=conditional, dtype="float64").wrong == 0


def test_the_slope_that_is_met_is_that_of_a_plane() -> None:
    found = lsrl.icl.approximate(lambda x: x @ [3.0, 4.0], [0, 0], [1, 1], 4)
    assert found.measured.lipschitz == pytest.approx(4.0)  # along the axes
    assert not found.measured.given


def test_borders_belong_to_one_cell_and_corners_to_the_box() -> None:
    grid = Grid(np.array([-1.0, 10.0]), np.array([0.5, 20.0]), 5)
    numbers = np.array([[i, j] for i in range(6) for j in range(6)])
    corners = grid.lower + numbers / 5 * (grid.upper - grid.lower)
    found = lsrl.icl.approximate(lambda x: x[:, 0], grid.lower, grid.upper, 5)
    cells = np.rint((found(corners) + 1) / 0.3 - 0.5)
    np.testing.assert_array_equal(cells, np.minimum(numbers[:, 0], 4))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lower": 1, "upper": 0}, "has no inside"),
        ({"resolution": 0}, "at least 1 cell"),
        ({"function": lambda x: 1.0}, r"\[4\] or \[4, E\], not \[\]"),
        ({"function": lambda x: 1 / (x - 0.125)}, "not finite"),
        ({"function": lambda x: x + 1e300}, r"reaches 1e\+300, which float32 does not hold"),
        ({"lower": [0, 0], "upper": [1, 1], "resolution": 1025}, r"at most 1048576 cells, not 1025\^2"),
        ({"arch": "lstm", "conditional": "direct"}, "published programs run themselves"),
        ({"conditional": "indirect"}, "published conditionals are direct, optimized, .*, not indirect"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_approximated_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        lsrl.icl.approximate(**{"function": wave, "resolution": 4, **given})


def test_queries_outside_are_refused() -> None:
    found = lsrl.icl.approximate(wave, 0, 1, 2)
    with pytest.raises(PromptError, match=r"\[1.5\] is outside the box from \[0.0\] to \[1.0\]"):
        found([0.5, 1.5])


CAPITALS = {"CAN": "OTT", "FRA": "PAR", "GER": "BER", "ITA": "ROM", "PER": "LIM"}


@pytest.mark.parametrize(
    "means", [{}, {"dtype": "exact"}, {"target": "jax"}, {"arch": "lstm"}, {"arch": "rnn", "dtype": "float64"}], ids=str
)
def test_words_are_translated(means: dict[str, str]) -> None:
    found = lsrl.icl.tokens(CAPITALS, **means)
    assert {word: found(word) for word in CAPITALS} == CAPITALS
    assert found.wrong == 0
    assert found("TAP") is None


def test_tokens_may_be_anything() -> None:
    table = {(False, None): ("a", 7), (7, None): (None, False)}
    found = lsrl.icl.tokens(table)
    assert {word: found(word) for word in table} == table


@pytest.mark.parametrize(
    ("table", "says"), [({"A": "BC"}, "one length"), ({}, "none"), ({"": ""}, "one length")]
)
def test_tables_of_words_of_several_lengths_are_refused(table: dict[str, str], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        lsrl.icl.tokens(table)


def test_words_that_no_table_has_are_refused() -> None:
    found = lsrl.icl.tokens(CAPITALS)
    with pytest.raises(PromptError, match="3 tokens"):
        found("CANADA")
    with pytest.raises(PromptError, match="'Z'"):
        found("NZL")


def test_figures_show_what_they_are_of() -> None:
    wavy = lsrl.icl.approximate(wave, 0, 1, 8)
    value, error = wavy.plot().axes
    assert [len(line.get_xdata()) for line in value.lines] == [256, 256]
    np.testing.assert_allclose(value.lines[0].get_ydata(), wave(np.linspace(0, 1, 256)))
    assert error.lines[0].get_ydata().max() <= error.lines[1].get_ydata()[0]
    assert len(lsrl.icl.approximate(saddle, **SADDLE).plot().axes) == 6  # three planes with their scales
    assert len(lsrl.icl.approximate(lambda x: x.sum(-1), [0] * 3, [1] * 3, 2).plot().axes) == 1
    assert lsrl.icl.tokens(CAPITALS).plot().axes[0].images[0].get_array().sum() == 15
