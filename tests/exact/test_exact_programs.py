"""Exact programs against functions of whole sequences: at random, exhaustively, and in every precision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lsrl
from support.exact_programs import CASES, Case, draw, expected

EVERY = 4096
"""Sequences are gone through one by one up to this many."""


def check(case: Case, inputs: dict[str, np.ndarray], dtype: str) -> None:
    fn = lsrl.compile(lsrl.load(case.name, case.cell), target="reference", sizes=case.sizes, dtype=dtype)
    floats = {name for name, declared in lsrl.load(case.name, case.cell).inputs.items() if declared.kind == "float"}
    given = {name: array.astype(float) if name in floats else array for name, array in inputs.items()}
    found = fn({}, given).outputs
    wanted = expected(case, inputs)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name], float), array, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_random_sequences(case: Case, dtype: str) -> None:
    check(case, draw(case, 60, 30), dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_random_sequences_in_rational_numbers(case: Case) -> None:
    check(case, draw(case, 3, 14, seed=1), "exact")


@pytest.mark.parametrize(
    "case", [case for case in CASES if sum(below - 1 for below in case.below.values()) <= 3], ids=str
)
def test_every_short_sequence(case: Case) -> None:
    """All sequences of the largest length of which there are no more than `EVERY`."""
    choices = list(itertools.product(*(range(below) for below in case.below.values())))
    length = int(np.log(EVERY) / np.log(len(choices)))
    every = np.array(list(itertools.product(choices, repeat=length)))  # [sequences, length, inputs]
    check(case, {name: every[:, :, place] for place, name in enumerate(case.below)}, "float64")


ON_TARGETS = [
    ("jax", "std/exact/tok2tok"),
    ("jax", "std/exact/dyck"),
    ("triton", "std/exact/majority"),
]


@pytest.mark.parametrize(("target", "name"), ON_TARGETS)
def test_random_sequences_on_other_targets(target: str, name: str) -> None:
    """In float32, by the schedule that `auto` chooses."""
    case = next(case for case in CASES if case.name == name)
    fn = lsrl.compile(lsrl.load(name), target=target, sizes=case.sizes, dtype="float32")
    inputs = draw(case, 6, 20)
    floats = {key for key, declared in lsrl.load(name).inputs.items() if declared.kind == "float"}
    given = {key: array.astype(np.float32 if key in floats else np.int32) for key, array in inputs.items()}
    found = fn({}, given).outputs
    for key, array in expected(case, inputs).items():
        np.testing.assert_array_equal(np.asarray(found[key], float), array, err_msg=key)
