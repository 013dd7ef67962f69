"""From continuous equations to steps: the functions that state space models share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import cont2discrete

from support.elaborated import run_text

TEXT = """
from std.hippo_legs import gbt, legs_A, legs_B
from std.s4d import zoh
from std.s4d_bilinear import bilinear
from std.hgrn import lower_bounds


cell steps(N):
    input alpha, dt: [], a: [N], G: [N, 2]
    A, B = gbt(legs_A(N), legs_B(N), dt, alpha)
    z, zu = zoh(a, dt)
    b, bu = bilinear(a, dt)
    output A, B, z, zu, b, bu, low = lower_bounds(G)
"""
DT, POLES = 0.3, np.array([-1.0, -0.5, 0.25, 2.0])
G = np.random.default_rng(0).normal(size=(4, 2))


def steps(alpha: float = 0.5) -> dict[str, np.ndarray]:
    given = {"alpha": np.array(alpha), "dt": np.array(DT), "a": POLES, "G": G}
    outputs = run_text(TEXT, {"N": 4}, {name: array[None, None] for name, array in given.items()}).outputs
    return {name: np.asarray(array)[0, 0] for name, array in outputs.items()}


def legs(states: int) -> tuple[np.ndarray, np.ndarray]:
    n = np.arange(states)
    root = np.sqrt(2 * n + 1)
    return -np.tril(np.outer(root, root), -1) - np.diag(n + 1.0), root[:, None]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_generalised_bilinear_transform_is_scipys(alpha: float) -> None:
    A, B = legs(4)
    expected = cont2discrete((A, B, np.eye(4), np.zeros((4, 1))), DT, method="gbt", alpha=alpha)
    found = steps(alpha)
    np.testing.assert_allclose(found["A"], expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found["B"], expected[1][:, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("transition", "added", "method"), [("z", "zu", "zoh"), ("b", "bu", "bilinear")])
def test_diagonal_discretisations_are_scipys(transition: str, added: str, method: str) -> None:
    system = (np.diag(POLES), np.ones((4, 1)), np.eye(4), np.zeros((4, 1)))
    expected, found = cont2discrete(system, DT, method=method), steps()
    np.testing.assert_allclose(np.diag(found[transition]), expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[added], expected[1][:, 0], rtol=1e-12, atol=1e-14)


def test_deeper_layers_of_hgrn_have_larger_lower_bounds() -> None:
    shares = np.exp(G) / np.exp(G).sum(0)
    low = steps()["low"]
    np.testing.assert_allclose(low, np.cumsum(shares, 0) - shares, rtol=1e-12, atol=1e-14)
    assert (low[0] == 0).all()
    assert (low < 1).all()
