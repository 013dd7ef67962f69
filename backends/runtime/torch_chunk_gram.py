"""Products of the rows of a chunk with the decay between them, and their derivatives.

Between row s and a later row t of a chunk lies the segment product

    D[t, s, k] = prod_{s < i <= t} d[i, k]        or, for readers of the state before row t,  prod_{s < i < t} d[i, k].

All functions here are faces of one form that is linear in each of a, x and y,

    form(a, x, y; d) = sum_{t, s, k} a[t, s] x[t, k] y[s, k] D[t, s, k]        over s <= t, or s < t when exclusive:

`gram_forward` is its derivative in a, `gather_forward` that in x, and `gram_pull` gives those in x, y and d: each is
the derivative of the others.

A block of rows is halved: with P the product from the middle to t and Q the product from s to the middle, the block of
late t and early s is (x P) @ (y Q)^T, a matrix product; blocks of half the size follow, down to single rows.  Decays
are multiplied only, never divided by and never taken the logarithm of, so zeros (hard resets), signs, complex numbers
and gates above one are exact, and what underflows is a true zero.

Shapes: chunks G, rows C (a power of two), streams X and Y that share a row's decay, x [G, C, X, K], y [G, C, Y, K],
a [G, C X, C Y] with the streams of a row adjacent, d [G, C, K].
"""

import torch


def chunk_pairs(blocks):
    """The first and the second of each pair along axis 1: [G, 2 n, ...] to two [G, n, ...]."""
    first, second = blocks.unflatten(1, (-1, 2)).unbind(2)
    return first, second


def chunk_paired(first, second):
    """The inverse of `chunk_pairs`."""
    return torch.stack([first, second], 2).flatten(1, 2)


def chunk_shifted(prefix):
    """Products up to the row before, from those up to each row: one at the start."""
    whole = torch.cat([torch.ones_like(prefix[:, :, :1]), prefix], 2)
    return whole[:, :, :-1]


def decay_levels(decay):
    """For blocks of 1, 2, 4, ... C rows: products up to each row, from after each row, and of all rows.

    Args:
        decay: [G, C, K].

    Returns:
        For blocks of h rows, [G, C / h, h, K] twice and [G, C / h, K].
    """
    prefix = decay[:, :, None]
    levels = [(prefix, torch.ones_like(prefix), decay)]
    while levels[-1][2].shape[1] > 1:
        prefix, suffix, whole = levels[-1]
        (left, right), (early, late) = chunk_pairs(prefix), chunk_pairs(suffix)
        first, second = chunk_pairs(whole)
        up_to = torch.cat([left, right * first[:, :, None]], 2)
        after = torch.cat([early * second[:, :, None], late], 2)
        levels.append((up_to, after, first * second))
    return levels


def decay_gradient(levels, parts):
    """The gradient of the decays [G, C, K] from gradients of the products of each level, the derivative of the above.

    By the rule of products, from large blocks to small, with neither division nor logarithm.

    Args:
        parts: for the levels, in their order, gradients of their three products.
    """
    to_prefix, to_suffix, to_whole = parts[-1]
    for (prefix, suffix, whole), part in zip(levels[-2::-1], parts[-2::-1]):
        (_, right), (early, _), (first, second) = chunk_pairs(prefix), chunk_pairs(suffix), chunk_pairs(whole)
        h = prefix.shape[2]
        left_bar, right_bar = to_prefix[:, :, :h], to_prefix[:, :, h:]
        early_bar, late_bar = to_suffix[:, :, :h], to_suffix[:, :, h:]
        first_bar = to_whole * second + (right_bar * right).sum(2)
        second_bar = to_whole * first + (early_bar * early).sum(2)
        to_prefix = chunk_paired(left_bar, right_bar * first[:, :, None]) + part[0]
        to_suffix = chunk_paired(early_bar * second[:, :, None], late_bar) + part[1]
        to_whole = chunk_paired(first_bar, second_bar) + part[2]
    return to_prefix[:, :, 0] + to_whole


def chunk_scaled(rows, factor):
    """The rows of each block times their products of decays, streams flattened: [G, n, h X, K]."""
    return (rows * factor[:, :, :, None]).flatten(2, 3)


def chunk_halves(rows, blocks):
    """The early and the late halves of blocks of rows: [G, C, X, K] to two [G, blocks, C / (2 blocks), X, K]."""
    early, late = rows.unflatten(1, (blocks, 2, -1)).unbind(2)
    return early, late


def chunk_late(prefix, exclusive):
    """The products from the middle of each block to its late rows: [G, n, h, K]."""
    _, late = chunk_pairs(prefix)
    return chunk_shifted(late) if exclusive else late


def chunk_early(suffix):
    """The products from after the early rows of each block to its middle: [G, n, h, K]."""
    early, _ = chunk_pairs(suffix)
    return early


