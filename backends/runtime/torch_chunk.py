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

from lsrl.backends.runtime.torch_chunk_kernels import run_chunks


def chunked(
    state, decay, columns, readers, keys, values, mix, reads,
    *, extent, size=64, reverse=False, operands=torch.float32,
):  # fmt: skip
    """The products of the state with vectors at every position, and the last state.

    Args:
        state: the arriving state, [B, *lanes, K, V].
        decay: r, [B, T, *lanes, K or 1], or None for 1; as everything below, the same for all sequences or positions
            where leading axes lack; a number stands for the same everywhere.
        columns: c, [B, T, *lanes, V or 1], or None for 1; None where there are readers.
        readers, keys: a and w, lists of [B, T, *lanes, K].
        values: v, a list of [B, T, *lanes, V], or None for 0, for each key.
        mix: C, a list of lists [key][reader] of [B, T, *lanes], or None for 0.
        reads: a list of (q, "rows" or "columns", after): q^T S or S q, of the state passed on or the one arriving.
        extent: B and T.
        size: positions of a chunk, at most; None for all of them.  Kernels serve powers of two.
        reverse: from the last position to the first.
        operands: the type that kernels give to matrix units, which sum in float32.

    Returns:
        A list of [B, T, *lanes, V or K], and the last state.
    """
    batch, length = extent
    lanes = state.shape[1:-2]
    rows, width = state.shape[-2:]
    dtype = torch.promote_types(state.dtype, torch.float32)
    whole = (batch, length, *lanes)

    def laid(tensor, *last):
        """A sequence with its lanes in one axis, [B, T, H, ...]."""
        wide = torch.as_tensor(tensor, dtype=dtype, device=state.device).expand(*whole, *last)
        return wide if len(lanes) == 1 else wide.reshape(batch, length, math.prod(lanes), *last)

    def stacked(tensors, *last):
        """Several sequences side by side, [B, T, H, streams, ...]; zeros in the place of None."""
        zeros = state.new_zeros((), dtype=dtype)
        parts = [laid(zeros if each is None else each, *last) for each in tensors]
        return parts[0].unsqueeze(3) if len(parts) == 1 else torch.stack(parts, 3)

    by_row, by_column = (None if each is None else laid(each, last_axis(each)) for each in (decay, columns))
    seen = stacked(readers, rows) if readers else None
    mixed = torch.stack([stacked(row) for row in mix], 3) if readers else None
    given = (by_row, seen, stacked(keys, rows), stacked(values, width), mixed)
    vectors = [laid(q, rows if side == "rows" else width) for q, side, _ in reads]
    sides = [(side == "rows", not after) for _, side, after in reads]
    start = state.to(dtype).reshape(batch, math.prod(lanes), rows, width)
    taken, tile = chunk_rows(length, size)
    options = ((taken, tile), reverse, operands)
    *results, last = run_chunks(start, by_column, given, vectors, sides, *options)
    return [each.reshape(*whole, each.shape[-1]) for each in results], last.reshape(state.shape)


def last_axis(decay):
    """How many numbers of a decay a row or a column has: one where a number stands for all."""
    return decay.shape[-1] if isinstance(decay, torch.Tensor) else 1


def chunk_rows(length, size):
    """The positions of a chunk, `size` or all that there are, and its rows: no fewer, and a power of two."""
    taken = max(1, length if size is None else min(length, size))
    return taken, 1 << (taken - 1).bit_length()
