"""A recurrence in the normal form of chunks, run on whole sequences with matrix products.

At every position a state S [rows K, columns V], one for each lane, becomes

    S' = Diag(r) S Diag(c) + sum_j w_j u_j^T,    u_j = v_j + sum_m C[j, m] z_m,    z_m = a_m^T S.

In a chunk of C rows with S arriving, the u of all rows solve a unit lower triangular system; what multiplies S in its
solution and what does not are computed for all chunks at once, and only the state goes from chunk to chunk (Yang et
al., 2024, "Parallelizing linear transformers with the delta rule over sequence length", sections 3 and 4, here for
every decay, number of readers and number of keys).

Memory for the backward pass: the states between chunks and O(T (C + K + V)) numbers.
"""

import math

import torch
import torch.nn.functional as F

from lsrl.backends.runtime.torch_chunk_carry import ChunkCarry
from lsrl.backends.runtime.torch_chunk_decay import chunk_gather, chunk_gram, decay_products, products_seen


def chunked(state, decay, columns, readers, keys, values, mix, reads, *, extent, size=64, reverse=False):
    """The products of the state with vectors at every position, and the last state.

    Args:
        state: the arriving state, [B, *lanes, K, V].
        decay: r, [B, T, *lanes, K or 1], or None for 1; as everything below, the same for all sequences or positions
            where leading axes lack.
        columns: c, [B, T, *lanes, V or 1], or None for 1; None where there are readers.
        readers, keys: a and w, lists of [B, T, *lanes, K].
        values: v, a list of [B, T, *lanes, V], or None for 0, for each key.
        mix: C, a list of lists [key][reader] of [B, T, *lanes], or None for 0.
        reads: a list of (q, "rows" or "columns", after): q^T S or S q, of the state passed on or the one arriving.
        extent: B and T.
        size: rows of a chunk, at most; None for all of them.
        reverse: from the last position to the first.

    Returns:
        A list of [B, T, *lanes, V or K], and the last state.
    """
    batch, length = extent
    lanes = state.shape[1:-2]
    dtype = torch.promote_types(state.dtype, torch.float32)
    tile = chunk_rows(length, size)
    start = state.to(dtype).flatten(0, -3)

    def cut(tensor, width, empty=0.0):
        whole = tensor.to(dtype).expand(batch, length, *lanes, width)
        return in_chunks(whole, tile, reverse, empty)

    def stacked(tensors, width):
        zeros = torch.zeros((), dtype=dtype, device=state.device)
        return torch.stack([cut(zeros if each is None else each, width) for each in tensors], 2)

    rows, width = state.shape[-2:]
    r = None if decay is None else cut(decay, decay.shape[-1], 1.0)
    c = None if columns is None else cut(columns, columns.shape[-1], 1.0)
    a = stacked(readers, rows) if readers else None
    mixed = chunk_mixture(mix, lambda row: stacked([each if each is None else each[..., None] for each in row], 1))
    w, v = stacked(keys, rows), stacked(values, width)
    by_row, by_column = decay_products(r, w), decay_products(c, v)
    parts = (w, *chunk_corrections(by_row, a, w, v, mixed))
    vectors = [(cut(q, rows if side == "rows" else width), side == "rows", not after) for q, side, after in reads]
    found, last = chunk_reads(by_row, by_column, parts, vectors, start)
    results = [out_of_chunks(each, (batch, length, *lanes), reverse) for each in found]
    return results, last.unflatten(0, (batch, *lanes))


def chunk_mixture(mix, stacked):
    """The coefficients [G, C, J, R] from their rows, each [G, C, R, 1] when stacked."""
    rows = [stacked(row) for row in mix if row]
    return torch.stack(rows, 2).squeeze(-1) if rows else None


def chunk_rows(length, size):
    """The rows of a chunk, a power of two: `size`, or as many as the sequence needs when that is fewer."""
    needed = 1 << max(length - 1, 0).bit_length()
    return needed if size is None else min(needed, size)


