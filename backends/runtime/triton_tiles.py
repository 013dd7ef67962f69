"""Kernels of tiles of an affine recurrence over a grid; `torch_tiles` says what they compute.

All compute in float32.  States lie in rows [tiles + border, L, E, K V], tiles by wave: a tile reads its own row and
writes where its states arrive, at rows of the next wave or past the border.
"""

import triton
import triton.language as tl

from lsrl.backends.runtime.triton_chunk_tiles import matrix_product


@triton.jit(do_not_specialize=["tiles"])
def tile_numbers_kernel(
    transition, gates, marks, edges, leaving, reading, tiles,
    PLACES: tl.constexpr, STATES: tl.constexpr, PRODUCTS: tl.constexpr, READS: tl.constexpr, EDGES: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """The coefficients of one tile, some columns of them: what its places make of unit vectors, one after the other.

    The states on their way through the tile are the rows of `front`, one for each edge by which a state enters: a
    place takes from it what arrives by its edges, [PLACES, STATES], and puts back there what it passes on.
    """
    columns: tl.constexpr = EDGES + PLACES * PRODUCTS
    tile = tl.program_id(0).to(tl.int64)
    x = tl.program_id(1) * BLOCK_X + tl.arange(0, BLOCK_X)
    row, to, read = tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_R)
    front = tl.where(row[:, None] == x[None, :], 1.0, 0.0)
    for place in range(PLACES):
        at = place * tiles + tile
        mine = tl.load(edges + place * STATES + to, mask=to < STATES, other=-1)[:, None] == row[None, :]
        arriving = tl.sum(tl.where(mine[:, :, None], front[None, :, :], 0.0), 1)
        near = (to < STATES)[None, :]
        ours = (read < READS)[:, None] & near
        weights = tl.load(marks + (at * READS + read[:, None]) * STATES + to[None, :], mask=ours, other=0.0)
        found = tl.sum(weights[:, :, None] * arriving[None, :, :], 1)
        into = reading + ((tile * PLACES + place) * READS + read[:, None]) * columns + x[None, :]
        tl.store(into, found, mask=(read < READS)[:, None] & (x < columns)[None, :])
        all_states = (to < STATES)[:, None] & near
        through = tl.load(transition + (at * STATES + to[:, None]) * STATES + to[None, :], mask=all_states, other=0.0)
        passed = tl.sum(through[:, :, None] * arriving[None, :, :], 1)
        product = x - EDGES - place * PRODUCTS
        own = (to < STATES)[:, None] & ((product >= 0) & (product < PRODUCTS))[None, :]
        passed += tl.load(gates + (at * STATES + to[:, None]) * PRODUCTS + product[None, :], mask=own, other=0.0)
        put = tl.sum(tl.where(mine[:, :, None], passed[:, None, :], 0.0), 0)
        front = tl.where((tl.sum(mine.to(tl.int32), 0) > 0)[:, None], put, front)
    out = leaving + (tile * EDGES + row[:, None]) * columns + x[None, :]
    tl.store(out, front, mask=(row < EDGES)[:, None] & (x < columns)[None, :])


