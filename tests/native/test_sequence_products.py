"""Products of whole sequences with matrices in C: as PyTorch's, whatever lies how in memory, derivatives included."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from lsrl import stages
from lsrl.backends.emit_cpu import emit_cpu
from lsrl.backends.module_loader import load_module
from support.programs import PROGRAMS, bound

SHAPES = [(3, 5, 7), (64, 512, 48), (65, 513, 49), (200, 1030, 145), (1, 2000, 700)]


def emitted(dtype: str) -> ModuleType:
    cell, sizes = bound(PROGRAMS["lstm"])
    return load_module(emit_cpu(stages.make(cell, sizes, "cpu", "sequential").plan, dtype), f"emitted_products_{dtype}")


@pytest.fixture(scope="module", params=["float64", "float32"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return emitted(request.param)


def random(module: ModuleType, *shape: int) -> torch.Tensor:
    dtype = torch.float64 if module.__name__.endswith("64") else torch.float32
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Up to the rounding of a sum."""
    bound = 1e-13 if found.dtype == torch.float64 else 1e-5
    assert found.shape == wanted.shape
    assert (found.double() - wanted).abs().max() <= bound * wanted.abs().max()


@pytest.mark.parametrize(("rows", "inner", "outer"), SHAPES)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_any_layout(module: ModuleType, rows: int, inner: int, outer: int, turned: tuple[bool, bool]) -> None:
    x = random(module, inner, rows).mT if turned[0] else random(module, rows, inner)
    matrix = random(module, outer, inner).mT if turned[1] else random(module, inner, outer)
    close(module.sequence_matrix_product(x, matrix), x.double() @ matrix.double())


def test_parts_of_tensors(module: ModuleType) -> None:
    x, matrix = random(module, 90, 300)[3:80:2, 5:250:3], random(module, 200, 100)[10:92, 7:60]
    close(module.sequence_matrix_product(x, matrix), x.double() @ matrix.double())


def test_large_products_run_in_c_and_small_ones_do_not(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    own = module.sequence_matrix_product
    monkeypatch.setattr(module, "sequence_matrix_product", lambda *given: called.append(given) or own(*given))
    large, small = random(module, 2, 300, 64), random(module, 2, 3, 64)
    matrix = random(module, 64, 128)
    for x in (large, small):
        close(module.sequence_product(x, matrix), x.double() @ matrix.double())
        close(module.position_sum(x, x), torch.einsum("bti,btj->ij", x.double(), x.double()))
    assert [given[0].shape[0] for given in called] == [600, 64]


def test_derivatives_of_every_order() -> None:
    module = emitted("float64")
    module.LEAST_PRODUCT = 0
    x, matrix = (random(module, *shape).requires_grad_() for shape in ((2, 3, 4), (4, 5)))
    assert torch.autograd.gradcheck(module.sequence_product, (x, matrix))
    assert torch.autograd.gradgradcheck(module.sequence_product, (x, matrix))
    y = random(module, 2, 3, 5).requires_grad_()
    assert torch.autograd.gradgradcheck(module.position_sum, (x, y))


def test_vmap() -> None:
    module = emitted("float64")
    module.LEAST_PRODUCT = 0
    x, matrices = random(module, 6, 3, 4), random(module, 6, 4, 5)
    found = torch.vmap(torch.func.grad(lambda a, b: module.sequence_product(a, b).square().sum()))(x, matrices)
    wanted = torch.vmap(torch.func.grad(lambda a, b: (a @ b).square().sum()))(x, matrices)
    close(found, wanted)


def test_no_rows(module: ModuleType) -> None:
    assert module.sequence_matrix_product(random(module, 0, 7), random(module, 7, 3)).shape == (0, 3)
    assert not module.sequence_matrix_product(random(module, 4, 0), random(module, 0, 3)).any()
