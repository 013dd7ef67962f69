"""Products of the rows of a chunk with products of decays between, built by doubling, in JAX.

With row t above row s of a chunk, what row s wrote has met the decays of the rows between when row t reads it:

    G[t, s] = sum_k x[t, k] y[s, k] prod_{s < i < t} d[i, k],    0 for s >= t

Blocks of rows are paired up: where t is in the later of two neighbours and s in the earlier one, the product splits at
the border into one of decays before t, in its own block, and one of decays after s, in its own block, so all such
entries are one matrix product, of arrays that are zero for the other rows.  Decays are only ever multiplied: zeros,
signs, complex numbers and decays above one are exact, what underflows is a true zero, and so are the derivatives, which
are written with the same products.

Axes: [..., C, X, K] are C rows, a power of two, of X streams each.
"""

from functools import partial

import jax
import jax.numpy as jnp


def exact_product(a, b):
    """a @ b; accelerators would round the factors."""
    return jnp.matmul(a, b, precision="highest")


def turned(matrix):
    """The transpose of the last two axes."""
    return jnp.swapaxes(matrix, -1, -2)


def neighbours(blocks, axis):
    """The first and the second of every two neighbours along an axis, counted from the end."""
    shape = blocks.shape
    pairs = blocks.reshape(*shape[:axis], shape[axis] // 2, 2, *shape[axis:][1:])
    first, second = jnp.split(pairs, 2, axis=axis)
    return first.squeeze(axis), second.squeeze(axis)


def interleaved(first, second, axis):
    """The inverse of `neighbours`."""
    shape = first.shape
    return jnp.stack([first, second], axis).reshape(*shape[:axis], 2 * shape[axis], *shape[axis:][1:])


def flat_streams(rows):
    """[..., b, X, K] to [..., b X, K]."""
    return rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])


def decay_levels(decay):
    """For blocks of 1, 2, 4 ... rows: the products of decays before each row of its block, after it, and of all.

    [..., C, K] to a list of [..., n, b, K], the same, and [..., n, K] for n blocks of b rows.
    """
    ones = jnp.ones_like(decay)[..., None, :]
    levels = [(ones, ones, decay)]
    while levels[-1][2].shape[-2] > 1:
        before, after, whole = levels[-1]
        first, second = neighbours(whole, -2)
        (left, right), (early, late) = neighbours(before, -3), neighbours(after, -3)
        before = jnp.concatenate([left, first[..., None, :] * right], -2)
        after = jnp.concatenate([early * second[..., None, :], late], -2)
        levels.append((before, after, first * second))
    return levels


def decay_gradient(levels, parts):
    """The gradient of the decays from those of the products of each level, in their order, (before, after, whole).

    The rule of products from large blocks to small; None is zero.
    """
    to_before, to_after, to_whole = parts[-1]
    for (before, after, whole), part in zip(levels[-2::-1], parts[-2::-1]):
        (_, right), (early, _), (first, second) = neighbours(before, -3), neighbours(after, -3), neighbours(whole, -2)
        left_bar, right_bar = jnp.split(to_before, 2, -2)
        early_bar, late_bar = jnp.split(to_after, 2, -2)
        first_bar = to_whole * second + (right_bar * right).sum(-2)
        second_bar = to_whole * first + (early_bar * early).sum(-2)
        for_before, for_after = (0, 0) if part is None else part
        to_before = interleaved(left_bar, right_bar * first[..., None, :], -3) + for_before
        to_after = interleaved(early_bar * second[..., None, :], late_bar, -3) + for_after
        to_whole = interleaved(first_bar, second_bar, -2)
    return to_whole


@jax.custom_vjp
def decay_ends(decay):
    """The products of the decays of a chunk before each row, after each row, and of all: [..., C, K] to [..., K]."""
    before, after, whole = decay_levels(decay)[-1]
    return before[..., 0, :, :], after[..., 0, :, :], whole[..., 0, :]


def decay_ends_pullback(decay, gradients):
    before, after, whole = gradients
    levels = decay_levels(decay)
    last = (before[..., None, :, :], after[..., None, :, :], whole[..., None, :])
    return (decay_gradient(levels, [*(None for _ in levels[1:]), last]),)


decay_ends.defvjp(lambda decay: (decay_ends(decay), decay), decay_ends_pullback)


def pair_decays(before, after):
    """For pairs of neighbouring blocks: the products before rows of later ones and after rows of earlier ones.

    [..., n, b, K] to [..., C, 1, K] twice, zero for rows of the other kind.
    """
    shape = (*before.shape[:-3], -1, 1, before.shape[-1])
    later = (jnp.arange(before.shape[-3]) % 2 == 1)[:, None, None]
    return jnp.where(later, before, 0).reshape(shape), jnp.where(later, 0, after).reshape(shape)


def in_pairs(rows, size):
    """[..., C, X, K] to [..., n / 2, 2 size X, K]: pairs of neighbouring blocks of `size` rows."""
    return rows.reshape(*rows.shape[:-3], -1, 2 * size * rows.shape[-2], rows.shape[-1])


def on_diagonal(blocks):
    """The matrices [..., n a, n b] whose diagonal blocks are [..., n, a, b]."""
    n, a, b = blocks.shape[-3:]
    placed = jnp.where(jnp.eye(n, dtype=bool)[:, None, :, None], blocks[..., None, :], 0)
    return placed.reshape(*blocks.shape[:-3], n * a, n * b)


