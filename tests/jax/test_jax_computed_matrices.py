"""Matrices that are computed from parameters keep their digits in modules of 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

import lsrl

SLOW = """
cell slow(K):
    input u: [K]
    param A: [K, K]
    state x: [K] = 0
    M = inverse(eye(K) - A / 1024)  # about 1 + A / 1024, whose digits beyond the eighth bit are all that A is
    x' = M @ x + u
    output x'
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_slow_transition_is_not_rounded_away(dtype: str) -> None:
    rng = np.random.default_rng(0)
    params = {"A": np.round(rng.normal(size=(5, 5)), 1)}
    inputs = {"u": np.zeros((2, 64, 5))}
    state = {"x": np.round(rng.normal(size=(2, 5)), 1)}
    weights = {"x": np.ones((2, 64, 5))}
    sizes, program = {"K": 5}, lsrl.parse(SLOW)
    exact = lsrl.compile(program, target="reference", sizes=sizes)
    found = lsrl.compile(program, target="jax", sizes=sizes, dtype=dtype, schedule="x=sequential")
    moved = exact(params, inputs, state).state["x"] - state["x"]
    missed = np.asarray(found(params, inputs, state).state["x"], np.float64) - state["x"] - moved
    assert np.linalg.norm(missed) <= 1e-2 * np.linalg.norm(moved)
    slopes = [np.asarray(fn.gradients(params, inputs, state, weights).state["x"], np.float64) for fn in (exact, found)]
    assert np.linalg.norm(slopes[1] - slopes[0]) <= 1e-2 * np.linalg.norm(slopes[0] - 64)
