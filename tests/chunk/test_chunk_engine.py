"""Chunks in JAX as a function: lengths, decays of every sort, precision, second derivatives, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.test_util import check_grads

from lsrl.backends.runtime.jax_chunk import chunked
from support.chunk_cases import BATCH, ChunkCase, random_arguments, step_by_step, tensors_in
from support.process import peak_memory

EVERY_READ = (("rows", True), ("rows", False), ("columns", True), ("columns", False))


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def in_jax(arguments: Any) -> Any:
    """The same nested lists with arrays of JAX."""
    if isinstance(arguments, torch.Tensor):
        return jnp.asarray(arguments.detach().numpy())
    return type(arguments)(map(in_jax, arguments)) if isinstance(arguments, list | tuple) else arguments


def run(case: ChunkCase, arguments: Any, size: int | None) -> list[jax.Array]:
    found, last = chunked(*arguments, extent=(BATCH, case.length), size=size, reverse=case.reverse)
    return [*found, last]


def deviation(found: jax.Array, wanted: torch.Tensor) -> float:
    """Relative RMS."""
    exact = wanted.detach().double().numpy()
    assert found.shape == exact.shape
    return float(np.sqrt(np.mean((np.asarray(found) - exact) ** 2) / np.mean(exact**2))) if exact.size else 0.0


@pytest.mark.parametrize("length", [0, 1, 5, 65])
def test_lengths(length: int) -> None:
    case = ChunkCase(length)
    arguments = random_arguments(case)
    wanted = step_by_step(*arguments) if length else [torch.zeros(BATCH, 0, 2, 5), arguments[0]]
    for size in (7, 16, None):
        for found, exact in zip(run(case, in_jax(arguments), size), wanted, strict=True):
            assert deviation(found, exact) < 1e-12


CASES = (
    ChunkCase(11, "each", "none", 2, 2, EVERY_READ, reverse=True),
    ChunkCase(11, "shared", "none", 1, 2, EVERY_READ),
    ChunkCase(11, "each", "each", 0, 2, EVERY_READ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients(case: ChunkCase) -> None:
    """Zeros, changes of sign and decays above one among the decays."""
    arguments = random_arguments(case)
    leaves = [tensor.requires_grad_() for tensor in tensors_in(arguments)]
    wanted = step_by_step(*arguments, reverse=case.reverse)
    weights = [torch.from_numpy(np.random.default_rng(1).normal(size=tuple(each.shape))) for each in wanted]
    total = sum((each * weight).sum() for each, weight in zip(wanted, weights, strict=True))
    gradients = torch.autograd.grad(total, leaves)

    def weighted(arrays: list[jax.Array]) -> jax.Array:
        remaining = iter(arrays)
        given = filled(arguments, remaining)
        return sum(jnp.sum(o * in_jax(w)) for o, w in zip(run(case, given, 4), weights, strict=True))

    found = jax.grad(weighted)([in_jax(leaf) for leaf in leaves])
    assert max(deviation(one, other) for one, other in zip(found, gradients, strict=True)) < 1e-12


def filled(arguments: Any, arrays: Iterator[jax.Array]) -> Any:
    """The nested lists with the next array in the place of each tensor."""
    if isinstance(arguments, torch.Tensor):
        return next(arrays)
    if isinstance(arguments, list | tuple):
        return type(arguments)(filled(each, arrays) for each in arguments)
    return arguments


@pytest.mark.parametrize("size", [16, 64])
def test_gates_that_close(size: int) -> None:
    """Log-gates of -40, -8 and 0 mixed, and exact zeros, in single precision."""
    case = ChunkCase(96)
    arguments = random_arguments(case, rows=16, columns=16)
    logs = torch.tensor([-40.0, -8.0, 0.0, -torch.inf], dtype=torch.float64)
    choice = torch.randint(4, arguments[1].shape, generator=torch.Generator().manual_seed(1))
    arguments[1] = logs[choice].exp()
    exact = step_by_step(*arguments)
    single = jax.tree.map(lambda x: x.astype(np.float32) if isinstance(x, jax.Array) else x, in_jax(arguments))
    for found, wanted in zip(run(case, single, size), exact, strict=True):
        assert found.dtype == jnp.float32
        assert deviation(found, wanted) < 1e-5


def test_complex_numbers() -> None:
    rng = np.random.default_rng(0)
    length, rows = 13, 4
    decay, key, query = (rng.normal(size=(2, 1, length, 2, rows, 2)).view(complex)[0, ..., 0] for _ in range(3))
    decay = decay / np.maximum(1, np.abs(decay))
    value = rng.normal(size=(1, length, 2, 3)) + 1j
    state = np.zeros((1, 2, rows, 3), complex)
    wanted = []
    for t in range(length):
        state = decay[:, t, :, :, None] * state + key[:, t, :, :, None] * value[:, t, :, None]
        wanted.append(np.einsum("bnk,bnkv->bnv", query[:, t], state))
    start = jnp.zeros_like(state)
    (found,), last = chunked(
        start, decay, None, [], [key], [value], [[]], [(query, "rows", True)], extent=(1, length), size=4
    )
    np.testing.assert_allclose(found, np.stack(wanted, 1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(last, state, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_second_derivatives() -> None:
    case = ChunkCase(3)
    state, decay, _, (reader,), (key,), (value,), ((mix,),), ((query, *_),) = in_jax(random_arguments(case))

    def reads(decay: jax.Array, reader: jax.Array, key: jax.Array, mix: jax.Array) -> list[jax.Array]:
        return run(case, [state, decay, None, [reader], [key], [value], [[mix]], [(query, "rows", True)]], 4)

    check_grads(reads, (decay, reader, key, mix), order=2, modes=["rev"], eps=1e-5)


LONG = """
import jax, jax.numpy as jnp
from lsrl.backends.runtime.jax_chunk import chunked

length, width = 65536, 64
shape = (1, length, 1, width)
q, k, v, d = (jax.random.normal(jax.random.key(i), shape) / 8 for i in range(4))

def energy(q, k, v, d):
    extent = (1, length)
    keep = jax.nn.sigmoid(d + 4)
    reads = [(q, "rows", True)]
    mix = [[-jnp.ones(shape[:-1])]]
    start = jnp.zeros((1, 1, width, width))
    (found,), last = chunked(start, keep, None, [k * keep], [k], [v], mix, reads, extent=extent)
    return jnp.sum(found**2) + jnp.sum(last**2)

gradients = jax.jit(jax.grad(energy, argnums=(0, 1, 2, 3)))(q, k, v, d)
assert all(bool(jnp.isfinite(each).all()) for each in gradients)
"""


@pytest.mark.slow
def test_long_sequences_need_little_memory() -> None:
    """65536 positions of a state of 64 by 64, forward and backward; every state would be 1 GiB for each pass."""
    assert peak_memory(LONG) < 3