def in_chunks(whole, tile, reverse, empty):
    """[B, T, *lanes, X] to [B * lanes * chunks, tile, X], in the order of computation, filled up at the end."""
    batch, length = whole.shape[:2]
    width = whole.shape[-1]
    lanes_first = whole.reshape(batch, length, math.prod(whole.shape[2:-1]), width).transpose(1, 2)
    ordered = lanes_first.flip(2) if reverse else lanes_first
    filled = F.pad(ordered, (0, 0, 0, -length % tile), value=empty)
    return filled.reshape(-1, tile, width)


def out_of_chunks(found, shape, reverse):
    """The inverse of `in_chunks`, to [*shape, X]."""
    batch, length, *lanes = shape
    ordered = found.reshape(batch, math.prod(lanes), -1, found.shape[-1])[:, :, :length]
    lanes_first = ordered.flip(2) if reverse else ordered
    return lanes_first.transpose(1, 2).reshape(*shape, found.shape[-1])


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
    arriving = a * products_seen(by_row[2], True)[:, :, None]
    if j <= m:
        system = (mixed @ between.unflatten(1, (n, m))).flatten(1, 2)
        found = unit_lower_solve(system, torch.cat([v, mixed @ arriving], -1).flatten(1, 2))
    else:
        system = torch.einsum("gzsj,gsjm->gzsm", between.unflatten(2, (n, j)), mixed).flatten(2)
        known = torch.cat([between @ v.flatten(1, 2), arriving.flatten(1, 2)], -1)
        z = mixed @ unit_lower_solve(system, known).unflatten(1, (n, m))
        found = (z + F.pad(v, (0, w.shape[-1]))).flatten(1, 2)
    own, reading = found.split([v.shape[-1], w.shape[-1]], -1)
    return own, reading


def unit_lower_solve(system, known):
    """The solution x of x = system @ x + known, `system` strictly lower triangular."""
    return torch.linalg.solve_triangular(-system, known, upper=False, unitriangular=True)


def chunk_reads(by_row, by_column, parts, vectors, start):
    """The reads of all chunks, each [G, C, X], and the last state [L, K, V].

    Args:
        by_row, by_column: the products of the decays of rows and of columns.
        parts: keys w [G, C, J, K], and what `chunk_corrections` returns.
        vectors: q [G, C, X], whether rows are summed over, and whether the arriving state is read.
        start: [L, K, V].
    """
    w, own, reading = parts
    arriving, last = chunk_states(by_row, by_column, parts, start)
    u = (own if reading is None else own + reading @ arriving).unflatten(1, w.shape[1:3])
    found = []
    for q, over_rows, exclusive in vectors:
        over, beside = (by_row, by_column) if over_rows else (by_column, by_row)
        summed, given = (w, u) if over_rows else (u, w)
        near = chunk_gather(chunk_gram(q[:, :, None], summed, over, exclusive), given, beside, 1, exclusive)[:, :, 0]
        far = (q * products_seen(over[2], exclusive)) @ (arriving if over_rows else arriving.mT)
        found.append(far * products_seen(beside[2], exclusive) + near)
    return found, last


def chunk_states(by_row, by_column, parts, start):
    """The states that arrive at the chunks, [G, K, V], and the last state, [L, K, V]."""
    w, own, reading = parts
    lanes, chunks = start.shape[0], w.shape[0] // max(start.shape[0], 1)
    kept = (w * by_row[3][:, :, None]).flatten(1, 2)
    values = (own.unflatten(1, w.shape[1:3]) * by_column[3][:, :, None]).flatten(1, 2)
    decay = by_row[4][..., None] * by_column[4][:, None]

    def split(tensor):
        return tensor.unflatten(0, (lanes, chunks))

    low = (None, None) if reading is None else (split(reading), split(kept))
    decays = split(decay.expand(w.shape[0], -1, -1))
    states = ChunkCarry.apply(decays, *low, split(kept.mT @ values), start, False)
    return states[:, :-1].flatten(0, 1), states[:, -1]
