"""The chunk kernels, interpreted, against one position after the other in double precision."""

from __future__ import annotations

import pytest
import torch

from lsrl.backends.runtime.torch_chunk import chunked
from lsrl.backends.runtime.torch_kernels import INTERPRETED
from support.chunk_cases import (
    BATCH,
    ChunkCase,
    Tensors,
    converted,
    deviation,
    random_arguments,
    step_by_step,
    tensors_in,
)

BEFORE, AFTER = (("rows", False),), (("rows", True),)
# Every decay, no, one and several readers, one and several keys, both reads, both directions, lengths of every sort.
CASES = [
    ChunkCase(37, "none", "none", 0, 1, AFTER),
    ChunkCase(20, "shared", "none", 1, 1, AFTER, reverse=True),
    ChunkCase(37, "each", "none", 1, 1, BEFORE),
    ChunkCase(33, "each", "none", 0, 2, AFTER, reverse=True),
    ChunkCase(21, "each", "none", 1, 2, AFTER),
    ChunkCase(5, "shared", "none", 2, 1, (*BEFORE, *AFTER)),
    ChunkCase(1, "each", "none", 1, 1, AFTER),
]


def results(arguments: Tensors, case: ChunkCase, size: int, operands: torch.dtype = torch.float32) -> Tensors:
    found, last = chunked(*arguments, extent=(BATCH, case.length), size=size, reverse=case.reverse, operands=operands)
    return [*found, last]


def test_kernels_are_interpreted() -> None:
    """The numbers below are of kernels."""
    assert INTERPRETED


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case: ChunkCase) -> None:
    arguments = random_arguments(case, rows=20, columns=17, lanes=(1,))
    exact, single = converted(arguments, torch.float64), converted(arguments, torch.float32)
    for tensor in tensors_in([exact, single]):
        tensor.requires_grad_()
    wanted = step_by_step(*exact, reverse=case.reverse)
    found = results(single, case, 32)
    seeds = [torch.randn(each.shape, generator=torch.Generator().manual_seed(5)) for each in found]
    options = {"allow_unused": True, "materialize_grads": True}
    theirs = torch.autograd.grad(wanted, tensors_in(exact), [seed.double() for seed in seeds], **options)
    ours = torch.autograd.grad(found, tensors_in(single), seeds, **options)
    for one, other in zip([*found, *ours], [*wanted, *theirs], strict=True):
        assert deviation(one, other) < 1e-5


@pytest.mark.parametrize("operands", [torch.float16, torch.bfloat16])
def test_operands_of_16_bits(operands: torch.dtype) -> None:
    """What is kept between kernels has 16 bits; the interpreter itself has no products of bfloat16."""
    case = ChunkCase(70, "each", "none", 1, 1, AFTER)
    arguments = random_arguments(case, rows=32, columns=16, lanes=(1,))
    arguments[1] = arguments[1].abs().clamp(0.5, 1)
    wanted = step_by_step(*arguments)
    for one, other in zip(results(converted(arguments, torch.float32), case, 64, operands), wanted, strict=True):
        assert 1e-5 < deviation(one, other) < 1e-2


def test_stress() -> None:
    """Decays of e^-40, e^-8, one and zero by turns, over halves, quarters and leaves of a chunk."""
    case = ChunkCase(80, "each", "none", 1, 1, AFTER)
    arguments = random_arguments(case, rows=16, columns=16, lanes=(1,))
    choices = torch.tensor([-40.0, -8.0, 0.0, -torch.inf], dtype=torch.float64).exp()
    arguments[1] = choices[torch.randint(0, 4, arguments[1].shape, generator=torch.Generator().manual_seed(3))]
    found = results(converted(arguments, torch.float32), case, 64)
    for one, other in zip(found, step_by_step(*arguments), strict=True):
        assert deviation(one, other) < 5e-5


def test_derivatives_of_derivatives() -> None:
    """The gradient of the squared norm of a gradient, with kernels forward and in the carry of each derivative."""
    case = ChunkCase(18, "each", "none", 1, 1, AFTER)
    arguments = random_arguments(case, rows=4, columns=3, lanes=(1,))
    found, wanted = (second_gradients(converted(arguments, dtype), case) for dtype in (torch.float32, torch.float64))
    for one, other in zip(found, wanted, strict=True):
        assert deviation(one, other) < 1e-5


def second_gradients(arguments: Tensors, case: ChunkCase) -> tuple[torch.Tensor, ...]:
    leaves = tensors_in(arguments)
    for tensor in leaves:
        tensor.requires_grad_()
    value = torch.stack([each.square().sum() for each in results(arguments, case, 16)]).sum()
    gradients = torch.autograd.grad(value, leaves, create_graph=True)
    return torch.autograd.grad(torch.stack([each.square().sum() for each in gradients]).sum(), leaves)


def test_mapped_over() -> None:
    """`vmap` over kernels equals a loop."""
    case = ChunkCase(18, "shared", "none", 1, 1, AFTER)
    state, decay, *others = converted(random_arguments(case, rows=4, columns=3, lanes=(1,)), torch.float32)
    decays = torch.stack([decay, 0.5 * decay])

    def last(own: torch.Tensor) -> torch.Tensor:
        return results([state, own, *others], case, 16)[-1]

    assert torch.allclose(torch.vmap(last)(decays), torch.stack([last(own) for own in decays]), atol=1e-6)
