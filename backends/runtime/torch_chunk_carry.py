"""The state from chunk to chunk: the only part of the chunk engine that is sequential.

    u[n] = U[n] + A[n] S[n]        S[n + 1] = d[n] * S[n] + B[n]^T u[n] + F[n]

Its adjoint is the same recurrence run the other way, with A and B exchanged and the gradients of u and of the states
in the places of U and F.  So one function with one derivative, which can be differentiated again, serves both.
"""

import torch

from lsrl.backends.runtime.torch_loop import folded
from lsrl.backends.runtime.torch_operators import Operator
from lsrl.backends.runtime.triton_chunk_launch import launch_carry


def carry_forward(decay, reads, writes, own, added, start, reverse):
    """The states that arrive at each chunk [L, N, K, V], the last one [L, K, V], and u [L, N, M, V].

    Args:
        decay: d, [L, N, K or 1, V or 1].
        reads, writes: A and B, [L, N, M, K]; M is 0 where there are none.
        own: U, [L, N, M, V].
        added: F, [L, N, K, V]; K is 0 where there is none.
        start: [L, K, V].
        reverse: from the last chunk to the first.
    """
    parts = zip(decay.unbind(1), reads.unbind(1), writes.mT.unbind(1), own.unbind(1), added.unbind(1))
    state, arriving, found = start, [], []
    for d, a, b, u, f in list(parts)[::-1] if reverse else parts:
        arriving.append(state)
        u = torch.baddbmm(u, a, state) if a.shape[1] else u
        found.append(u)
        state = d * state
        state = state + f if f.shape[1] else state
        state = torch.baddbmm(state, b, u) if b.shape[2] else state
    if not arriving:
        return start.new_empty(start.shape[0], 0, *start.shape[1:]), start.clone(), own.clone()
    kept, us = (torch.stack(each[::-1] if reverse else each, 1) for each in (arriving, found))
    return kept, state, us


@Operator
def chunk_carry(tensors: list[torch.Tensor], reverse: bool) -> list[torch.Tensor]:
    """`carry_forward` as a kernel, with products in float32."""
    decay, *others, start = tensors
    reads, writes, _, added = (each if each.shape[2] else None for each in others)
    u = others[2].clone(memory_format=torch.contiguous_format)
    arriving, last = launch_carry(decay, (reads, writes, u), added, start, reverse, torch.float32)
    return [arriving, last, u]


@chunk_carry.register_fake
def _(tensors, reverse):
    decay, _, _, own, _, start = tensors
    return [start.new_empty(*decay.shape[:2], *start.shape[1:]), torch.empty_like(start), torch.empty_like(own)]


@chunk_carry.register_vmap
def _(info, in_dims, tensors, reverse):
    return folded(chunk_carry, [True] * 6)(info, in_dims, tensors, reverse)


class ChunkCarry(torch.autograd.Function):
    """`carry_forward`, or the kernel for it, with its derivative; it has no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decay, reads, writes, own, added, start, reverse, kernels):
        if kernels:
            return tuple(chunk_carry([decay, reads, writes, own, added, start], reverse))
        return carry_forward(decay, reads, writes, own, added, start, reverse)

    @staticmethod
    def setup_context(ctx, inputs, output):
        decay, reads, writes, _, added, _, ctx.reverse, ctx.kernels = inputs
        arriving, _, u = output
        ctx.save_for_backward(decay, reads, writes, added, arriving, u)

    @staticmethod
    def backward(ctx, to_arriving, to_last, to_u):
        decay, reads, writes, added, arriving, u = (each.conj() for each in ctx.saved_tensors)
        adjoint = (decay, writes, reads, to_u, to_arriving, to_last)
        ahead, to_start, to_own = ChunkCarry.apply(*adjoint, not ctx.reverse, ctx.kernels)
        to_decay = (ahead * arriving).sum_to_size(decay.shape)
        to_reads = to_own @ arriving.mT if reads.shape[2] else torch.zeros_like(reads)
        to_writes = u @ ahead.mT if writes.shape[2] else torch.zeros_like(writes)
        to_added = ahead if added.shape[2] else torch.zeros_like(added)
        return to_decay, to_reads, to_writes, to_own, to_added, to_start, None, None
