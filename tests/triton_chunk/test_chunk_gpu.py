"""The compiled chunk kernels on a GPU, at sizes one would use, against the plain form in double precision."""

from __future__ import annotations

import pytest
import torch

from lsrl.backends.runtime.torch_chunk import chunked
from support.chunk_cases import BATCH, ChunkCase, converted, deviation, random_arguments, tensors_in

pytestmark = pytest.mark.gpu
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 2e-2}
CASES = [
    ChunkCase(1000, "shared", "none", 1, 1),
    ChunkCase(1000, "each", "none", 1, 2, reverse=True),
    ChunkCase(4096, "each", "none", 0, 1),
]


@pytest.mark.parametrize("operands", TOLERANCE, ids=str)
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case: ChunkCase, width: int, operands: torch.dtype) -> None:
    arguments = random_arguments(case, rows=width, columns=width, lanes=(4,))
    arguments[1] = arguments[1].abs().clamp(0.7, 1)
    exact = converted(arguments, torch.float64)
    single = on_gpu(converted(arguments, torch.float32))
    results = []
    for given, options in ((exact, {}), (single, {"operands": operands})):
        leaves = tensors_in(given)
        for tensor in leaves:
            tensor.requires_grad_()
        (read,), last = chunked(*given, extent=(BATCH, case.length), reverse=case.reverse, **options)
        results.append([read, last, *torch.autograd.grad(read.square().mean() + last.square().mean(), leaves)])
    for wanted, found in zip(*results, strict=True):
        assert deviation(found.cpu(), wanted) < 3 * TOLERANCE[operands]


def on_gpu(arguments: object) -> object:
    if isinstance(arguments, torch.Tensor):
        return arguments.cuda()
    return type(arguments)(map(on_gpu, arguments)) if isinstance(arguments, list | tuple) else arguments