def gram_forward(x, y, decay, exclusive):
    """The derivative of the form in a: [G, C X, C Y]."""
    own = x @ y.mT
    blocks = torch.zeros_like(own) if exclusive else own
    for prefix, suffix, whole in decay_levels(decay)[:-1]:
        n = whole.shape[1] // 2
        late = chunk_scaled(chunk_halves(x, n)[1], chunk_late(prefix, exclusive))
        early = chunk_scaled(chunk_halves(y, n)[0], chunk_early(suffix))
        first, second = chunk_pairs(blocks)
        low = torch.cat([late @ early.mT, second], -1)
        blocks = torch.cat([torch.cat([first, torch.zeros_like(first)], -1), low], -2)
    return blocks[:, 0]


def lower_blocks(a, rows):
    """What `gram_forward` puts together: the diagonal blocks [G, C, X, Y], then the lower left ones of each level."""
    found = []
    a = a[:, None]
    while rows > 1:
        top, bottom = a.tensor_split(2, 2)
        first, _ = top.tensor_split(2, 3)
        low, second = bottom.tensor_split(2, 3)
        found.append(low)
        a, rows = chunk_paired(first, second), rows // 2
    return [a, *found[::-1]]


def gather_forward(a, y, decay, streams, exclusive):
    """The derivative of the form in x: [G, C, streams, K]."""
    rows = decay.shape[1]
    own, *lows = lower_blocks(a, rows)
    total = torch.zeros_like(own @ y) if exclusive else own @ y
    for low, (prefix, suffix, _) in zip(lows, decay_levels(decay)):
        n = low.shape[1]
        above = (low @ chunk_scaled(chunk_halves(y, n)[0], chunk_early(suffix))).unflatten(2, (-1, streams))
        found = above * chunk_late(prefix, exclusive)[:, :, :, None]
        total = total + torch.stack([torch.zeros_like(found), found], 2).flatten(1, 3)
    return total


def gram_pull(a, x, y, decay, exclusive):
    """The derivatives of the form in x, y and the decays."""
    levels = decay_levels(decay)
    own, *lows = lower_blocks(a, decay.shape[1])
    to_x, to_y = (torch.zeros_like(x), torch.zeros_like(y)) if exclusive else (own @ y, own.mT @ x)
    parts = []
    for low, (prefix, suffix, whole) in zip(lows, levels):
        n = low.shape[1]
        (_, late), (early, _) = chunk_halves(x, n), chunk_halves(y, n)
        up_to, after = chunk_late(prefix, exclusive)[:, :, :, None], chunk_early(suffix)[:, :, :, None]
        late_bar = (low @ (early * after).flatten(2, 3)).unflatten(2, late.shape[2:4])
        early_bar = (low.mT @ (late * up_to).flatten(2, 3)).unflatten(2, early.shape[2:4])
        for_x, for_y = late_bar * up_to, early_bar * after
        to_x = to_x + torch.stack([torch.zeros_like(for_x), for_x], 2).flatten(1, 3)
        to_y = to_y + torch.stack([for_y, torch.zeros_like(for_y)], 2).flatten(1, 3)
        up_bar, after_bar = (late_bar * late).sum(3), (early_bar * early).sum(3)
        up_bar = chunk_unshifted(up_bar) if exclusive else up_bar
        zeros = torch.zeros_like(up_bar)
        parts.append((chunk_paired(zeros, up_bar), chunk_paired(after_bar, zeros), torch.zeros_like(whole)))
    last = tuple(torch.zeros_like(each) for each in levels[-1])
    return to_x, to_y, decay_gradient(levels, [*parts, last])


def chunk_unshifted(gradient):
    """The derivative of `chunk_shifted`."""
    whole = torch.cat([gradient, torch.zeros_like(gradient[:, :, :1])], 2)
    return whole[:, :, 1:]


class ChunkGram(torch.autograd.Function):
    """`gram_forward` with its derivative, which can be differentiated again; it has no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, y, decay, exclusive):
        return gram_forward(x, y, decay, exclusive)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.exclusive = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, gradient):
        x, y, decay = ctx.saved_tensors
        return *gram_pull(gradient, x.conj(), y.conj(), decay.conj(), ctx.exclusive), None


class ChunkGather(torch.autograd.Function):
    """`gather_forward` with its derivative, which can be differentiated again; it has no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a, y, decay, streams, exclusive):
        return gather_forward(a, y, decay, streams, exclusive)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.streams, ctx.exclusive = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, gradient):
        a, y, decay = (tensor.conj() for tensor in ctx.saved_tensors)
        _, to_y, to_decay = gram_pull(a, gradient, y, decay, ctx.exclusive)
        return ChunkGram.apply(gradient, y, decay, ctx.exclusive), to_y, to_decay, None, None


class ChunkEnds(torch.autograd.Function):
    """Products of the decays of a chunk up to each row, from after each row, and of all: [G, C, K] twice, [G, K]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decay):
        prefix, suffix, whole = decay_levels(decay)[-1]
        return prefix[:, 0], suffix[:, 0], whole[:, 0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, *gradients):
        levels = decay_levels(ctx.saved_tensors[0].conj())
        zeros = [tuple(torch.zeros_like(each) for each in level) for level in levels[:-1]]
        return decay_gradient(levels, [*zeros, tuple(each[:, None] for each in gradients)])
