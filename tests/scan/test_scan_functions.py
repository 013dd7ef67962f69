"""The scans that PyTorch modules take over, by themselves: derivatives of every order, maps over an axis."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lsrl.backends.runtime.torch_scan import affine_scan, joined_scan

COEFFICIENTS = {
    "numbers": ((3,), (2, 3, 3), None),
    "heads": ((2, 2), (2, 3, 2, 1), None),
    "fixed": ((3,), (3,), None),
    "matrices": ((2, 2), (1, 3, 2, 2, 1), -2),
}
"""The shape of the state, that of the coefficients, the axis of matrices."""


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (0.6 * torch.randn(shape, dtype=dtype, generator=generator)).requires_grad_()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_first_and_second_derivatives(name: str, dtype: torch.dtype, reverse: bool) -> None:
    """Against finite differences in float64."""
    shape, own, axis = COEFFICIENTS[name]
    given = drawn(*own, dtype=dtype), drawn(2, 3, *shape, dtype=dtype), drawn(2, *shape, dtype=dtype)

    def scan(a: Tensor, b: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        return affine_scan(a, b, start, reverse, axis)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(scan, given)
    assert torch.autograd.gradgradcheck(scan, given)


@pytest.mark.parametrize("join", [torch.maximum, torch.minimum, torch.logaddexp])
def test_derivatives_over_other_algebras(join: object) -> None:
    def scan(shift: Tensor, rest: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        return joined_scan(join, shift, rest, start, True)  # type: ignore[no-any-return]

    given = drawn(2, 5, 1), drawn(2, 5, 3), drawn(2, 3)
    assert torch.autograd.gradcheck(scan, given)
    assert torch.autograd.gradgradcheck(scan, given)


def test_ties_share_evenly_and_minus_infinity_is_no_nan() -> None:
    """Two equal largest ones receive half each; what never was takes no part."""
    rest = torch.tensor([[[1.0], [1.0], [-torch.inf]]], dtype=torch.float64, requires_grad=True)
    start = torch.full((1, 1), -torch.inf, dtype=torch.float64, requires_grad=True)
    joined_scan(torch.maximum, 0, rest, start)[1].sum().backward()
    assert rest.grad is not None
    assert rest.grad.flatten().tolist() == [0.5, 0.5, 0]
    (mass,) = torch.autograd.grad(joined_scan(torch.logaddexp, 0, rest, start)[1].sum(), rest)
    assert mass.flatten().tolist() == [0.5, 0.5, 0]


def test_maps_jacobians_and_hessians() -> None:
    a, b, start = drawn(2, 5, 3), drawn(2, 5, 3), drawn(2, 3)

    def energy(a: Tensor) -> Tensor:
        return (affine_scan(a, b, start)[0] ** 2).sum()

    found = torch.func.jacrev(torch.func.jacrev(energy))(a)
    torch.testing.assert_close(found, torch.autograd.functional.hessian(energy, a))
    several = torch.vmap(lambda a, h: affine_scan(a, b, h)[0], in_dims=(1, None))(torch.stack([a, 2 * a], 1), start)
    torch.testing.assert_close(several[1], affine_scan(2 * a, b, start)[0])
