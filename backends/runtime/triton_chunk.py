"""Recurrences in the normal form of chunks as kernels on matrix units.

They follow `torch_chunk`: (i) products of the rows of each chunk, (ii) the inverse of each chunk's system
(`triton_chunk_inverse`), (iii) its solution, (iv) the state from chunk to chunk, (v) what is read of it.  Sequences
are read where they lie, [B, T, heads, streams, X] with any strides; what is kept between kernels is [lanes, chunks,
streams, C, X].
"""

import triton
import triton.language as tl

from lsrl.backends.runtime.triton_chunk_tiles import (
    chunk_column,
    chunk_tile,
    matrix_product,
    products_from,
    products_to,
    rows_product,
)


@triton.jit(do_not_specialize=["length"])
def chunk_product_kernel(
    x, y, decay, out, length, heads, x_streams, y_streams, width: tl.constexpr,
    x_b, x_t, x_h, x_s, y_b, y_t, y_h, y_s, d_b, d_t, d_h,
    C: tl.constexpr, BLOCK: tl.constexpr, DECAY: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """(i) Products of rows, out [lanes, chunks, X, Y, C, C]; a program for each chunk, lane and pair of streams."""
    place = tl.program_id(0).to(tl.int64)
    lane, chunk = place // tl.cdiv(length, C), (place % tl.cdiv(length, C)).to(tl.int32)
    pair = tl.program_id(1)
    b, h = lane // heads, lane % heads
    i, j = pair // y_streams, pair % y_streams
    x += b * x_b + h * x_h + i * x_s
    y += b * y_b + h * y_h + j * y_s
    decay += b * d_b + h * d_h
    found = rows_product(x, x_t, y, y_t, decay, d_t, chunk * C, length, width, C, BLOCK, DECAY, EXCLUSIVE, REVERSE, DOT)
    out += ((place * x_streams + i) * y_streams + j) * C * C
    rows = tl.arange(0, C)
    tl.store(out + rows[:, None] * C + rows[None, :], found.to(out.dtype.element_ty))


@triton.jit
def solve_values(
    products, inverse, value, mix, own, positions, length, columns, v_t, v_s, c_t, c_j,
    R: tl.constexpr, J: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, REVERSE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """What a chunk adds to the state whatever arrives: own."""
    rows = tl.arange(0, C)
    square = rows[:, None] * C + rows[None, :]
    for start in range(0, columns, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        inside = (entries < columns)[None, :] & (rows >= 0)[:, None]
        z = tl.zeros((C, BLOCK), tl.float32)
        if R > 0:
            for j in tl.static_range(0, J):
                vs = chunk_tile(value + j * v_s, positions, length, v_t, entries, columns, 0.0, REVERSE)
                z += vs if J == 1 else matrix_product(tl.load(products + j * C * C + square), vs, DOT)
            z = matrix_product(inverse, z, DOT)
        for j in tl.static_range(0, J):
            at = own + (j * C + rows[:, None]) * columns + entries[None, :]
            us = z
            if R == 0 or J > 1:
                us = chunk_tile(value + j * v_s, positions, length, v_t, entries, columns, 0.0, REVERSE)
            if R > 0 and J > 1:
                us += chunk_column(mix + j * c_j, positions, length, c_t, 0.0, REVERSE)[:, None] * z
            tl.store(at, us.to(own.dtype.element_ty), mask=inside)


@triton.jit
def solve_keys(
    inverse, reader, key, mix, decay, reading, writing, whole, positions, length, width,
    a_t, a_s, w_t, w_s, c_t, c_j, c_m, d_t,
    R: tl.constexpr, J: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, DECAY: tl.constexpr,
    REVERSE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """What a chunk reads of the state that arrives, and what it writes with: reading, writing, whole."""
    rows = tl.arange(0, C)
    for start in range(0, width, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        inside = (entries < width)[None, :] & (rows >= 0)[:, None]
        shared = entries if DECAY == 2 else entries * 0
        to = tl.full((C, BLOCK), 1.0, tl.float32)
        after = tl.full((C, BLOCK), 1.0, tl.float32)
        if DECAY > 0:
            to = products_to(decay, positions, length, d_t, shared, width, C, True, REVERSE)
            after = products_from(decay, positions, length, d_t, shared, width, C, REVERSE)
            first = chunk_tile(decay, positions, length, d_t, shared, width, 1.0, REVERSE)
            all_rows = tl.sum(tl.where((rows == 0)[:, None], first * after, 0.0), 0)
            tl.store(whole + entries, all_rows, mask=entries < width)
        else:
            tl.store(whole + entries, tl.full((BLOCK,), 1.0, tl.float32), mask=entries < width)
        read = tl.zeros((C, BLOCK), tl.float32)
        if R > 0:
            for m in tl.static_range(0, R):
                seen = chunk_tile(reader + m * a_s, positions, length, a_t, entries, width, 0.0, REVERSE)
                if J == 1:
                    seen *= chunk_column(mix + m * c_m, positions, length, c_t, 0.0, REVERSE)[:, None]
                read += seen
            read = matrix_product(inverse, read * to, DOT)
        for j in tl.static_range(0, J):
            at = (j * C + rows[:, None]) * width + entries[None, :]
            ws = chunk_tile(key + j * w_s, positions, length, w_t, entries, width, 0.0, REVERSE)
            tl.store(writing + at, (ws * after).to(writing.dtype.element_ty), mask=inside)
            if R > 0:
                mixed = read
                if J > 1:
                    mixed *= chunk_column(mix + j * c_j, positions, length, c_t, 0.0, REVERSE)[:, None]
                tl.store(reading + at, mixed.to(reading.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["length"])
def chunk_solve_kernel(
    products, inverses, reader, key, value, mix, decay, own, reading, writing, whole, length, heads,
    width: tl.constexpr, columns: tl.constexpr,
    a_b, a_t, a_h, a_s, w_b, w_t, w_h, w_s, v_b, v_t, v_h, v_s, c_b, c_t, c_h, c_j, c_m, d_b, d_t, d_h,
    R: tl.constexpr, J: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, DECAY: tl.constexpr,
    REVERSE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """(iii) What each chunk adds to the state: u = own + reading @ S, S' = whole * S + writing^T u.

    With the inverse X of the system, own is X v for one key, and v + c X G v for one reader.
    """
    place = tl.program_id(0).to(tl.int64)
    lane, chunk = place // tl.cdiv(length, C), (place % tl.cdiv(length, C)).to(tl.int32)
    b, h = lane // heads, lane % heads
    rows = tl.arange(0, C)
    positions = chunk * C + rows
    square = rows[:, None] * C + rows[None, :]
    reader += b * a_b + h * a_h
    key += b * w_b + h * w_h
    value += b * v_b + h * v_h
    mix += b * c_b + h * c_h
    decay += b * d_b + h * d_h
    products += place * R * J * C * C
    own += place * J * C * columns
    reading += place * J * C * width
    writing += place * J * C * width
    whole += place * width
    inverse = square
    if R > 0:
        inverse = tl.load(inverses + place * C * C + square).to(DOT)
    solve_values(
        products, inverse, value, mix, own, positions, length, columns, v_t, v_s, c_t, c_j, R, J, C, BLOCK, REVERSE, DOT
    )
    solve_keys(
        inverse, reader, key, mix, decay, reading, writing, whole, positions, length, width,
        a_t, a_s, w_t, w_s, c_t, c_j, c_m, d_t, R, J, C, BLOCK, DECAY, REVERSE, DOT,
    )  # fmt: skip


@triton.jit(do_not_specialize=["chunks"])
def chunk_carry_kernel(
    whole, reading, writing, own, added, start, states, last, chunks, width: tl.constexpr, columns: tl.constexpr,
    rows, d_l, d_n, d_k, d_v,
    READS: tl.constexpr, WRITES: tl.constexpr, ADDS: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """(iv) The states that arrive at chunks, [lanes, chunks, K, V]: S' = whole * S + writing^T u + added.

    u = own + reading @ S takes the place of `own`.  A program for each lane and tile of columns.
    """
    lane = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    v = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    inside = (k < width)[:, None] & (v < columns)[None, :]
    square = k[:, None] * columns + v[None, :]
    size = width * columns
    state = tl.load(start + lane * size + square, mask=inside, other=0.0).to(tl.float32)
    for step in range(chunks):
        chunk = lane * 0 + (chunks - 1 - step if REVERSE else step)  # in 64 bits, as the lane is
        place = lane * chunks + chunk
        tl.store(states + place * size + square, state, mask=inside)
        decays = whole + lane * d_l + chunk * d_n + k[:, None] * d_k + v[None, :] * d_v
        following = state * tl.load(decays, mask=inside, other=0.0)
        if ADDS:
            following += tl.load(added + place * size + square, mask=inside, other=0.0)
        for first in range(0, rows, BLOCK_M):
            m = first + tl.arange(0, BLOCK_M)
            flat = (place * rows + m)[:, None]
            by_row = (m < rows)[:, None] & (k < width)[None, :]
            by_column = (m < rows)[:, None] & (v < columns)[None, :]
            given = own + flat * columns + v[None, :]
            u = tl.load(given, mask=by_column, other=0.0).to(tl.float32)
            if READS:
                seen = tl.load(reading + flat * width + k[None, :], mask=by_row, other=0.0)
                u += matrix_product(seen, state, DOT)
                tl.store(given, u.to(own.dtype.element_ty), mask=by_column)
            if WRITES:
                written = tl.load(writing + flat * width + k[None, :], mask=by_row, other=0.0)
                following += matrix_product(tl.trans(written), u, DOT)
        state = following
    tl.store(last + lane * size + square, state, mask=inside)


@triton.jit(do_not_specialize=["length"])
def chunk_read_kernel(
    query, products, given, states, decay, out, length, heads, width: tl.constexpr, columns: tl.constexpr,
    q_b, q_t, q_h, d_b, d_t, d_h, o_b, o_t, o_h,
    J: tl.constexpr, C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, DECAY: tl.constexpr,
    EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """(v) q^T S at every position: what is left of the state that arrived, and what the chunk's rows wrote."""
    place = tl.program_id(0).to(tl.int64)
    lane, chunk = place // tl.cdiv(length, C), (place % tl.cdiv(length, C)).to(tl.int32)
    b, h = lane // heads, lane % heads
    rows = tl.arange(0, C)
    positions = chunk * C + rows
    v = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    query += b * q_b + h * q_h
    decay += b * d_b + h * d_h
    arriving = states + place * width * columns
    found = tl.zeros((C, BLOCK_V), tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        seen = chunk_tile(query, positions, length, q_t, k, width, 0.0, REVERSE)
        if DECAY > 0:
            entries = k if DECAY == 2 else k * 0
            seen *= products_to(decay, positions, length, d_t, entries, width, C, EXCLUSIVE, REVERSE)
        inside = (k < width)[:, None] & (v < columns)[None, :]
        state = tl.load(arriving + k[:, None] * columns + v[None, :], mask=inside, other=0.0)
        found += matrix_product(seen, state, DOT)
    inside = (rows >= 0)[:, None] & (v < columns)[None, :]
    for j in tl.static_range(0, J):
        product = tl.load(products + (place * J + j) * C * C + rows[:, None] * C + rows[None, :])
        u = tl.load(given + ((place * J + j) * C + rows[:, None]) * columns + v[None, :], mask=inside, other=0.0)
        found += matrix_product(product, u, DOT)
    times = (length - 1 - positions if REVERSE else positions).to(tl.int64)
    at = out + b * o_b + h * o_h + times[:, None] * o_t + v[None, :]
    tl.store(at, found, mask=inside & (positions < length)[:, None])
