"""Recurrences over a grid whose elements meet only at the same place, in tiles, in JAX; in any of four algebras.

At every place of a grid, element by element, states that each travel along one axis become

    h_i' = sum_j T[i, j] h_j + b_i

where sum and product are those of (+, x), (max, +), (min, +) or (log-sum-exp, +).  What arrives anywhere in a tile, and
what leaves it, is affine in what arrives at its near borders; the coefficients are what the recurrence itself makes of
ones and zeros, for all tiles at once.  Then numbers go from tile to tile, by waves or, with `tree`, in logarithmic
depth.  The derivative of a step is a step over (+, x), whose transition are the shares of the operands in each sum;
so the adjoint is the same operation from the last place to the first.

Axes within: L sequences and elements, N tiles of all of these, p places of a tile, n states, E edges by which states
enter a tile and leave it, those of the first state first.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from lsrl.backends.runtime.grid_algebra import affine_map, element_shares, element_step
from lsrl.backends.runtime.grid_tree import over_tree
from lsrl.backends.runtime.jax_chunk_gram import turned
from lsrl.backends.runtime.jax_grid import from_tiles, in_tiles, lanes_first, lanes_last, remaining, without
from lsrl.backends.runtime.jax_grid_algebra import algebra_of
from lsrl.backends.runtime.jax_waves import over_waves


def tiled_elements(join, matrix, rest, starts, *, extents, axes, sides, reverse=(), tree=False):
    """What arrives at every place, what every place passes on, and the last states; a list for each.

    Args:
        join: "add", "max", "min" or "logaddexp"; for all but the first, entries of the matrix are added to states.
        matrix: T, a list of lists [to][from] of what broadcasts to [B, places, *shape], or None for no part.
        rest: b, a list of [B, places, *shape], or None.
        starts: for each state what arrives at the grid, [B, *extents of the other axes, *shape].
        extents, axes, sides, reverse, tree: as in `tiled` of `jax_grid`.
    """
    options = (join, tuple(extents), tuple(axes), tuple(sides), tuple(reverse), tree)
    return run_elements(matrix, rest, tuple(starts), *options)


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7, 8))
def run_elements(matrix, rest, starts, join, extents, axes, sides, reverse, tree):
    """`tiled_elements`, compiled once for each shape."""
    rank, zero, dtype = len(extents), algebra_of(join).zero, starts[0].dtype
    batch, shape = starts[0].shape[0], starts[0].shape[rank:]
    whole = (batch, math.prod(extents), *shape)
    if 0 in whole:
        nothing = [jnp.zeros(whole, dtype) for _ in starts]
        return nothing, nothing, starts

    def grid(arrays):
        wide = [jnp.broadcast_to(jnp.asarray(zero if each is None else each, dtype), whole) for each in arrays]
        stacked = jnp.stack(wide, -1).reshape(batch, *extents, *shape, len(wide))
        return lanes_first(stacked, rank, len(shape), reverse)

    through = jnp.stack([grid(row) for row in matrix], -2)
    borders = tuple(lanes_first(s, rank - 1, len(shape), remaining(reverse, a)) for s, a in zip(starts, axes))
    run = element_states if jnp.issubdtype(dtype, jnp.inexact) else elements_forward_only
    arriving, following, lasts = run(join, axes, sides, tree, through, grid(rest), borders)

    def places(array):
        return lanes_last(array, rank, (batch, *shape), reverse).reshape(*whole, len(axes))

    ends = tuple(lanes_last(last, rank - 1, (batch, *shape), remaining(reverse, a)) for last, a in zip(lasts, axes))
    return *([*jnp.moveaxis(places(each), -1, 0)] for each in (arriving, following)), ends


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def element_states(join, axes, sides, tree, through, rest, borders):
    """What arrives at every place and what it passes on, [L, *extents, n], and what leaves the grid.

    Args:
        through: T, [L, *extents, n, n].
        rest: b, [L, *extents, n].
        borders: for each state what arrives at the grid, [L, *extents of the other axes].
    """
    return elements_forward_only(join, axes, sides, tree, through, rest, borders)


def elements_forward_only(join, axes, sides, tree, through, rest, borders):
    algebra = algebra_of(join)
    arriving, lasts = arriving_elements(algebra, axes, sides, tree, through, rest, borders)
    return arriving, element_step(algebra, through, arriving, rest), lasts


def elements_forward(join, axes, sides, tree, through, rest, borders):
    arriving, following, lasts = elements_forward_only(join, axes, sides, tree, through, rest, borders)
    return (arriving, following, lasts), (through, rest, arriving)


def elements_backward(join, axes, sides, tree, kept, gradients):
    through, rest, arriving = kept
    d_arriving, d_following, d_lasts = gradients
    shares, share_of_rest = element_shares(algebra_of(join), through, arriving, rest)
    added = (shares * d_following[..., None]).sum(-2) + d_arriving
    places = range(1, 1 + len(sides))
    matrices, added = (jnp.flip(each, places) for each in (turned(shares), added))
    d_borders = tuple(jnp.flip(each, places[:-1]) for each in d_lasts)
    passed, d_starts = arriving_elements(algebra_of("add"), axes, sides, tree, matrices, added, d_borders)
    total = d_following + jnp.flip(passed, places)
    d_through = total[..., None] * (arriving[..., None, :] if join == "add" else shares)
    return d_through, total * share_of_rest, tuple(jnp.flip(each, places[:-1]) for each in d_starts)


element_states.defvjp(elements_forward, elements_backward)


def arriving_elements(algebra, axes, sides, tree, through, rest, borders):
    """What arrives at every place, [L, *extents, n], and what leaves the grid."""
    extents = through.shape[1:-2]
    sides = tuple(min(side, extent) for side, extent in zip(sides, extents))
    counts = tuple(-(-extent // side) for extent, side in zip(extents, sides))
    lead = (through.shape[0], math.prod(counts))
    matrices, own = tiles_of_elements(algebra, through, rest, sides)
    coefficients, leaving = element_coefficients(algebra, matrices, own, sides, axes)
    edges = tuple(math.prod(sides) // sides[axis] for axis in axes)
    starts = tuple(tile_borders(b, without(sides, axis), without(counts, axis)) for b, axis in zip(borders, axes))
    leaving = leaving.reshape(*lead, *leaving.shape[1:])
    if tree:
        starts = tuple(start[..., None] for start in starts)
        arriving, lasts = over_tree(algebra, leaving[..., :-1], leaving[..., -1:], starts, counts, axes, edges)
        lasts = tuple(last[..., 0] for last in lasts)
    else:
        lasts, arriving = over_waves(partial(tile_of_elements, algebra, edges), starts, leaving, counts, axes)
    arriving = affine_map(algebra, coefficients, arriving.reshape(coefficients.shape[0], -1))
    ends = tuple(
        from_tiles(last.reshape(-1, last.shape[-1]), without(extents, axis), without(sides, axis))
        for last, axis in zip(lasts, axes)
    )
    return from_tiles(arriving.reshape(len(arriving), -1, len(axes)), extents, sides), ends


def tiles_of_elements(algebra, through, rest, sides):
    """T and b in tiles, [N, p, n, n] and [N, p, n]; past the ends of the grid states go straight on."""
    extents, size = through.shape[1:-2], through.shape[-1]
    inside = in_tiles(jnp.ones((1, *extents), bool), sides)
    inside = jnp.tile(inside, (through.shape[0], 1))
    straight = jnp.where(jnp.eye(size, dtype=bool), algebra.one, algebra.zero).astype(through.dtype)
    cut = jnp.where(inside[..., None, None], in_tiles(through, sides), straight)
    return cut, jnp.where(inside[..., None], in_tiles(rest, sides), jnp.asarray(algebra.zero, rest.dtype))


def tile_borders(border, sides, counts):
    """[L, *extents] of a border as [L, *counts, edges]."""
    cut = in_tiles(border, sides)
    return cut.reshape(-1, *counts, cut.shape[-1])


def element_coefficients(algebra, through, rest, sides, axes):
    """What arrives at each place of a tile and what leaves it, of what arrives at the tile and, last, of its places.

    Returns:
        [N, p n, E + 1] and [N, E, E + 1].
    """
    tiles, _, size = rest.shape
    edges = [math.prod(sides) // sides[axis] for axis in axes]
    width = sum(edges) + 1
    nothing = jnp.full((*rest.shape, width - 1), algebra.zero, rest.dtype)
    own = jnp.concatenate([nothing, rest[..., None]], -1)
    starts = []
    for state, axis in enumerate(axes):
        unit = jnp.eye(edges[state], width, sum(edges[:state]), dtype=bool)
        start = jnp.where(unit, algebra.one, algebra.zero).astype(rest.dtype)
        border = without(sides, axis)
        starts.append(jnp.broadcast_to(start.reshape(*border, width), (tiles, *border, width)))

    def step(states, at):
        matrix, added = at
        arriving = jnp.stack(states, 1)
        total = added
        for place in reversed(range(size)):
            total = algebra.plus(algebra.times(matrix[:, :, place, None], arriving[:, None, place]), total)
        return tuple(total[:, state] for state in range(size)), arriving

    lasts, arriving = over_waves(step, tuple(starts), (through, own), sides, axes)
    leaving = jnp.concatenate([last.reshape(tiles, -1, width) for last in lasts], 1)
    return arriving.reshape(tiles, -1, width), leaving


def tile_of_elements(algebra, edges, states, leaving):
    """What leaves a tile, and what arrived."""
    arriving = jnp.concatenate(states, 1)
    passed = affine_map(algebra, leaving, arriving)
    return tuple(jnp.split(passed, [sum(edges[:count]) for count in range(1, len(edges))], 1)), arriving
