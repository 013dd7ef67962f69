"""A recurrence in chunks by operations of PyTorch: all chunks at once but for the state; see `torch_chunk`.

Sequences in chunks are [G, C, ...], G for lanes of sequences and their chunks.
"""

import torch
import torch.nn.functional as F

from lsrl.backends.runtime.torch_chunk_carry import ChunkCarry
from lsrl.backends.runtime.torch_chunk_decay import chunk_gather, chunk_gram, decay_products, products_seen


def chunk_plainly(start, columns, given, vectors, sides, taken, reverse, kernels):
    """The reads, each [B, T, H, X], and the last state [B, H, K, V], by operations of PyTorch.

    Args:
        start: [B, H, K, V].
        columns: decays, [B, T, H, V or 1] or None.
        given: decays of rows, readers, keys, values [B, T, H, streams, X] and mix [B, T, H, J, R], some None.
        vectors, sides: q [B, T, H, X]; for each whether rows are summed over, and the arriving state meant.
        taken, reverse: positions of a chunk; from the last position to the first.
        kernels: whether a kernel carries the state from chunk to chunk.
    """

    def cut(tensor, empty=0.0):
        return None if tensor is None else in_chunks(tensor, taken, reverse, empty)

    decay, a, w, v, mix = cut(given[0], 1.0), *(cut(each) for each in given[1:])
    by_row, by_column = decay_products(decay, w), decay_products(cut(columns, 1.0), v)
    parts = (w, *chunk_corrections(by_row, a, w, v, mix))
    queries = [(cut(q), *side) for q, side in zip(vectors, sides)]
    found, last = chunk_reads(by_row, by_column, parts, queries, start.flatten(0, 1), kernels)
    shape = given[2].shape[:3]
    return *(out_of_chunks(each, shape, taken, reverse) for each in found), last.reshape(start.shape)


def in_chunks(whole, taken, reverse, empty):
    """[B, T, H, ...] to [B * H * chunks, C, ...], in the order of computation.

    A chunk has `taken` positions; its rows are filled up at its end to a power of two.
    """
    ordered = whole.transpose(1, 2)
    ordered = ordered.flip(2) if reverse else ordered
    missing, inner = -whole.shape[1] % taken, (0, 0) * (whole.ndim - 3)
    filled = F.pad(ordered, (*inner, 0, missing), value=empty) if missing else ordered
    chunks = filled.reshape(-1, taken, *whole.shape[3:])
    lacking = (1 << (taken - 1).bit_length()) - taken
    return F.pad(chunks, (*inner, 0, lacking), value=empty) if lacking else chunks


def out_of_chunks(found, shape, taken, reverse):
    """The inverse of `in_chunks` for [..., X]: to [B, T, H, X]."""
    batch, length, lanes = shape
    filled = -(-length // taken) * taken
    ordered = found[:, :taken].reshape(batch, lanes, filled, found.shape[-1])[:, :, :length]
    return (ordered.flip(2) if reverse else ordered).transpose(1, 2)


def chunk_corrections(by_row, a, w, v, mixed):
    """What the readers make of a chunk: own values U and reads A with u = U + A S, S the state that arrives.

    Args:
        by_row: the products of the decays of rows.
        a, w, v: [G, C, R, K], [G, C, J, K], [G, C, J, V].
        mixed: [G, C, J, R], or None where there are no readers.

    Returns:
        U [G, C J, V], A [G, C J, K] or None.
    """
    if mixed is None:
        return v.flatten(1, 2), None
    n, j, m = w.shape[1], w.shape[2], a.shape[2]
    between = chunk_gram(a, w, by_row, True)
    arriving = decayed(a, products_seen(by_row[2], True), 2)
    if j <= m:
        inverse = UnitLowerInverse.apply(reader_sums(mixed, between.unflatten(1, (n, m))).flatten(1, 2))
        return inverse @ v.flatten(1, 2), inverse @ reader_sums(mixed, arriving).flatten(1, 2)
    system = torch.einsum("gzsj,gsjm->gzsm", between.unflatten(2, (n, j)), mixed).flatten(2)
    inverse = UnitLowerInverse.apply(system)
    own = (inverse @ (between @ v.flatten(1, 2))).unflatten(1, (n, m))
    reading = (inverse @ arriving.flatten(1, 2)).unflatten(1, (n, m))
    return (v + reader_sums(mixed, own)).flatten(1, 2), reader_sums(mixed, reading).flatten(1, 2)


def reader_sums(mixed, of_readers):
    """sum_m C[j, m] x[m], [G, C, J, X], of x [G, C, R, X]; matrices of one column are no work for a matrix product."""
    return mixed * of_readers if mixed.shape[-1] == 1 else mixed @ of_readers


class UnitLowerInverse(torch.autograd.Function):
    """(I - N)^-1 of strictly lower triangular N [G, n, n]; the derivative is two products."""

    generate_vmap_rule = True

    @staticmethod
    def forward(system):
        identity = torch.eye(system.shape[-1], dtype=system.dtype, device=system.device)
        return torch.linalg.solve_triangular(-system, identity, upper=False, unitriangular=True)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, gradient):
        transposed = ctx.saved_tensors[0].mH
        return (transposed @ gradient @ transposed).tril(-1)


