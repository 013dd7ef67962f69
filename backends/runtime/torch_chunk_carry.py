"""The state from chunk to chunk: the only part of the chunk engine that is sequential.

    S[n + 1] = d[n] * S[n] + B[n]^T (A[n] S[n]) + F[n]

Its adjoint is the same recurrence run the other way with A and B exchanged and gradients in the place of F, so one
function with one derivative, which can be differentiated again, serves both.
"""

import torch

from lsrl.backends.runtime.torch_loop import folded
from lsrl.backends.runtime.triton_chunk_launch import launch_carry


def carry_forward(decay, reads, writes, added, start, reverse):
    """All the states, [L, N + 1, K, V]: the first is given, the others are made (in reverse the last is given).

    Args:
        decay: [L, N, K or 1, V or 1].
        reads, writes: A and B, [L, N, M, K]; M is 0 where there are none.
        added: F, [L, N, K, V].
        start: [L, K, V].
    """
    low = (reads.unbind(1), writes.unbind(1)) if reads.shape[2] else ()
    steps = list(zip(decay.unbind(1), added.unbind(1), *low))
    states = [start]
    for d, f, *pair in steps[::-1] if reverse else steps:
        following = d * states[-1] + f
        if pair:
            a, b = pair
            following = torch.baddbmm(following, b.mT, a @ states[-1])
        states.append(following)
    return torch.stack(states[::-1] if reverse else states, 1)


@torch.library.custom_op("lsrl_module::chunk_carry", mutates_args=())
def chunk_carry(tensors: list[torch.Tensor], reverse: bool) -> torch.Tensor:
    """`carry_forward` as a kernel, with products in full float32."""
    decay, reads, writes, added, start = tensors
    low = (reads, writes) if reads.shape[2] else (None, None)
    return launch_carry(decay, *low, None, added, start, reverse, torch.float32)


@chunk_carry.register_fake
def _(tensors, reverse):
    added = tensors[3]
    return added.new_empty(added.shape[0], added.shape[1] + 1, *added.shape[2:])


@chunk_carry.register_vmap
def _(info, in_dims, tensors, reverse):
    found, dims = folded(lambda given: [chunk_carry(given, reverse)], [True] * 5)(info, in_dims, tensors)
    return found[0], dims[0]


class ChunkCarry(torch.autograd.Function):
    """`carry_forward`, or the kernel for it, with its derivative; it has no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decay, reads, writes, added, start, reverse, kernels):
        if kernels:
            return chunk_carry([decay, reads, writes, added, start], reverse)
        return carry_forward(decay, reads, writes, added, start, reverse)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, _, _, ctx.reverse, ctx.kernels = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx, gradient):
        decay, reads, writes, states = (each.conj() for each in ctx.saved_tensors)
        n = decay.shape[1]
        given, made = (n, slice(0, n)) if ctx.reverse else (0, slice(1, n + 1))
        last, others = (0, slice(1, n + 1)) if ctx.reverse else (n, slice(0, n))
        adjoint = ChunkCarry.apply(
            decay, writes, reads, gradient[:, others], gradient[:, last], not ctx.reverse, ctx.kernels
        )
        ahead, here = adjoint[:, made], states[:, others]
        to_decay = (ahead * here).sum_to_size(decay.shape)
        to_reads = (writes @ ahead) @ here.mT
        to_writes = (reads @ here) @ ahead.mT
        return to_decay, to_reads, to_writes, ahead, adjoint[:, given], None, None