@triton.jit(do_not_specialize=["first", "lanes"])
def grid_carry_kernel(
    maps, added, states, rows, first, lanes, columns, map_place, map_lane, map_row, map_column,
    EDGES: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """`S' = A S + B` at the places of one wave: A [P, L, E, E], B [P, L, E, X], `rows` [P, E] where each edge leads."""
    place, lane = first + (tl.program_id(0) // lanes).to(tl.int64), tl.program_id(0) % lanes
    at = place * lanes + lane
    edge, x = tl.arange(0, BLOCK_E), tl.program_id(1) * BLOCK_X + tl.arange(0, BLOCK_X)
    some, inside = edge < EDGES, x < columns
    both = some[:, None] & inside[None, :]
    passed = tl.load(added + (at * EDGES + edge[:, None]) * columns + x[None, :], mask=both, other=0.0)
    for before in range(EDGES):
        numbers = maps + place * map_place + lane * map_lane + before * map_column
        number = tl.load(numbers + edge * map_row, mask=some, other=0.0)
        state = tl.load(states + (at * EDGES + before) * columns + x, mask=inside, other=0.0)
        passed += number[:, None] * state[None, :]
    row = tl.load(rows + place * EDGES + edge, mask=some, other=0).to(tl.int64) * lanes + lane
    tl.store(states + (row * EDGES + edge)[:, None] * columns + x[None, :], passed, mask=both)


@triton.jit(do_not_specialize=["first", "lanes"])
def tile_wave_kernel(
    leaving, reading, queries, keys, values, states, rows, found, first, lanes, width, columns,
    READS: tl.constexpr, PRODUCTS: tl.constexpr, EDGES: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Tiles of one wave, some columns V: what is read at all places, and the states passed on.

    Args:
        leaving, reading: the coefficients, [G L, E, E + p m] and [G L, p r, E + p m]; READS is p r, PRODUCTS p m.
        queries, keys, values: [G L, p r, K], [G L, p m, K], [G L, p m, V].
        found: [G L, p r, V].
    """
    numbers: tl.constexpr = EDGES + PRODUCTS
    place, lane = first + (tl.program_id(0) // lanes).to(tl.int64), tl.program_id(0) % lanes
    at = place * lanes + lane
    r, p, e = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_E)
    v = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    reads, products, edges, inside = r < READS, p < PRODUCTS, e < EDGES, v < columns
    leaves, seen = leaving + (at * EDGES + e[:, None]) * numbers, reading + (at * READS + r[:, None]) * numbers
    through = tl.load(leaves + e[None, :], mask=edges[:, None] & edges[None, :], other=0.0)
    spread = tl.load(leaves + EDGES + p[None, :], mask=edges[:, None] & products[None, :], other=0.0)
    shares = tl.load(seen + e[None, :], mask=reads[:, None] & edges[None, :], other=0.0)
    gate = tl.load(seen + EDGES + p[None, :], mask=reads[:, None] & products[None, :], other=0.0)
    query, key = queries + (at * READS + r[:, None]) * width, keys + (at * PRODUCTS + p[:, None]) * width
    scores = tl.zeros((BLOCK_R, BLOCK_P), tl.float32)
    for start in range(0, width, BLOCK_Q):
        k = start + tl.arange(0, BLOCK_Q)
        q_rows = tl.load(query + k[None, :], mask=reads[:, None] & (k < width)[None, :], other=0.0)
        k_rows = tl.load(key + k[None, :], mask=products[:, None] & (k < width)[None, :], other=0.0)
        scores += matrix_product(q_rows, tl.trans(k_rows), DOT)
    value = tl.load(
        values + (at * PRODUCTS + p[:, None]) * columns + v[None, :],
        mask=products[:, None] & inside[None, :],
        other=0.0,
    )
    total = matrix_product(scores * gate, value, DOT)
    row = tl.load(rows + place * EDGES + e, mask=edges, other=0).to(tl.int64) * lanes + lane
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        some = k < width
        flat = tl.reshape(k[:, None] * columns + v[None, :], (BLOCK_K * BLOCK_V,))
        within = tl.reshape(some[:, None] & inside[None, :], (BLOCK_K * BLOCK_V,))
        both = edges[:, None] & within[None, :]
        state = tl.load(states + (at * EDGES + e[:, None]) * (width * columns) + flat[None, :], mask=both, other=0.0)
        k_rows = tl.load(key + k[None, :], mask=products[:, None] & some[None, :], other=0.0)
        written = tl.reshape(k_rows[:, :, None] * value[:, None, :], (BLOCK_P, BLOCK_K * BLOCK_V))
        passed = matrix_product(through, state, DOT) + matrix_product(spread, written, DOT)
        tl.store(states + (row * EDGES + e)[:, None] * (width * columns) + flat[None, :], passed, mask=both)
        q_rows = tl.load(query + k[None, :], mask=reads[:, None] & some[None, :], other=0.0)
        far = tl.reshape(matrix_product(shares, state, DOT), (BLOCK_R, BLOCK_K, BLOCK_V))
        total += tl.sum(far * q_rows[:, :, None], 1)
    out = found + (at * READS + r[:, None]) * columns + v[None, :]
    tl.store(out, total, mask=reads[:, None] & inside[None, :])