def chunk_reads(by_row, by_column, parts, vectors, start, kernels):
    """The reads of all chunks, each [G, C, X], and the last state [L, K, V].

    Args:
        by_row, by_column: the products of the decays of rows and of columns.
        parts: keys w [G, C, J, K], and what `chunk_corrections` returns.
        vectors: q [G, C, X], whether rows are summed over, and whether the arriving state is read.
        start, kernels: [L, K, V]; whether a kernel carries it.
    """
    w = parts[0]
    arriving, last, u = chunk_states(by_row, by_column, parts, start, kernels)
    found = []
    for q, over_rows, exclusive in vectors:
        over, beside = (by_row, by_column) if over_rows else (by_column, by_row)
        summed, given = (w, u) if over_rows else (u, w)
        near = chunk_gather(chunk_gram(q[:, :, None], summed, over, exclusive), given, beside, 1, exclusive)[:, :, 0]
        far = decayed(q, products_seen(over[2], exclusive)) @ (arriving if over_rows else arriving.mT)
        found.append(decayed(far, products_seen(beside[2], exclusive)) + near)
    return found, last


def chunk_states(by_row, by_column, parts, start, kernels):
    """The states that arrive at the chunks [G, K, V], the last one [L, K, V], and u [G, C, J, V]."""
    w, own, reading = parts
    lanes, chunks = start.shape[0], w.shape[0] // max(start.shape[0], 1)
    kept = decayed(w, by_row[3], 2).flatten(1, 2)
    decay = w.new_ones(w.shape[0], 1, 1)
    decay = decay if by_row[4] is None else decay * by_row[4][..., None]
    decay = decay if by_column[4] is None else decay * by_column[4][:, None]

    def split(tensor):
        return tensor.unflatten(0, (lanes, chunks))

    if by_column[3] is not None:  # there are no readers then, and what is written decays along both axes
        given = decayed(own.unflatten(1, w.shape[1:3]), by_column[3], 2).flatten(1, 2)
    else:
        given = own
    reads = kept[:, :0] if reading is None else reading
    nothing = start.new_empty(lanes, chunks, 0, start.shape[-1])
    arriving, last, u = ChunkCarry.apply(*map(split, (decay, reads, kept, given)), nothing, start, False, kernels)
    u = own if reading is None else u.flatten(0, 1)
    return arriving.flatten(0, 1), last, u.unflatten(1, w.shape[1:3])


def decayed(rows, products, axis=None):
    """Rows times their products of decays, None for one; `axis` is that of the streams."""
    if products is None:
        return rows
    return rows * (products if axis is None else products.unsqueeze(axis))
