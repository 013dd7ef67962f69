"""Long sequences of matrix states: only the states between chunks and what is linear in the length are kept."""

from __future__ import annotations

import pytest

from support.process import peak_memory

LONG = """
import warnings

import torch
from lsrl.backends.runtime.torch_chunk import chunked

warnings.simplefilter("ignore")  # there may be no GPU
length, width = 65536, 64
generator = torch.Generator().manual_seed(0)
q, k, v = (torch.randn(1, length, width, generator=generator, requires_grad=True) for _ in range(3))
unit = torch.nn.functional.normalize(k, dim=-1)
decay = torch.rand(1, length, {decay}, generator=generator).mul(0.3).add(0.7).requires_grad_()
strength = torch.rand(1, length, generator=generator)
start = torch.zeros(1, width, width, requires_grad=True)
written = [v * strength[..., None]]
(read,), last = chunked(
    start, decay, None, [unit * decay], [unit], written, [[-strength]], [(q, "rows", True)], extent=(1, length)
)
(read.square().mean() + last.square().mean()).backward()
assert all(tensor.grad.isfinite().all() and tensor.grad.any() for tensor in (q, k, v, decay))
"""


@pytest.mark.slow
@pytest.mark.parametrize("decay", [1, 64])
def test_memory(decay: int) -> None:
    """65,536 positions of a 64 x 64 state, forward and backward, in GiB; every state alone would be one."""
    assert peak_memory(LONG.format(decay=decay)) < 3
