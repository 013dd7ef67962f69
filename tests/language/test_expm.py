"""The exponential of a matrix, written in the language, to the digits that the matrix allows."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from support.elaborated import value_of

RNG = np.random.default_rng(0)
PLAIN = RNG.normal(size=(4, 4))
SKEW = PLAIN - PLAIN.T
NILPOTENT = np.triu(PLAIN, 1)
TURN = np.diag(1j * RNG.normal(size=4)) + 0.1 * (PLAIN - PLAIN.T)


@pytest.mark.parametrize("rows", [0.0, 1e-8, 0.9, 1.1, 5.0, 60.0])
@pytest.mark.parametrize("matrix", [PLAIN, SKEW, NILPOTENT, TURN], ids=["plain", "skew", "nilpotent", "complex"])
def test_expm_has_thirteen_digits(matrix: np.ndarray, rows: float) -> None:
    scaled = matrix * (rows / np.abs(matrix).sum(1).max())
    with mpmath.workdps(60):
        exact = np.array(mpmath.expm(mpmath.matrix(scaled.tolist())).tolist(), complex)
    found = value_of("expm(a)", a=scaled)
    assert np.linalg.norm(found - exact) <= 1e-13 * np.linalg.norm(exact)


def test_expm_of_a_large_rotation_stays_one() -> None:
    found = value_of("expm(a)", a=SKEW * (1000 / np.abs(SKEW).sum(1).max()))
    assert np.abs(found @ found.T - np.eye(4)).max() <= 1e-12


def test_the_derivative_of_expm_is_pytorchs() -> None:
    leaf = torch.tensor(3 * PLAIN, requires_grad=True)
    weights = RNG.normal(size=(4, 4))
    (slope,) = torch.autograd.grad((torch.matrix_exp(leaf) * torch.tensor(weights)).sum(), leaf)
    found = value_of("grad(sum(expm(a) * w), a)", a=3 * PLAIN, w=weights)
    np.testing.assert_allclose(found, slope, rtol=1e-12)