def diagonal_blocks(matrix, n):
    """The inverse of `on_diagonal`."""
    *lead, a, b = matrix.shape
    blocks = matrix.reshape(*lead, n, a // n, n, b // n)
    return jnp.where(jnp.eye(n, dtype=bool)[:, None, :, None], blocks, 0).sum(-2)


@jax.custom_vjp
def decayed_gram(x, y, decay):
    """G for a decay of every entry of a row: [..., C, X, K], [..., C, Y, K], [..., C, K] to [..., C X, C Y]."""
    shape = (*x.shape[:-3], x.shape[-3] * x.shape[-2], y.shape[-3] * y.shape[-2])
    total = jnp.zeros(shape, jnp.result_type(x, y, decay))
    for before, after, _ in decay_levels(decay)[:-1]:
        up_to, since = pair_decays(before, after)
        size = before.shape[-2]
        total += on_diagonal(exact_product(in_pairs(x * up_to, size), turned(in_pairs(y * since, size))))
    return total


def decayed_pullback(a, x, y, decay):
    """The gradients of x, y and the decays, `a` being that of G."""
    levels = decay_levels(decay)
    to_x, to_y, parts = jnp.zeros_like(x), jnp.zeros_like(y), []
    for before, after, whole in levels[:-1]:
        up_to, since = pair_decays(before, after)
        size, shape = before.shape[-2], before.shape
        blocks = diagonal_blocks(a, whole.shape[-2] // 2)
        x_bar = exact_product(blocks, in_pairs(y * since, size)).reshape(x.shape)
        y_bar = exact_product(turned(blocks), in_pairs(x * up_to, size)).reshape(y.shape)
        to_x, to_y = to_x + x_bar * up_to, to_y + y_bar * since
        later = (jnp.arange(shape[-3]) % 2 == 1)[:, None, None]
        before_bar, after_bar = ((bar * rows).sum(-2).reshape(shape) for bar, rows in ((x_bar, x), (y_bar, y)))
        parts.append((jnp.where(later, before_bar, 0), jnp.where(later, 0, after_bar)))
    last = [jnp.zeros_like(each) for each in levels[-1]]
    return to_x, to_y, decay_gradient(levels, [*parts, last])


decayed_gram.defvjp(
    lambda x, y, decay: (decayed_gram(x, y, decay), (x, y, decay)),
    lambda kept, a: decayed_pullback(a, *kept),
)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def decayed_gather(a, y, decay, streams):
    """The adjoint of G in x: sum_s a[t, s] y[s, k] prod_{s < i < t} d[i, k], [..., C, streams, K]."""
    shape = (*y.shape[:-2], streams, y.shape[-1])
    total = jnp.zeros(shape, jnp.result_type(a, y, decay))
    for before, after, whole in decay_levels(decay)[:-1]:
        up_to, since = pair_decays(before, after)
        blocks = diagonal_blocks(a, whole.shape[-2] // 2)
        total += exact_product(blocks, in_pairs(y * since, before.shape[-2])).reshape(shape) * up_to
    return total


def decayed_gather_pullback(streams, kept, gradient):
    a, y, decay = kept
    _, to_y, to_decay = decayed_pullback(a, gradient, y, decay)
    return decayed_gram(gradient, y, decay), to_y, to_decay


decayed_gather.defvjp(
    lambda a, y, decay, streams: (decayed_gather(a, y, decay, streams), (a, y, decay)), decayed_gather_pullback
)


def lower_blocks(first, low, second):
    """Matrices whose diagonal blocks are the first and the second, with `low` below."""
    upper = jnp.concatenate([first, jnp.zeros_like(low)], -1)
    return jnp.concatenate([upper, jnp.concatenate([low, second], -1)], -2)


def lower_corners(matrix, levels):
    """The lower left quarter of a matrix, then those of its diagonal blocks, and so on; the smallest first."""
    found = []
    blocks = matrix[..., None, :, :]
    for _ in range(levels):
        top, bottom = jnp.split(blocks, 2, -2)
        first, (low, second) = jnp.split(top, 2, -1)[0], jnp.split(bottom, 2, -1)
        found.append(low)
        blocks = interleaved(first, second, -3)
    return found[::-1]


def decay_segments(decay):
    """prod_{s < i < t} d[i] for s < t, else 0: [..., C, 1] to [..., C, C]."""
    ones = jnp.ones_like(decay)[..., None]
    return decayed_gram(ones, ones, decay)


def decay_products(decay, rows, dtype):
    """What the decays of a chunk are made into once: (decays, segment products, before, after, whole).

    Segment products [..., C, C] stand for decays that the entries of a row share, else they are None.  Without a
    decay all of them are ones that broadcast.
    """
    if decay is None:
        one = jnp.ones((1, 1), dtype)
        return None, jnp.tril(jnp.ones((rows, rows), dtype), -1), one, one, one[0]
    segments = decay_segments(decay) if decay.shape[-1] == 1 else None
    return decay, segments, *decay_ends(decay)


def chunk_gram(x, y, products):
    """G for any decay."""
    decay, segments, *_ = products
    if segments is None:
        return decayed_gram(x, y, decay)
    found = exact_product(flat_streams(x), turned(flat_streams(y)))
    return found * over_streams(segments, x.shape[-2], y.shape[-2])


def chunk_gather(a, y, products, streams):
    """The adjoint of G in x for any decay; `a` [..., C streams, C Y] is zero where s is not below t."""
    decay, segments, *_ = products
    if segments is None:
        return decayed_gather(a, y, decay, streams)
    weights = a if decay is None else a * over_streams(segments, streams, y.shape[-2])
    return exact_product(weights, flat_streams(y)).reshape(*y.shape[:-2], streams, y.shape[-1])


def over_streams(segments, x, y):
    """Segment products for every pair of streams: [..., C, C] to [..., C x, C y]."""
    return jnp.repeat(jnp.repeat(segments, x, -2), y, -1) if x * y > 1 else segments
