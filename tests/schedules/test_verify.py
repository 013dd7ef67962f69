"""Legal schedules are held against the reference; what does not agree with it is found out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest

import lsrl
from lsrl.ir.fault import Refusal
from lsrl.ir.schedules.how import Chunk, How, Quadratic, Scan
from lsrl.stress import TOLERANCES as STRESS_TOLERANCES
from lsrl.stress import gates, stressed
from lsrl.verify import Case, Row, allowances, case, reference, relative_errors, rounded, verify
from support.commands import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*plain PyTorch form")
# In JAX every schedule takes seconds to compile.
QUICK = [("std/mingru", (Scan(),)), ("std/gla", (Chunk(16),)), ("std/retention", (Quadratic(),))]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """JAX computes in float64 during a test, not in those of other files."""
    with jax.enable_x64(True):
        yield


@cache
def drawn(name: str) -> Case:
    return case(lsrl.load(name))


def check(rows: Iterator[Row]) -> None:
    found = list(rows)
    assert found
    assert [row for row in found if not row.holds] == []


@pytest.mark.parametrize(("name", "hows"), QUICK, ids=[name for name, _ in QUICK])
def test_some_of_the_library_in_jax(name: str, hows: tuple[How, ...]) -> None:
    check(verify(drawn(name), ("jax",), ("float64",), hows))


@pytest.mark.parametrize("name", ["std/gla", "std/gated_delta", "std/mlstm"])
def test_gates_at_their_extremes(name: str) -> None:
    given = stressed(drawn(name))
    assert any(-40 in array or 0 in array for array in given.arrays[1].values())
    check(verify(given, ("torch",), ("float64", "float32"), tolerances=STRESS_TOLERANCES))


def test_gates_are_inputs_that_decays_are_made_of_alone() -> None:
    logarithms, factors = (-40.0, -8.0, 0.0), (0.0, pytest.approx(3.354626e-4), 1.0)
    assert gates(drawn("std/gla").cell) == {"log_a": logarithms}
    assert gates(drawn("std/mlstm").cell) == {"f": logarithms, "i": logarithms}
    assert gates(drawn("std/gated_delta").cell) == {"a": factors, "b": factors}
    with pytest.raises(Refusal, match="gru has no input that is a gate by itself"):
        stressed(drawn("std/gru"))


def test_the_command_prints_a_table_and_data(run: Run) -> None:
    words = ("verify", "decay.lsrl", "--target", "torch", "--dtype", "float64", "--schedule", "scan")
    done = run(*words)
    assert done.status == 0
    assert done.out.splitlines()[-1] == "all 1 agree with the reference (relative RMS)"
    (row,) = run(*words, "--json").data
    assert (row["schedule"], row["target"], row["dtype"], row["holds"]) == ("h=scan", "torch", "float64", True)
    assert max(row["outputs"], row["state"], row["gradients"]) < row["tolerance"] == 1e-10


CANCELLED = """
cell f():
    input a, b, c: []
    output sharp = a * b, blurred = a + b - c
"""


def test_what_data_of_16_bits_do_not_say_is_not_held_against_anybody() -> None:
    """Of 1 + 1000 - 1000 they keep nothing: that array may be off by more, and no other."""
    given = case(lsrl.parse(CANCELLED))
    inputs = {name: np.full((1, 100), size) for name, size in (("a", 1.0), ("b", 1e3), ("c", 1e3))}
    arrays = ({}, inputs, {})
    wanted, weights = reference(given, arrays, "bfloat16")
    assert set(allowances(given, arrays, weights, wanted, 1e-5).values()) == {1e-5}
    allowed = allowances(given, arrays, weights, wanted, 1e-2, rounding=2.0**-8)
    # Root mean squares of sums of two uniform errors, eight times over: of at most 1000 / 256, next to a hundredth of
    # the other array, which is 1000; and of at most 1 / 256.
    assert allowed["output blurred"] == pytest.approx(8 * 1000 / 256 * np.sqrt(2 / 3) / 10, rel=0.3)
    assert allowed["output sharp"] == pytest.approx(8 / 256 * np.sqrt(2 / 3), rel=0.3)
    assert allowed["gradient a"] < 0.03


def test_what_differs_is_told() -> None:
    """A matrix of 16 bits is off by about the 11 bits that it has."""
    given = drawn("std/mingru")
    params, inputs, state = given.arrays
    off = replace(given, arrays=({**params, "Wz": rounded(params["Wz"], "float16")}, inputs, state))
    wanted, found = (each.program.reference(*each.arrays).outputs for each in (given, off))
    (error,) = relative_errors(found, wanted).values()
    assert 1e-5 < error < 1e-2


def test_errors_are_relative_to_the_array_or_to_a_hundredth_of_its_neighbours() -> None:
    wanted = {"large": np.full(4, 100.0), "small": np.full(4, 1e-9), "whole": np.arange(3)}
    found = {"large": np.full(4, 101.0), "small": np.full(4, 2e-9), "whole": np.arange(3)}
    assert relative_errors(found, wanted) == pytest.approx({"large": 0.01, "small": 1e-9, "whole": 0.0})
    assert relative_errors({"a": np.array([1, 2])}, {"a": np.array([1, 3])}) == {"a": np.inf}
    assert relative_errors({"a": np.array([1.0, np.nan])}, {"a": np.array([1.0, 2.0])}) == {"a": np.inf}
    assert relative_errors({"a": np.array([1.0, np.inf])}, {"a": np.array([1.0, -np.inf])}) == {"a": np.inf}
    assert relative_errors({"a": np.array([1.0, np.inf])}, {"a": np.array([1.0, np.inf])}) == {"a": 0.0}
    assert relative_errors({"a": np.ones((2, 1))}, {"a": np.ones((1, 2))}) == {"a": np.inf}
    with pytest.raises(Refusal, match="b is missing"):
        relative_errors({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)})


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 8), ("float16", 11), ("float32", 24), ("float64", 53)])
def test_numbers_are_rounded_to_the_nearest_that_a_precision_has(dtype: str, bits: int) -> None:
    """1 + e with e half a step goes to the even neighbour, beyond half a step up."""
    step = 2.0 ** (1 - bits)
    given = np.array([1 + step / 4, 1 + step / 2, 1 + 3 * step / 4, 1 + 3 * step / 2, -1 - 3 * step / 4])
    if bits == 53:
        assert np.array_equal(rounded(given, dtype), given)
    else:
        assert np.array_equal(rounded(given, dtype), [1, 1, 1 + step, 1 + 2 * step, -1 - step])
