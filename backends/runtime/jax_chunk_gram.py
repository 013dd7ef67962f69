"""Products of the rows of a chunk with products of decays between, built by doubling, in JAX.

With row t above row s of a chunk, what row s wrote has met the decays of the rows between when row t reads it:

    G[t, s] = sum_k x[t, k] y[s, k] prod_{s < i < t} d[i, k],    0 for s >= t

Blocks of rows are paired up: where t is in the later of two neighbours and s in the earlier one, the product splits at
the border into one of decays before t, in its own block, and one of decays after s, in its own block, so all such
entries are one matrix product.  Decays are only ever multiplied: zeros, signs, complex numbers and decays above one are
exact, what underflows is a true zero, and so are the derivatives.

Axes: [..., C, X, K] are C rows, a power of two, of X streams each.
"""

import jax
import jax.numpy as jnp


def exact_product(a, b):
    """a @ b; accelerators would round the factors."""
    return jnp.matmul(a, b, precision="highest")


def decay_levels(decay):
    """For blocks of 1, 2, 4 ... rows: the products of decays before each row of its block, after it, and of all.

    [..., C, K] to a list of [..., n, b, K], the same, and [..., n, K] for n blocks of b rows.
    """
    ones = jnp.ones_like(decay)[..., None, :]
    levels = [(ones, ones, decay)]
    while levels[-1][2].shape[-2] > 1:
        before, after, whole = levels[-1]
        first, second = whole[..., 0::2, :], whole[..., 1::2, :]
        left, right = before[..., 0::2, :, :], before[..., 1::2, :, :]
        early, late = after[..., 0::2, :, :], after[..., 1::2, :, :]
        before = jnp.concatenate([left, first[..., None, :] * right], -2)
        after = jnp.concatenate([early * second[..., None, :], late], -2)
        levels.append((before, after, first * second))
    return levels


@jax.checkpoint
def decay_ends(decay):
    """The products of the decays of a chunk before each row, after each row, and of all: [..., C, K] to [..., K]."""
    before, after, whole = decay_levels(decay)[-1]
    return before[..., 0, :, :], after[..., 0, :, :], whole[..., 0, :]


@jax.checkpoint
def decayed_gram(x, y, decay):
    """G for a decay of every entry of a row: [..., C, X, K], [..., C, Y, K], [..., C, K] to [..., C X, C Y].

    Its derivatives need x, y and the decays alone, so that nothing else is kept.
    """
    blocks = jnp.zeros((*x.shape[:-1], y.shape[-2]), jnp.result_type(x, y, decay))
    for before, after, _ in decay_levels(decay)[:-1]:
        late = block_half(x, 1, before.shape[-2]) * before[..., 1::2, :, None, :]
        early = block_half(y, 0, before.shape[-2]) * after[..., 0::2, :, None, :]
        low = block_products(late, early)
        none = jnp.zeros_like(low)
        upper = jnp.concatenate([blocks[..., 0::2, :, :], none], -1)
        lower = jnp.concatenate([low, blocks[..., 1::2, :, :]], -1)
        blocks = jnp.concatenate([upper, lower], -2)
    return blocks[..., 0, :, :]


def block_half(rows, half, size):
    """The earlier (0) or the later (1) of each two neighbouring blocks of rows: [..., n / 2, size, X, K]."""
    pairs = rows.reshape(*rows.shape[:-3], -1, 2, size, *rows.shape[-2:])
    return pairs[..., half, :, :, :]


def block_products(late, early):
    """[..., b, X, K] and [..., b, Y, K] to [..., b X, b Y]."""
    late, early = (each.reshape(*each.shape[:-3], -1, each.shape[-1]) for each in (late, early))
    return exact_product(late, jnp.swapaxes(early, -1, -2))


def decay_segments(decay):
    """prod_{s < i < t} d[i] for s < t, else 0: [..., C, 1] to [..., C, C]."""
    ones = jnp.ones_like(decay)[..., None]
    return decayed_gram(ones, ones, decay)


def decay_products(decay, rows):
    """What the decays of a chunk are made into once: (decays, segment products, before, after, whole).

    Segment products [..., C, C] stand for decays that the entries of a row share, else they are None.  Without a
    decay all of them are ones that broadcast.
    """
    if decay is None:
        one = jnp.ones((1, 1), jnp.float32)  # takes the precision of what it multiplies
        return None, jnp.tril(jnp.ones((rows, rows), jnp.float32), -1), one, one, one[0]
    segments = decay_segments(decay) if decay.shape[-1] == 1 else None
    return decay, segments, *decay_ends(decay)


def chunk_gram(x, y, products):
    """G for any decay."""
    decay, segments, *_ = products
    if segments is None:
        return decayed_gram(x, y, decay)
    return block_products(x, y) * over_streams(segments, x.shape[-2], y.shape[-2])


def chunk_gather(a, y, products, streams):
    """sum_s a[t, s] y[s, k] prod_{s < i < t} d[i, k], the adjoint of G in x: [..., C, streams, K].

    `a` is zero where s is not below t.
    """
    decay, segments, *_ = products
    shape = (*y.shape[:-2], streams, y.shape[-1])
    if segments is None:
        like = jax.ShapeDtypeStruct(shape, jnp.result_type(a, y, decay))
        (found,) = jax.linear_transpose(lambda x: decayed_gram(x, y, decay), like)(a.astype(like.dtype))
        return found
    weights = a * over_streams(segments, streams, y.shape[-2])
    return exact_product(weights, y.reshape(*y.shape[:-3], -1, y.shape[-1])).reshape(shape)


def over_streams(segments, x, y):
    """Segment products for every pair of streams: [..., C, C] to [..., C x, C y]."""
    return jnp.repeat(jnp.repeat(segments, x, -2), y, -1) if x * y > 1 else segments
