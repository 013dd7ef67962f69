"""The state from chunk to chunk: the only part of the chunk engine that is sequential.

    S[n + 1] = d[n] * S[n] + B[n]^T (A[n] S[n]) + F[n]

Its adjoint is the same recurrence run the other way with A and B exchanged and gradients in the place of F, so one
function with one derivative, which can be differentiated again, serves both.
"""

import torch


def carry_forward(decay, reads, writes, added, start, reverse):
    """All the states, [L, N + 1, K, V]: the first is given, the others are made (in reverse the last is given).

    Args:
        decay: [L, N, K or 1, V or 1].
        reads, writes: A and B, [L, N, M, K], or None for none.
        added: F, [L, N, K, V].
        start: [L, K, V].
    """
    low = () if reads is None or writes is None else (reads.unbind(1), writes.unbind(1))
    steps = list(zip(decay.unbind(1), added.unbind(1), *low))
    states = [start]
    for d, f, *pair in steps[::-1] if reverse else steps:
        following = d * states[-1] + f
        if pair:
            a, b = pair
            following = torch.baddbmm(following, b.mT, a @ states[-1])
        states.append(following)
    return torch.stack(states[::-1] if reverse else states, 1)


class ChunkCarry(torch.autograd.Function):
    """`carry_forward` with its derivative; it has no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decay, reads, writes, added, start, reverse):
        return carry_forward(decay, reads, writes, added, start, reverse)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, _, _, ctx.reverse = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx, gradient):
        decay, reads, writes, states = (each if each is None else each.conj() for each in ctx.saved_tensors)
        n = decay.shape[1]
        given, made = (n, slice(0, n)) if ctx.reverse else (0, slice(1, n + 1))
        last, others = (0, slice(1, n + 1)) if ctx.reverse else (n, slice(0, n))
        adjoint = ChunkCarry.apply(decay, writes, reads, gradient[:, others], gradient[:, last], not ctx.reverse)
        ahead, here = adjoint[:, made], states[:, others]
        to_decay = (ahead * here).sum_to_size(decay.shape)
        to_reads = None if reads is None else (writes @ ahead) @ here.mT
        to_writes = None if writes is None else (reads @ here) @ ahead.mT
        return to_decay, to_reads, to_writes, ahead, adjoint[:, given], None
