"""A recurrence in the normal form of chunks, run on whole sequences with matrix products, in JAX.

At every position a state S [rows K, columns V], one for each lane, becomes

    S' = Diag(r) S Diag(c) + sum_j w_j u_j^T,    u_j = v_j + sum_m C[j, m] z_m,    z_m = a_m^T S.

In a chunk of C rows the u of all rows solve a unit lower triangular system.  What multiplies the state that arrives at
the chunk in its solution, and what does not, is computed for all chunks at once; only the state goes from chunk to
chunk (Yang et al., 2024, "Parallelizing linear transformers with the delta rule over sequence length", sections 3 and
4, here for every decay, number of readers and number of keys).

What is kept for derivatives: the states between chunks and O(T (C + K + V)) numbers.

Axes within: [n, G, C, X] are n chunks, in the order of computation, of G lanes (of all sequences) of C rows.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lsrl.backends.runtime.jax_chunk_gram import (
    chunk_gather,
    chunk_gram,
    decay_products,
    exact_product,
    lower_blocks,
    lower_corners,
    neighbours,
    turned,
)


def chunked(state, decay, columns, readers, keys, values, mix, reads, *, extent, size=64, reverse=False):
    """The products of the state with vectors at every position, and the last state.

    Args:
        state: the arriving state, [B, *lanes, K, V].
        decay: r, [B, T, *lanes, K or 1], or None for 1; of this and all below, leading axes may be 1 or missing.
        columns: c, [B, T, *lanes, V or 1], or None for 1; None where there are readers.
        readers, keys: a and w, lists of [B, T, *lanes, K].
        values: v, a list with [B, T, *lanes, V] for each key, or None for 0.
        mix: C, a list of lists [key][reader] of [B, T, *lanes], or None for 0.
        reads: a list of (q, "rows" or "columns", after): q^T S or S q, of the state passed on or the one arriving.
        extent: B and T.
        size: positions of a chunk, at most; None for all of them.
        reverse: from the last position to the first.

    Returns:
        A list of [B, T, *lanes, V or K], and the last state.
    """
    step = (decay, columns, readers, keys, values, mix)
    sides = tuple((side, after) for _, side, after in reads)
    return run_chunks(state, step, [q for q, *_ in reads], sides, extent[1], size, reverse)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def run_chunks(state, step, vectors, sides, length, size, reverse):
    """`chunked`, compiled once for each shape; `sides` are those of the vectors that read the state."""
    decay, columns, readers, keys, values, mix = step
    dtype = jnp.result_type(state, *jax.tree.leaves((step, vectors)))
    rows, width = state.shape[-2:]
    taken, tile = chunk_rows(length, size)
    shape = (state.shape[0], length, *state.shape[1:-2])
    if 0 in (*shape, rows, width):
        extents = [width if side == "rows" else rows for side, _ in sides]
        return [jnp.zeros((*shape, extent), dtype) for extent in extents], state

    def cut(array, extent, empty=0.0):
        whole = jnp.broadcast_to(jnp.zeros((), dtype) if array is None else array, (*shape, extent))
        return in_chunks(whole.astype(dtype), taken, tile, reverse, empty)

    def stacked(arrays, extent):
        return jnp.stack([cut(array, extent) for array in arrays], -2)

    def decays(array):
        whole = None if array is None else cut(array, jnp.atleast_1d(array).shape[-1], 1.0)
        return decay_products(whole, tile, dtype)

    by_row, by_column = decays(decay), decays(columns)
    w, v = stacked(keys, rows), stacked(values, width)
    a = stacked(readers, rows) if readers else None
    mixed = jnp.stack([mix_row(row, cut) for row in mix], -2) if readers else None
    queries = [cut(q, rows if side == "rows" else width) for q, (side, _) in zip(vectors, sides)]
    own, reading = chunk_values(by_row, a, w, v, mixed)
    start = state.astype(dtype).reshape(-1, rows, width)
    arriving, u, last = chunk_states(by_row, by_column, w, own, reading, start)
    u = u.reshape(*u.shape[:2], tile, len(keys), width)
    found = chunk_reads(by_row, by_column, (w, u, arriving), queries, sides)
    return [out_of_chunks(each, shape, taken, reverse) for each in found], last.reshape(state.shape)


def chunk_rows(length, size):
    """The positions of a chunk, `size` or all that there are, and its rows: no fewer, and a power of two."""
    taken = max(1, length if size is None else min(length, size))
    return taken, 1 << (taken - 1).bit_length()


def in_chunks(whole, taken, tile, reverse, empty):
    """[B, T, *lanes, X] to [n, B * lanes, tile, X] in the order of computation.

    A chunk has `taken` positions; what it lacks of `tile` rows is filled up at its end.
    """
    batch, length, *lanes, extent = whole.shape
    ordered = jnp.flip(whole, 1) if reverse else whole
    padding = [(0, 0)] * whole.ndim
    padding[1] = (0, -length % taken)
    filled = jnp.pad(ordered, padding, constant_values=empty)
    chunks = filled.reshape(batch, -1, taken, *lanes, extent)
    padding[1:2] = (0, 0), (0, tile - taken)
    chunks = jnp.pad(chunks, padding, constant_values=empty)
    inner = range(3, 3 + len(lanes))
    moved = chunks.transpose(1, 0, *inner, 2, 3 + len(lanes))
    return moved.reshape(chunks.shape[1], -1, tile, extent)


def out_of_chunks(found, shape, taken, reverse):
    """The inverse of `in_chunks`: to [*shape, X]."""
    batch, length, *lanes = shape
    n, _, tile, extent = found.shape
    chunks = found.reshape(n, batch, *lanes, tile, extent)
    inner = range(2, 2 + len(lanes))
    filled = chunks.transpose(1, 0, 2 + len(lanes), *inner, 3 + len(lanes))[:, :, :taken]
    ordered = filled.reshape(batch, n * taken, *lanes, extent)[:, :length]
    return jnp.flip(ordered, 1) if reverse else ordered


def mix_row(row, cut):
    """The coefficients of one key: [n, G, C, readers]."""
    return jnp.concatenate([cut(None if each is None else jnp.asarray(each)[..., None], 1) for each in row], -1)


def chunk_values(by_row, a, w, v, mixed):
    """What is written in a chunk, u = U + A S with S the state that arrives at it.

    Args:
        by_row: the products of the decays of rows.
        a, w, v: [n, G, C, M, K], [n, G, C, J, K], [n, G, C, J, V].
        mixed: [n, G, C, J, M], or None where there are no readers.

    Returns:
        U [n, G, C J, V], and A [n, G, C J, K] or None.
    """
    tile, number, width = v.shape[-3:]
    flat = (*v.shape[:2], tile * number)
    if mixed is None:
        return v.reshape(*flat, width), None
    readers = a.shape[-2]
    between = chunk_gram(a, w, by_row)
    arriving = a * by_row[2][..., :, None, :]
    if number <= readers:
        system = exact_product(mixed, between.reshape(*v.shape[:3], readers, -1))
        known = jnp.concatenate([v, exact_product(mixed, arriving)], -1)
        found = unit_lower_solve(system.reshape(*flat, -1), known.reshape(*flat, -1), number)
    else:
        wide = between.reshape(*between.shape[:-1], tile, number)
        system = jnp.einsum("ngzsj,ngsjm->ngzsm", wide, mixed, precision="highest")
        seen = exact_product(between, v.reshape(*flat, width))
        known = jnp.concatenate([seen, arriving.reshape(*seen.shape[:-1], -1)], -1)
        z = unit_lower_solve(system.reshape(*seen.shape[:-1], -1), known, readers)
        added = exact_product(mixed, z.reshape(*v.shape[:3], readers, -1))
        found = jnp.pad(v, [(0, 0)] * 4 + [(0, w.shape[-1])]) + added
        found = found.reshape(*flat, -1)
    return found[..., :width], found[..., width:]


def unit_lower_solve(system, known, block):
    """The solution x of x = system @ x + known, `system` zero but below the diagonal blocks of `block` rows.

    (XLA's own triangular solve can wait for itself forever on a CPU of two cores: jaxlib 0.10.)
    """
    inverse = lax.stop_gradient(unit_lower_inverse(system, block))
    transposed = turned(inverse)
    return lax.custom_linear_solve(
        lambda x: x - exact_product(system, x),
        known,
        lambda _, right: exact_product(inverse, right),
        lambda _, right: exact_product(transposed, right),
    )


def unit_lower_inverse(system, block):
    """The inverse of 1 - system by doubling: of two neighbouring blocks on the diagonal, then of the block below."""
    size = system.shape[-1]
    inverse = jnp.broadcast_to(jnp.eye(block, dtype=system.dtype), (*system.shape[:-2], size // block, block, block))
    for corner in lower_corners(system, (size // block - 1).bit_length()):
        first, second = neighbours(inverse, -3)
        inverse = lower_blocks(first, exact_product(exact_product(second, corner), first), second)
    return inverse[..., 0, :, :]


def chunk_states(by_row, by_column, w, own, reading, start):
    """The states that arrive at the chunks [n, G, K, V], what is written in them [n, G, C J, V], and the last state."""
    kept = turned((w * by_row[3][..., :, None, :]).reshape(*own.shape[:-1], -1))
    decay = by_row[4][..., :, None] * by_column[4][..., None, :]
    decay = jnp.broadcast_to(decay, (*own.shape[:2], *decay.shape[-2:]))

    def with_readers(state, chunk):
        factor, kept_here, own_here, reading_here = chunk
        u = own_here + exact_product(reading_here, state)
        return factor * state + exact_product(kept_here, u), (state, u)

    def without(state, chunk):
        factor, added = chunk
        return factor * state + added, state

    if reading is not None:
        last, (arriving, u) = lax.scan(with_readers, start, (decay, kept, own, reading))
        return arriving, u, last
    over = jnp.repeat(by_column[3], w.shape[-2], -2) if by_column[3].shape[-2] > 1 else by_column[3]
    last, arriving = lax.scan(without, start, (decay, exact_product(kept, own * over)))
    return arriving, own, last


def chunk_reads(by_row, by_column, parts, vectors, sides):
    """The reads of all chunks, each [n, G, C, X].

    Args:
        parts: the keys w [n, G, C, J, K], what they write u [n, G, C, J, V], the arriving states [n, G, K, V].
        vectors: q [n, G, C, X].
    """
    w, u, arriving = parts
    found = []
    for q, (side, after) in zip(vectors, sides):
        over, beside = (by_row, by_column) if side == "rows" else (by_column, by_row)
        summed, given = (w, u) if side == "rows" else (u, w)
        state = arriving if side == "rows" else turned(arriving)
        read = q if not after or over[0] is None else q * over[0]
        near = chunk_gather(chunk_gram(read[..., None, :], summed, over), given, beside, 1)[..., 0, :]
        far = exact_product(read * over[2], state) * beside[2]
        total = near + far
        if after:
            here = (summed * q[..., None, :]).sum(-1)[..., None] * given
            total = (total if beside[0] is None else total * beside[0]) + here.sum(-2)
        found.append(total)
    return found
