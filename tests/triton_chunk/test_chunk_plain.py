"""Chunks in PyTorch against one position after the other: values and all gradients, whatever the kind of recurrence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from lsrl.backends.runtime.torch_chunk import chunked
from lsrl.backends.runtime.torch_chunk_plain import chunk_plainly
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

ROWS_AFTER = (("rows", True),)
EVERY_READ = (("columns", False), ("rows", False), ("columns", True))


def kinds() -> Iterator[ChunkCase]:
    """Every decay with every number of readers and keys; reads, directions and lengths take turns."""
    turns = itertools.cycle(((37, ROWS_AFTER, False), (37, EVERY_READ, True), (5, EVERY_READ, False)))
    for decay, ranks in itertools.product(("none", "shared", "each"), ((1, 1), (1, 2), (2, 1), (2, 2))):
        length, reads, reverse = next(turns)
        yield ChunkCase(length, decay, "none", *ranks, reads, reverse)
    for decay, columns in itertools.product(("none", "shared", "each"), repeat=2):
        length, reads, reverse = next(turns)
        yield ChunkCase(length, decay, columns, 0, 1 + (length == 5), reads, reverse)
    yield ChunkCase(1, "each", "none", 1, 1, EVERY_READ)
    yield ChunkCase(16, "each", "each", 0, 1, EVERY_READ)


def results(arguments: Tensors, case: ChunkCase, size: int | None = 16) -> list[torch.Tensor]:
    found, last = chunked(*arguments, extent=(BATCH, case.length), size=size, reverse=case.reverse)
    return [*found, last]


def with_gradients(found: list[torch.Tensor], arguments: Tensors) -> list[torch.Tensor]:
    """The results and the gradients of a random weighting of them to all arguments."""
    generator = torch.Generator().manual_seed(7)
    seeds = [torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each.dtype) for each in found]
    leaves = tensors_in(arguments)
    gradients = torch.autograd.grad(found, leaves, seeds, allow_unused=True, materialize_grads=True)
    return [*found, *gradients]


def leaves_of(arguments: Tensors, dtype: torch.dtype) -> Tensors:
    copies = converted(arguments, dtype)
    for tensor in tensors_in(copies):
        tensor.requires_grad_()
    return copies


@pytest.mark.parametrize("case", [*kinds()], ids=str)
def test_double(case: ChunkCase) -> None:
    arguments = leaves_of(random_arguments(case), torch.float64)
    wanted = with_gradients(step_by_step(*arguments, reverse=case.reverse), arguments)
    found = with_gradients(results(arguments, case), arguments)
    assert max(map(deviation, found, wanted)) < 1e-12


@pytest.mark.parametrize("size", [1, 8, 11, 64, None])
def test_size_of_chunks_does_not_matter(size: int | None) -> None:
    case = ChunkCase(45, "each", "none", 1, 2)
    arguments = random_arguments(case)
    for found, wanted in zip(results(arguments, case, size), results(arguments, case, 16), strict=True):
        assert deviation(found, wanted) < 1e-13


def test_no_positions() -> None:
    """The last state is the first, and so is its gradient."""
    case = ChunkCase(0, "each", "none", 1, 1)
    arguments = leaves_of(random_arguments(case), torch.float64)
    read, last = results(arguments, case)
    assert read.shape == (BATCH, 0, 2, 5)
    assert torch.equal(last, arguments[0])
    (gradient,) = torch.autograd.grad(last.sum(), arguments[0])
    assert torch.equal(gradient, torch.ones_like(gradient))


def test_without_lanes_and_with_several_axes_of_them() -> None:
    for lanes in ((), (2, 3)):
        case = ChunkCase(19, "each", "none", 1, 1)
        arguments = random_arguments(case, lanes=lanes)
        for found, wanted in zip(results(arguments, case), step_by_step(*arguments), strict=True):
            assert deviation(found, wanted) < 1e-13


def test_operands_that_are_the_same_everywhere() -> None:
    """Decays of [*lanes, 1] and keys of [*lanes, K], as retention has, stand for all sequences and positions."""
    case = ChunkCase(21, "shared", "none", 0, 1)
    state, decay, _, _, (key,), values, mix, reads = random_arguments(case)
    static = [state, decay[0, 0], None, [], [key[0, 0]], values, mix, reads]
    wide = [state, decay[:1, :1].expand_as(decay), None, [], [key[:1, :1].expand_as(key)], values, mix, reads]
    for found, wanted in zip(results(static, case), step_by_step(*wide), strict=True):
        assert deviation(found, wanted) < 1e-13


def stress_decays(shape: tuple[int, ...]) -> torch.Tensor:
    """Logarithms of decays of -40, -8 and 0 by turns, and zeros."""
    picks = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(3))
    choices = torch.tensor([-40.0, -8.0, 0.0, -torch.inf], dtype=torch.float64).exp()
    return choices[picks]


@pytest.mark.parametrize("decay", ["shared", "each"])
@pytest.mark.parametrize("stress", [False, True])
def test_single(decay: str, stress: bool) -> None:
    case = ChunkCase(90, decay, "none", 1, 1)
    arguments = random_arguments(case, rows=16, columns=12)
    if stress:
        arguments[1] = stress_decays(arguments[1].shape)
    exact = leaves_of(arguments, torch.float64)
    rounded = leaves_of(arguments, torch.float32)
    wanted = with_gradients(step_by_step(*exact), exact)
    start, decays, _, (reader,), (key,), (value,), ((mixed,),), ((query, _, _),) = rounded
    given = (decays, *(each.unsqueeze(3) for each in (reader, key, value)), mixed[..., None, None])
    found = with_gradients(list(chunk_plainly(start, None, given, [query], [(True, False)], 64, False, False)), rounded)
    assert max(map(deviation, found, wanted)) < (5e-5 if stress else 1e-5)


def test_complex_numbers() -> None:
    case = ChunkCase(21, "each", "none", 1, 2)
    real, imaginary = random_arguments(case, 0), random_arguments(case, 1)
    arguments = leaves_of(complex_of(real, imaginary), torch.complex128)
    wanted = step_by_step(*arguments)
    found = results(arguments, case)
    seeds = [torch.randn_like(each) for each in wanted]
    leaves = tensors_in(arguments)
    pairs = zip(torch.autograd.grad(found, leaves, seeds), torch.autograd.grad(wanted, leaves, seeds), strict=True)
    for one, other in [*zip(found, wanted, strict=True), *pairs]:
        assert (one - other).abs().max() < 1e-12 * (1 + other.abs().max())


def complex_of(real: Tensors, imaginary: Tensors) -> Tensors:
    if isinstance(real, torch.Tensor):
        return torch.complex(real, 0.3 * imaginary)
    if isinstance(real, list | tuple):
        return type(real)(complex_of(x, y) for x, y in zip(real, imaginary, strict=True))
    return real


@pytest.mark.parametrize("case", [ChunkCase(3, "each", "none", 1, 1), ChunkCase(3, "each", "shared", 0, 1)], ids=str)
def test_derivatives_of_derivatives(case: ChunkCase) -> None:
    arguments = leaves_of(random_arguments(case, rows=2, columns=1, lanes=()), torch.float64)
    leaves = tensors_in(arguments)

    def of_leaves(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(tensors)
        return tuple(results(replaced(arguments, given), case, 2))

    assert torch.autograd.gradgradcheck(of_leaves, leaves, fast_mode=True)


def replaced(arguments: Tensors, tensors: Iterator[torch.Tensor]) -> Tensors:
    if isinstance(arguments, torch.Tensor):
        return next(tensors)
    if isinstance(arguments, list | tuple):
        return type(arguments)(replaced(each, tensors) for each in arguments)
    return arguments


def test_transforms() -> None:
    """`vmap` equals a loop, `jacrev` one gradient after the other."""
    case = ChunkCase(6, "each", "none", 1, 1)
    arguments = random_arguments(case, rows=3, columns=2)

    def last_of(decay: torch.Tensor) -> torch.Tensor:
        return results([arguments[0], decay, *arguments[2:]], case, 4)[-1].sum((0, 1))

    decays = torch.stack([arguments[1], 0.5 * arguments[1]])
    each = torch.stack([last_of(decay) for decay in decays])
    assert torch.allclose(torch.vmap(last_of)(decays), each, rtol=1e-12, atol=1e-12)
    slow = torch.autograd.functional.jacobian(last_of, arguments[1])
    assert torch.allclose(torch.func.jacrev(last_of)(arguments[1]), slow, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    case = ChunkCase(6, "each", "none", 1, 1)
    state, decay, *others = random_arguments(case, rows=3, columns=2)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp"):
        results([state, torch.autograd.forward_ad.make_dual(decay, torch.ones_like(decay)), *others], case)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # PyTorch's own, as it traces
def test_compiled_whole() -> None:
    """`torch.compile` takes forward and backward as one graph."""
    case = ChunkCase(20, "each", "none", 1, 1)
    arguments = leaves_of(random_arguments(case), torch.float64)

    def total(given: Tensors) -> torch.Tensor:
        return torch.stack([each.sum() for each in results(given, case)]).sum()

    leaves = tensors_in(arguments)
    wanted = torch.autograd.grad(total(arguments), leaves)
    found = torch.autograd.grad(torch.compile(total, fullgraph=True, backend="aot_eager")(arguments), leaves)
    assert max(map(deviation, found, wanted)) < 1e-13
