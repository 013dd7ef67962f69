"""Where chunks run in Triton kernels rather than as products by PyTorch: as far as they serve, on a GPU.

`torch_chunk_alone` has the same function for modules without kernels.
"""

import torch

from lsrl.backends.runtime.torch_chunk_plain import chunk_plainly
from lsrl.backends.runtime.torch_kernels import INTERPRETED, runs_kernels
from lsrl.backends.runtime.triton_chunk_operator import ChunkKernels, chunk_kernels_serve


def run_chunks(start, columns, given, vectors, sides, chunk, reverse, operands):
    """Reads and the last state of a recurrence in chunks; `chunk`: the positions of one, and the rows of its tile."""
    taken, tile = chunk
    length = given[2].shape[1]
    kernels = start.dtype == torch.float32 and 0 not in (*start.shape, length) and chunk_kernels_run(start)
    if kernels and taken in (tile, length) and chunk_kernels_serve(start, columns, given, sides, tile):
        exclusive = [before for _, before in sides]
        return ChunkKernels.apply(exclusive, tile, reverse, operands, start, *given, *vectors)
    return chunk_plainly(start, columns, given, vectors, sides, taken, reverse, kernels)


def chunk_kernels_run(tensor):
    """As `runs_kernels`, which warns where there is no GPU; a compiler cannot trace a warning."""
    if torch.compiler.is_compiling():
        return INTERPRETED or tensor.device.type != "cpu"
    return runs_kernels(tensor)
