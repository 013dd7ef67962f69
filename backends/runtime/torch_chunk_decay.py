"""Products of the rows of a chunk for every kind of decay: none, one number per row, one for each entry of a row.

Shapes as in `torch_chunk_gram`; the decays are None, [G, C, 1] or [G, C, K].
"""

import torch

from lsrl.backends.runtime.torch_chunk_gram import ChunkEnds, ChunkGather, ChunkGram, gram_forward


def segment_products(decay):
    """D[t, s] = prod_{s < i <= t} d[i] for s <= t, else 0: [G, C, 1] to [G, C, C]."""
    ones = torch.ones_like(decay)[..., None]
    return gram_forward(ones, ones, decay, False)


def segments_before(segments):
    """Segment products before each row, prod_{s < i < t} d[i] for s < t: those of the row above."""
    return torch.cat([torch.zeros_like(segments[:, :1]), segments], 1)[:, :-1]


class ChunkSegments(torch.autograd.Function):
    """`segment_products`; dD[t, s] / dd[i] = D[t, i] D[i - 1, s], so its derivative takes one matrix product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decay):
        return segment_products(decay)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        segments = ChunkSegments.apply(ctx.saved_tensors[0].conj())
        return (segments * (gradient @ segments_before(segments).mT)).sum(1)[..., None]


def chunk_streams(segments, x, y):
    """Segment products for every pair of streams: [G, C, C] to [G, C x, C y]."""
    return segments.repeat_interleave(x, 1).repeat_interleave(y, 2) if x * y > 1 else segments


def decay_products(decay, like):
    """What the decays of a chunk are made into once: (decays, segment products, up to, after, whole).

    Segment products [G, C, C] stand for decays that the entries of a row share, else they are None. `up to` and
    `after` each row are [G, C, K or 1], `whole` is [G, K or 1]; all are None without decay.
    """
    if decay is None:
        return None, like.new_ones(1, like.shape[1], like.shape[1]).tril(), None, None, None
    segments = ChunkSegments.apply(decay) if decay.shape[-1] == 1 else None
    return decay, segments, *ChunkEnds.apply(decay)


def chunk_gram(x, y, products, exclusive):
    """sum_k x[t, k] y[s, k] D[t, s, k]: [G, C X, C Y]."""
    decay, segments, *_ = products
    if segments is None:
        return ChunkGram.apply(x, y, decay, exclusive)
    between = chunk_streams(segments_before(segments) if exclusive else segments, x.shape[2], y.shape[2])
    return (x.flatten(1, 2) @ y.flatten(1, 2).mT) * between


def chunk_gather(a, y, products, streams, exclusive):
    """sum_s a[t, s] y[s, k] D[t, s, k] of an `a` that is zero where t may not see s: [G, C, streams, K]."""
    decay, segments, *_ = products
    if segments is None:
        return ChunkGather.apply(a, y, decay, streams, exclusive)
    if decay is not None:
        a = a * chunk_streams(segments_before(segments) if exclusive else segments, streams, y.shape[2])
    return (a @ y.flatten(1, 2)).unflatten(1, (-1, streams))


def products_seen(up_to, exclusive):
    """The products up to each row, or up to the one before; None stands for ones."""
    if up_to is None or not exclusive:
        return up_to
    return torch.cat([torch.ones_like(up_to[:, :1]), up_to], 1)[:, :-1]
