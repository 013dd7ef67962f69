"""The inverse of the system of each chunk as a kernel: leaves of 16 rows by substitution, larger blocks by doubling."""

import triton
import triton.language as tl

from lsrl.backends.runtime.triton_chunk_tiles import chunk_column, matrix_product


@triton.jit
def chunk_system(
    products, mix, row, column, first, length, c_t, c_j, c_m,
    R: tl.constexpr, J: tl.constexpr, C: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Entries of the strictly lower N: sum_m c[t, m] G[m][t, s] of one key, or sum_j c[s, j] G[j][t, s]."""
    total = (row + column) * 0.0
    for j in tl.static_range(0, J):
        for m in tl.static_range(0, R):
            c = chunk_column(mix + j * c_j + m * c_m, first + (row if J == 1 else column), length, c_t, 0.0, REVERSE)
            total += c * tl.load(products + (m * J + j) * C * C + row * C + column)
    return total


@triton.jit(do_not_specialize=["length"])
def chunk_inverse_kernel(
    products, mix, out, length, heads, c_b, c_t, c_h, c_j, c_m,
    R: tl.constexpr, J: tl.constexpr, C: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """(ii) (I - N)^-1 of each chunk into the zeros of out [lanes, chunks, C, C], in float32.

    A block of twice the size is [[X, 0], [Y M X, Y]] with X and Y the inverses of its halves and M the block of N
    below the diagonal.
    """
    place = tl.program_id(0).to(tl.int64)
    lane, chunk = place // tl.cdiv(length, C), (place % tl.cdiv(length, C)).to(tl.int32)
    mix += (lane // heads) * c_b + (lane % heads) * c_h
    products += place * R * J * C * C
    out += place * C * C
    first = chunk * C
    leaf = tl.arange(0, C // 16)[:, None, None] * 16
    row, column = leaf + tl.arange(0, 16)[None, :, None], leaf + tl.arange(0, 16)[None, None, :]
    system = chunk_system(products, mix, row, column, first, length, c_t, c_j, c_m, R, J, C, REVERSE)
    found = tl.where(row == column, 1.0, 0.0)
    for step in range(1, 16):
        here = row % 16 == step
        given = tl.sum(tl.where(here, system, 0.0), 1)
        found += tl.where(here, tl.sum(given[:, :, None] * found, 1)[:, None, :], 0.0)
    tl.store(out + row * C + column, found)
    for level in tl.static_range(0, 3):
        if (16 << level) < C:
            tl.debug_barrier()  # what other threads stored is read
            half = tl.arange(0, 16 << level)
            for start in range(0, C, 32 << level):
                top, left = start + half[:, None], start + half[None, :]
                low = top + (16 << level)
                early = tl.load(out + top * C + left)
                late = tl.load(out + low * C + left + (16 << level))
                below = chunk_system(products, mix, low, left, first, length, c_t, c_j, c_m, R, J, C, REVERSE)
                merged = matrix_product(matrix_product(late, below, tl.float32), early, tl.float32)
                tl.store(out + low * C + left, merged)
