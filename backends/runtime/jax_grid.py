"""An affine recurrence over a grid that is cut into tiles and put together again, in JAX.

Tiles of `backends/runtime/jax_tiles.py` need not divide the grid: past its ends there are places that add nothing and
pass every state straight on.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from lsrl.backends.runtime.jax_tiles import run_tiles


def tiled(starts, transition, gates, keys, values, reads, *, extents, axes, sides, reverse=(), tree=False):
    """The products of the states with vectors at every place, and the last states.

    Args:
        starts: for each state what arrives at the grid, [B, *extents of the other axes, *lanes, K, V].
        transition: T, a list of lists [to][from] of [B, places, *lanes], or None for 0; places in row-major order.
        gates: g, a list of lists [state][outer product] of [B, places, *lanes], or None for 0.
        keys, values: k and v, lists of [B, places, *lanes, K] and [B, places, *lanes, V].
        reads: a list of (q, w): [B, places, *lanes, K], and a list with [B, places, *lanes] for each state, or None.
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
        sides: places of a tile along each axis, at most.
        reverse: the axes on which it runs from the last place to the first.
        tree: from tile to tile in logarithmic depth.

    Returns:
        A list of [B, places, *lanes, V], and the last states.
    """
    shape = (tuple(extents), tuple(axes), tuple(sides), tuple(reverse), tree)
    return run_grid(tuple(starts), (transition, gates), (keys, values), reads, *shape)


@partial(jax.jit, static_argnums=(4, 5, 6, 7, 8))
def run_grid(starts, numbers, products, reads, extents, axes, sides, reverse, tree):
    """`tiled`, compiled once for each shape."""
    (transition, gates), (keys, values) = numbers, products
    rank, batch, dtype = len(extents), starts[0].shape[0], starts[0].dtype
    lanes, columns = starts[0].shape[rank:-2], starts[0].shape[-1]
    whole = (batch, math.prod(extents), *lanes)
    if 0 in whole:
        return [jnp.zeros((*whole, columns), dtype) for _ in reads], starts
    sides = tuple(min(side, extent) for side, extent in zip(sides, extents))
    counts = tuple(-(-extent // side) for extent, side in zip(extents, sides))
    zero = jnp.zeros(whole, dtype)

    def cut(array):
        grid = array.reshape(batch, *extents, *array.shape[2:])
        return in_tiles(lanes_first(grid, rank, len(lanes), reverse), sides)

    def table(lists, beyond=0):
        rows = [jnp.stack([zero if each is None else each for each in row], -1) for row in lists]
        return cut(jnp.stack(rows, -2) - beyond) + beyond

    borders = []
    for start, axis in zip(starts, axes):
        own = in_tiles(lanes_first(start, rank - 1, len(lanes), remaining(reverse, axis)), without(sides, axis))
        borders.append(own.reshape(-1, *without(counts, axis), *own.shape[1:]))
    straight = jnp.eye(len(axes), dtype=dtype)
    queries, marks = zip(*reads)
    numbers = (table(transition, straight), table(gates), table(marks))
    vectors = tuple(cut(jnp.stack(each, -2)) for each in (queries, keys, values))
    found, lasts = run_tiles(tuple(borders), numbers, vectors, counts, axes, sides, tree)
    found = lanes_last(from_tiles(found, extents, sides), rank, (batch, *lanes), reverse)
    found = found.reshape(*whole, len(reads), columns)
    ends = []
    for last, axis in zip(lasts, axes):
        own = last.reshape(-1, *last.shape[rank:])
        border = from_tiles(own, without(extents, axis), without(sides, axis))
        ends.append(lanes_last(border, rank - 1, (batch, *lanes), remaining(reverse, axis)))
    return [found[..., read, :] for read in range(len(reads))], tuple(ends)


def without(numbers, axis):
    """The numbers of the other axes."""
    return (*numbers[:axis], *numbers[axis + 1 :])


def remaining(reverse, axis):
    """Which of the other axes, counted without this one, are turned."""
    return tuple(each - (each > axis) for each in reverse if each != axis)


def lanes_first(array, rank, lanes, reverse):
    """[B, *places, *lanes, ...] as [B * lanes, *places, ...], places (of `rank` axes) in the order of computation."""
    ordered = jnp.flip(array, [1 + axis for axis in reverse])
    moved = jnp.moveaxis(ordered, range(1, 1 + rank), range(1 + lanes, 1 + lanes + rank))
    return moved.reshape(-1, *moved.shape[1 + lanes :])


def lanes_last(array, rank, lead, reverse):
    """The inverse of `lanes_first`; `lead` is (B, *lanes)."""
    whole = array.reshape(*lead, *array.shape[1:])
    moved = jnp.moveaxis(whole, range(len(lead), len(lead) + rank), range(1, 1 + rank))
    return jnp.flip(moved, [1 + axis for axis in reverse])


def in_tiles(array, sides):
    """[L, *extents, ...] as [L * tiles, places of a tile, ...], past the ends zero."""
    rank = len(sides)
    ends = [-extent % side for extent, side in zip(array.shape[1 : 1 + rank], sides)]
    shape = array.shape[1 + rank :]
    array = jnp.pad(array, [(0, 0), *((0, end) for end in ends), *((0, 0) for _ in shape)])
    pairs = [number for side, extent in zip(sides, array.shape[1:]) for number in (extent // side, side)]
    moved = jnp.moveaxis(array.reshape(-1, *pairs, *shape), range(1, 2 * rank, 2), range(1, 1 + rank))
    return moved.reshape(-1, math.prod(sides), *shape)


def from_tiles(array, extents, sides):
    """The inverse of `in_tiles`."""
    rank, shape = len(sides), array.shape[2:]
    counts = [-(-extent // side) for extent, side in zip(extents, sides)]
    moved = jnp.moveaxis(array.reshape(-1, *counts, *sides, *shape), range(1, 1 + rank), range(1, 2 * rank, 2))
    whole = moved.reshape(-1, *(count * side for count, side in zip(counts, sides)), *shape)
    return whole[(slice(None), *(slice(extent) for extent in extents))]
