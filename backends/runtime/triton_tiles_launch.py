"""Launches of the kernels of tiles on the tensors of `torch_tiles` and `torch_grid_carry`."""

import torch
import triton
import triton.language as tl

from lsrl.backends.runtime.triton_tiles import grid_carry_kernel, tile_numbers_kernel, tile_wave_kernel

MOST_TILE_ROWS = 64  # reads, and outer products, of one tile
MOST_TILE_EDGES = 16


def tile_kernels_serve(numbers, vectors, edges):
    """Whether kernels hold the tiles: float32, and no more of anything than fits into one block."""
    reads, products = vectors[0].shape[1], vectors[1].shape[1]
    return numbers[0].dtype == torch.float32 and max(reads, products) <= MOST_TILE_ROWS and edges <= MOST_TILE_EDGES


def tile_block(size, most=MOST_TILE_ROWS):
    """A power of two that covers `size`, at least 16 as matrix units want, at most `most`."""
    return min(most, max(16, triton.next_power_of_2(size)))


def launch_tile_numbers(numbers, slots, edges):
    """The coefficients of tiles: of what leaves them [N, E, E + p m], of what is read in them [N, p r, E + p m].

    Args:
        numbers: T [p, N, n, n], g [p, N, n, m] and w [p, N, r, n].
        slots: [p, n], the edge by whose way each state passes a place.
        edges: E.
    """
    places, tiles, states, products = numbers[1].shape
    reads, columns = numbers[2].shape[2], edges + places * products
    leaving = numbers[0].new_empty(tiles, edges, columns)
    reading = numbers[0].new_empty(tiles, places * reads, columns)
    block = tile_block(columns, 32)
    with torch.cuda.device_of(leaving):
        tile_numbers_kernel[(tiles, triton.cdiv(columns, block))](
            *(each.contiguous() for each in numbers), slots, leaving, reading, tiles,
            PLACES=places, STATES=states, PRODUCTS=products, READS=reads, EDGES=edges,
            BLOCK_N=triton.next_power_of_2(states), BLOCK_R=triton.next_power_of_2(reads), BLOCK_E=tile_block(edges),
            BLOCK_X=block, num_warps=1,
        )  # fmt: skip
    return leaving, reading


def launch_tile_wave(coefficients, vectors, states, rows, found, first, count):
    """What is read in `count` tiles from `first` on, into `found`, and the states that they pass on, into `states`.

    Args:
        coefficients, vectors: as `launch_tile_numbers` gives them, and as `grid_tiles` takes them.
        states: [G + border, L, E, K V]; the rows of these tiles have arrived.
        rows: [G, E], the row at which what leaves by each edge arrives.
        found: [G L, p r, V].
    """
    queries, keys, values = vectors
    lanes, edges = states.shape[1:3]
    reads, products, width, columns = queries.shape[1], keys.shape[1], keys.shape[2], values.shape[2]
    block_v, warps = tile_block(columns, 32), 8 if max(reads, products) > 32 else 4
    with torch.cuda.device_of(states):
        tile_wave_kernel[(count * lanes, triton.cdiv(columns, block_v))](
            *coefficients, queries, keys, values, states, rows, found, first, lanes, width, columns,
            READS=reads, PRODUCTS=products, EDGES=edges,
            BLOCK_R=tile_block(reads), BLOCK_P=tile_block(products), BLOCK_E=tile_block(edges),
            BLOCK_Q=tile_block(width, 32), BLOCK_K=128 // block_v, BLOCK_V=block_v, DOT=tl.float32, num_warps=warps,
        )  # fmt: skip


def launch_carry_wave(maps, added, states, rows, first, count):
    """`S' = A S + B` at `count` places from `first` on; A [P, L, E, E], B [P, L, E, X], the others as above."""
    lanes, edges, columns = added.shape[1:]
    block = tile_block(columns, 128)
    with torch.cuda.device_of(states):
        grid_carry_kernel[(count * lanes, triton.cdiv(columns, block))](
            maps, added, states, rows, first, lanes, columns, *maps.stride(),
            EDGES=edges, BLOCK_E=triton.next_power_of_2(edges), BLOCK_X=block, num_warps=4,
        )  # fmt: skip
