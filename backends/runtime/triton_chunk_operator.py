"""The chunk kernels as an operator that PyTorch knows, and its derivative."""

import torch

from lsrl.backends.runtime.torch_chunk_plain import chunk_plainly
from lsrl.backends.runtime.torch_loop import folded, pulled_back
from lsrl.backends.runtime.torch_operators import Operator
from lsrl.backends.runtime.triton_chunk_launch import ChunkLaunch

MOST_CHUNK_ROWS = 64  # that one tile holds
MOST_STATE_ROWS = 256


def chunk_kernels_serve(start, columns, given, sides, tile):
    """Whether there are kernels for a recurrence: real, rows summed over, one reader or one key in each system."""
    _, readers, keys, _, _ = given
    ranks = (0 if readers is None else readers.shape[3], keys.shape[3])
    whole = columns is None and min(ranks) <= 1 and all(by_row for by_row, _ in sides)
    fits = tile <= MOST_CHUNK_ROWS and start.shape[-2] <= MOST_STATE_ROWS
    return whole and fits and start.dtype == torch.float32 and 0 not in (*start.shape, *keys.shape)


def chunk_parts(tensors, absent):
    """Start, (decay, readers, keys, values, mix), vectors from a list that lacks what is None."""
    start, *rest = tensors
    present = iter(rest)
    given = tuple(None if lacks else next(present) for lacks in absent)
    return start, given, list(present)


@Operator
def chunk_kernels(
    tensors: list[torch.Tensor],
    absent: list[bool],
    exclusive: list[bool],
    tile: int,
    reverse: bool,
    operands: torch.dtype,
) -> list[torch.Tensor]:
    """The reads, each [B, T, H, V], and the last state; `absent` says what is None of decay, readers, keys, ..."""
    start, given, vectors = chunk_parts(tensors, absent)
    rows = [each if each is None else unit_stride(each) for each in given]
    launch = ChunkLaunch(rows, max(tile, 16), reverse, operands)
    queries = [(unit_stride(q), before) for q, before in zip(vectors, exclusive)]
    found, last = launch.run(queries, start.flatten(0, 1))
    return [*found, last.reshape(start.shape)]


@chunk_kernels.register_fake
def _(tensors, absent, exclusive, tile, reverse, operands):
    start, _, vectors = chunk_parts(tensors, absent)
    return [*(q.new_empty(*q.shape[:3], start.shape[-1]) for q in vectors), torch.empty_like(start)]


@chunk_kernels.register_vmap
def _(info, in_dims, tensors, *options):
    return folded(chunk_kernels, [True] * len(tensors))(info, in_dims, tensors, *options)


def unit_stride(tensor):
    """A tensor whose last axis lies in one piece, as kernels read it."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


class ChunkKernels(torch.autograd.Function):
    """`chunk_kernels`; the derivative is that of the plain form, whose states again go through a kernel."""

    generate_vmap_rule = True

    @staticmethod
    def forward(exclusive, tile, reverse, operands, start, *rest):
        absent = [each is None for each in rest[:5]]
        tensors = [start, *(each for each in rest if each is not None)]
        return tuple(chunk_kernels(tensors, absent, exclusive, tile, reverse, operands))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.exclusive, ctx.tile, ctx.reverse, ctx.operands, *tensors = inputs
        ctx.absent = [each is None for each in tensors[1:6]]
        ctx.save_for_backward(*(each for each in tensors if each is not None))

    @staticmethod
    def backward(ctx, *cotangents):
        sides = [(True, before) for before in ctx.exclusive]

        def plain(*tensors):
            start, given, vectors = chunk_parts(tensors, ctx.absent)
            return chunk_plainly(start, None, given, vectors, sides, ctx.tile, ctx.reverse, True)

        found = iter(pulled_back(plain, ctx.saved_tensors, cotangents))
        first = next(found)
        of_given = [None if lacks else next(found) for lacks in ctx.absent]
        return None, None, None, None, first, *of_given, *found
