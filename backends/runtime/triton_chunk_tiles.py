"""Parts of the chunk kernels: tiles of sequences, products of decays, products of rows, inverses.

A program holds one chunk of C rows of one lane.  Rows after the end of the sequence are zero and their decays one, so
that they change nothing.  DECAY is 0 for none, 1 for one number per row, 2 for one for each entry of a row.
"""

import triton
import triton.language as tl


@triton.jit
def chunk_tile(at, positions, length, step, entries, width, empty, REVERSE: tl.constexpr):
    """Rows of a sequence, [C, BLOCK], in the order of computation; `empty` where there are none."""
    inside = (positions >= 0) & (positions < length)
    times = (length - 1 - positions if REVERSE else positions).to(tl.int64)
    mask = inside[:, None] & (entries < width)[None, :]
    return tl.load(at + times[:, None] * step + entries[None, :], mask=mask, other=empty).to(tl.float32)


@triton.jit
def chunk_column(at, positions, length, step, empty, REVERSE: tl.constexpr):
    """A number for each row, [C], as `chunk_tile`."""
    inside = (positions >= 0) & (positions < length)
    times = (length - 1 - positions if REVERSE else positions).to(tl.int64)
    return tl.load(at + times * step, mask=inside, other=empty).to(tl.float32)


@triton.jit
def products_to(
    at, positions, length, step, entries, width, H: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr
):
    """Products of decays from the start of each block of H rows to each row, or to the one before."""
    rows: tl.constexpr = positions.shape[0]
    block: tl.constexpr = entries.shape[0]
    factors = chunk_tile(at, positions - EXCLUSIVE, length, step, entries, width, 1.0, REVERSE)
    if EXCLUSIVE:
        factors = tl.where((positions % H == 0)[:, None], 1.0, factors)
    found = tl.cumprod(tl.reshape(factors, (rows // H, H, block)), 1)
    return tl.reshape(found, (rows, block))


@triton.jit
def products_from(at, positions, length, step, entries, width, H: tl.constexpr, REVERSE: tl.constexpr):
    """Products of decays after each row to the end of its block of H rows."""
    rows: tl.constexpr = positions.shape[0]
    block: tl.constexpr = entries.shape[0]
    factors = chunk_tile(at, positions + 1, length, step, entries, width, 1.0, REVERSE)
    factors = tl.where((positions % H == H - 1)[:, None], 1.0, factors)
    found = tl.cumprod(tl.reshape(factors, (rows // H, H, block)), 1, reverse=True)
    return tl.reshape(found, (rows, block))


@triton.jit
def segments_between(at, positions, length, step, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr):
    """Products of the decays between rows s < t (those of t too unless exclusive), [C, C]; zero for later s."""
    rows = tl.arange(0, positions.shape[0])
    decays = chunk_column(at, positions - EXCLUSIVE, length, step, 1.0, REVERSE)
    ahead = rows[:, None] - rows[None, :] - EXCLUSIVE
    found = tl.cumprod(tl.where(ahead > 0, decays[:, None], 1.0), 0)
    return tl.where(ahead >= 0, found, 0.0)


@triton.jit
def spread_diagonal(blocks):
    """Blocks [N, H, H] along the diagonal of a matrix [N H, N H] of zeros."""
    n: tl.constexpr = blocks.shape[0]
    h: tl.constexpr = blocks.shape[1]
    same = tl.arange(0, n)[:, None] == tl.arange(0, n)[None, :]
    wide = tl.where(same[:, None, :, None], blocks[:, :, None, :], 0.0)
    return tl.reshape(wide, (n * h, n * h))


@triton.jit
def matrix_product(left, right, DOT: tl.constexpr):
    """left @ right with operands of the type DOT, summed in float32.

    One of float32 is the sum of two that the matrix unit takes, so three products leave an error of 2^-22.
    """
    if tl.float32 == DOT:
        found = tl.dot(left.to(DOT), right.to(DOT), input_precision="tf32x3")
    else:
        found = tl.dot(left.to(DOT), right.to(DOT))
    return found


@triton.jit
def halved_product(
    xs, ys, decay, d_step, positions, length, entries, width,
    H: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """What the late halves of blocks of 2 H rows see of the early ones, [C, C]: P and Q meet in the middle."""
    rows = tl.arange(0, positions.shape[0])
    to = products_to(decay, positions, length, d_step, entries, width, H, EXCLUSIVE, REVERSE)
    after = products_from(decay, positions, length, d_step, entries, width, H, REVERSE)
    low = matrix_product(xs * to, tl.trans(ys * after), DOT)
    same = rows[:, None] // (2 * H) == rows[None, :] // (2 * H)
    return tl.where(same & (rows[:, None] // H > rows[None, :] // H), low, 0.0)


@triton.jit
def leaf_product(
    xs, y, y_step, decay, d_step, positions, length, entries, width,
    H: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """The product within blocks of H rows, [C, H]: element by element, early rows from the last to the first."""
    columns = tl.arange(0, H)
    inner = positions % H
    block = positions - inner
    total = tl.zeros((positions.shape[0], H), tl.float32)
    reach = tl.zeros_like(xs)
    for back in range(H):
        early = H - 1 - back
        following = chunk_tile(decay, block + early + 1, length, d_step, entries, width, 1.0, REVERSE)
        ahead = (inner - early - EXCLUSIVE)[:, None]
        reach = tl.where(ahead == 0, 1.0, tl.where(ahead > 0, reach * following, 0.0))
        given = chunk_tile(y, block + early, length, y_step, entries, width, 0.0, REVERSE)
        total += tl.where(columns[None, :] == early, tl.sum(xs * reach * given, 1)[:, None], 0.0)
    return total


@triton.jit
def rows_product(
    x, x_step, y, y_step, decay, d_step, first, length, width,
    C: tl.constexpr, BLOCK: tl.constexpr, DECAY: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """sum_k x[t, k] y[s, k] D[t, s, k] of the rows of a chunk, [C, C], D the product of decays between s and t.

    With a decay for each entry, blocks of 32, 64, ... rows are halved: the decays from the middle to a late row go to
    x and those from an early row to the middle go to y.  Blocks of 16 rows are done element by element.
    """
    rows = tl.arange(0, C)
    positions = first + rows
    total = tl.zeros((C, C), tl.float32)
    own = tl.zeros((C, 16), tl.float32)
    for start in range(0, width, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        xs = chunk_tile(x, positions, length, x_step, entries, width, 0.0, REVERSE)
        ys = chunk_tile(y, positions, length, y_step, entries, width, 0.0, REVERSE)
        if DECAY < 2:
            total += matrix_product(xs, tl.trans(ys), DOT)
        else:
            for level in tl.static_range(0, 3):
                if 16 << level < C:
                    total += halved_product(
                        xs, ys, decay, d_step, positions, length, entries, width, 16 << level, EXCLUSIVE, REVERSE, DOT
                    )
            own += leaf_product(xs, y, y_step, decay, d_step, positions, length, entries, width, 16, EXCLUSIVE, REVERSE)
    if DECAY == 0:
        total = tl.where(rows[:, None] >= rows[None, :] + EXCLUSIVE, total, 0.0)
    elif DECAY == 1:
        total *= segments_between(decay, positions, length, d_step, EXCLUSIVE, REVERSE)
    else:
        total += spread_diagonal(tl.reshape(own, (C // 16, 16, 16)))
    return total
