"""Tiles of an affine recurrence over a grid, in JAX: what each makes of what arrives, and the derivative.

At every place of a grid states S_i, each travelling along one axis, become

    S_i' = sum_j T[i, j] S_j + sum_m g[i, m] k_m v_m^T,      read:  sum_j w[j] q^T S_j

with numbers T, g and w.  Within a tile of a few places along each axis everything that is read or leaves is linear in
the states that arrive at the near borders and in the outer products of the places.  Its coefficients are what the
recurrence itself makes of unit vectors: they are computed for all tiles at once.  Then matrices go from tile to tile,
and all else is products of matrices.  This is the chunkwise form of Pöppel et al., 2025, "pLSTM: parallelizable Linear
Source Transition Mark networks", section 3, for tiles with any sides and states along any axes.

With `tree` the states go from tile to tile in logarithmic depth (`grid_tree`).

What is kept for derivatives: what went in, and the states between tiles; coefficients are computed again.

Axes within: N tiles (of all sequences and lanes) of p places, n states, m outer products, r reads; E edges by which
states enter a tile and leave it, those of the first state first.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from lsrl.backends.runtime.grid_tree import over_tree
from lsrl.backends.runtime.jax_chunk_gram import exact_product, turned
from lsrl.backends.runtime.jax_grid_algebra import algebra_of
from lsrl.backends.runtime.jax_waves import over_places, over_waves


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def run_tiles(borders, numbers, vectors, counts, axes, sides, tree=False):
    """What is read at every place, and the states that leave at the far borders.

    Args:
        borders: for each state what arrives, [L, *counts of the other axes, edges, K, V] for L sequences and lanes.
        numbers: T [N, p, n, n], g [N, p, n, m] and w [N, p, r, n]; tiles in row-major order, those of a lane together.
        vectors: q [N, p, r, K], k [N, p, m, K] and v [N, p, m, V].
        counts: tiles along each axis.
        axes: the axis that each state travels along.
        sides: places of a tile along each axis.
        tree: in logarithmic depth.
    """
    return tiles_forward(borders, numbers, vectors, counts, axes, sides, tree)[0]


def tiles_forward(borders, numbers, vectors, counts, axes, sides, tree):
    lead = (borders[0].shape[0], math.prod(counts))
    coefficients = tile_coefficients(numbers, axes, sides)
    reads = (coefficients, rows_of(vectors))
    edges = tile_edges(axes, sides)
    if tree:
        added = in_rows(tile_added(*reads))
        arriving, lasts = states_by_tree(coefficients[0], added, borders, counts, axes, edges)
        found = tile_found(*reads, arriving.reshape(-1, *arriving.shape[2:]))
    else:
        step = partial(tile_step, edges)
        lasts, (found, arriving) = tile_loop(borders)(step, borders, of_tiles(reads, lead), counts, axes)
    found = found.reshape(*numbers[2].shape[:3], found.shape[-1])
    return (found, lasts), (borders, numbers, vectors, arriving)


def tiles_backward(counts, axes, sides, tree, kept, gradients):
    borders, numbers, vectors, arriving = kept
    d_found, d_lasts = gradients
    lead = (borders[0].shape[0], math.prod(counts))
    coefficients, to_numbers = jax.vjp(partial(tile_coefficients, axes=axes, sides=sides), numbers)
    reads = (coefficients, rows_of(vectors), *rows_of([d_found]))
    edges = tile_edges(axes, sides)
    if tree:
        returned = in_rows(tile_returned(*reads))
        d_passed, d_borders = states_by_tree(turned(coefficients[0]), returned, d_lasts, counts, axes, edges, True)
        found = tile_gradients(*reads, *(each.reshape(-1, *each.shape[2:]) for each in (arriving, d_passed)))
    else:
        step = partial(tile_adjoint, edges)
        reads = (*of_tiles(reads, lead), arriving)
        d_borders, found = tile_loop(borders)(step, d_lasts, reads, counts, axes, reverse=True)
        found = jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), found)
    d_coefficients, d_vectors = found
    d_vectors = tuple(d.reshape(array.shape) for d, array in zip(d_vectors, vectors))
    return d_borders, *to_numbers(d_coefficients), d_vectors


run_tiles.defvjp(tiles_forward, tiles_backward)


def states_by_tree(through, added, borders, counts, axes, edges, reverse=False):
    """What arrives at every tile, [L, tiles, E, K, V], and what leaves the grid."""
    shape = borders[0].shape[-2:]
    lead = (borders[0].shape[0], math.prod(counts))
    starts = tuple(border.reshape(*border.shape[:-2], -1) for border in borders)
    through, added = of_tiles((through, added), lead)
    arriving, lasts = over_tree(algebra_of("add"), through, added, starts, counts, axes, edges, reverse)
    lasts = tuple(last.reshape(*last.shape[:-1], *shape) for last in lasts)
    return arriving.reshape(*arriving.shape[:-1], *shape), lasts


def tile_loop(borders):
    """How tiles follow each other: by waves, unless the matrices of one tile are work enough."""
    lanes, *_, edges, rows, columns = borders[0].shape
    return over_places if lanes * edges * rows * columns >= 8192 else over_waves


def tile_edges(axes, sides):
    """By how many edges each state enters a tile, and leaves it."""
    return tuple(math.prod(sides) // sides[axis] for axis in axes)


def of_tiles(arrays, lead):
    """Arrays [N, ...] as [L, tiles of each, ...]."""
    return jax.tree.map(lambda array: array.reshape(*lead, *array.shape[1:]), arrays)


def rows_of(vectors):
    """Vectors [N, p, m, K] as the rows of a matrix for each tile, [N, p m, K]."""
    return tuple(each.reshape(each.shape[0], -1, each.shape[-1]) for each in vectors)


def tile_coefficients(numbers, axes, sides):
    """What a tile makes of the states that arrive and of the outer products of its places.

    Returns:
        Of every state that leaves: its shares of those that arrive, [N, E, E], and of outer products, [N, E, p m]; of
        every read: its shares of states, [N, p r, E], and of outer products, [N, p r, p m].
    """
    transition, gates, marks = numbers
    tiles, places, states, products = gates.shape
    edges = tile_edges(axes, sides)
    width = sum(edges) + places * products
    own = gates[:, :, :, None] * jnp.eye(places, dtype=gates.dtype)[:, None, :, None]
    own = jnp.pad(own.reshape(tiles, places, states, -1), [(0, 0)] * 3 + [(sum(edges), 0)])
    starts = []
    for state, axis in enumerate(axes):
        unit = jnp.eye(edges[state], width, sum(edges[:state]), dtype=gates.dtype)
        border = (*sides[:axis], *sides[axis + 1 :])
        starts.append(jnp.broadcast_to(unit.reshape(*border, width), (tiles, *border, width)))
    arriving, lasts = unit_waves(transition, own, tuple(starts), sides, axes)
    leaving = jnp.concatenate([last.reshape(tiles, -1, width) for last in lasts], 1)
    read = exact_product(marks, arriving).reshape(tiles, -1, width)
    cut = sum(edges)
    return leaving[..., :cut], leaving[..., cut:], read[..., :cut], read[..., cut:]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def unit_waves(transition, own, starts, sides, axes):
    """The recurrence with vectors for states: those that arrive at every place, [N, p, n, X], and the last ones.

    Args:
        transition: T, [N, p, n, n].
        own: what each place adds, [N, p, n, X].
        starts: for each state what arrives at the grid, [N, *sides of the other axes, X].
    """

    def step(states, at):
        through, added = at
        arriving = jnp.stack(states, 1)
        following = combined(through, arriving) + added
        return tuple(following[:, state] for state in range(len(states))), arriving

    lasts, arriving = over_waves(step, starts, (transition, own), sides, axes)
    return arriving, lasts


def unit_waves_forward(transition, own, starts, sides, axes):
    arriving, lasts = unit_waves(transition, own, starts, sides, axes)
    return (arriving, lasts), (transition, arriving)


def unit_waves_backward(sides, axes, kept, gradients):
    transition, arriving = kept
    d_arriving, d_lasts = gradients

    def step(states, at):
        through, added = at
        passed = jnp.stack(states, 1)
        before = combined(turned(through), passed) + added
        return tuple(before[:, state] for state in range(len(states))), passed

    d_starts, d_own = over_waves(step, d_lasts, (transition, d_arriving), sides, axes, reverse=True)
    return exact_product(d_own, turned(arriving)), d_own, d_starts


unit_waves.defvjp(unit_waves_forward, unit_waves_backward)


def combined(matrices, vectors):
    """Products of very small matrices: [N, a, b] times [N, b, X], element by element."""
    return sum(matrices[:, :, at, None] * vectors[:, None, at] for at in range(vectors.shape[1]))


def tile_step(edges, states, at):
    """The states that leave a tile; what is read in it, and what arrived."""
    coefficients, vectors = at
    arriving = jnp.concatenate(states, 1)
    found = tile_found(coefficients, vectors, arriving)
    added = tile_added(coefficients, vectors)
    passed = exact_product(coefficients[0], in_rows(arriving)) + in_rows(added)
    return leaving_states(passed.reshape(arriving.shape), edges), (found, arriving)


def tile_found(coefficients, vectors, arriving):
    """What is read in a tile, [N, p r, V]."""
    (_, _, shares, gate), (queries, keys, values) = coefficients, vectors
    whole = arriving.reshape(arriving.shape[0], -1, arriving.shape[-1])
    scores = exact_product(queries, turned(keys)) * gate
    return exact_product(scores, values) + exact_product(tile_outer(shares, queries), whole)


def tile_added(coefficients, vectors):
    """What the places of a tile add to the states that leave it, [N, E, K, V]."""
    (_, spread, _, _), (_, keys, values) = coefficients, vectors
    added = exact_product(turned(tile_outer(turned(spread), keys)), values)
    return added.reshape(*spread.shape[:2], -1, added.shape[-1])


def tile_adjoint(edges, d_states, at):
    """The gradients of the states that arrive at a tile, and of its coefficients and vectors."""
    coefficients, vectors, d_found, arriving = at
    d_passed = jnp.concatenate(d_states, 1)
    d_arriving = exact_product(turned(coefficients[0]), in_rows(d_passed))
    d_arriving += in_rows(tile_returned(coefficients, vectors, d_found))
    d_states = leaving_states(d_arriving.reshape(arriving.shape), edges)
    return d_states, tile_gradients(coefficients, vectors, d_found, arriving, d_passed)


def tile_returned(coefficients, vectors, d_found):
    """What the reads of a tile add to the gradients of the states that arrive at it, [N, E, K, V]."""
    (_, _, shares, _), (queries, _, _) = coefficients, vectors
    returned = exact_product(turned(tile_outer(shares, queries)), d_found)
    return returned.reshape(shares.shape[0], shares.shape[-1], -1, d_found.shape[-1])


def tile_gradients(coefficients, vectors, d_found, arriving, d_passed):
    """The gradients of the coefficients and vectors of a tile, of those of what it passes on and of what is read."""
    (_, spread, shares, gate), (queries, keys, values) = coefficients, vectors
    whole, d_whole = (each.reshape(each.shape[0], -1, each.shape[-1]) for each in (arriving, d_passed))
    products, d_scaled = exact_product(queries, turned(keys)), exact_product(d_found, turned(values))
    d_products = d_scaled * gate
    d_queries, d_keys = exact_product(d_products, keys), exact_product(turned(d_products), queries)
    d_values = exact_product(turned(products * gate), d_found)
    d_read = exact_product(d_found, turned(whole)).reshape(*shares.shape, -1)
    d_shares = jnp.einsum("ntek,ntk->nte", d_read, queries)
    d_queries += jnp.einsum("ntek,nte->ntk", d_read, shares)
    d_added = exact_product(values, turned(d_whole)).reshape(*turned(spread).shape, -1)
    d_spread = turned(jnp.einsum("nsek,nsk->nse", d_added, keys))
    d_keys += jnp.einsum("nsek,nes->nsk", d_added, spread)
    d_values += exact_product(tile_outer(turned(spread), keys), d_whole)
    d_through = exact_product(in_rows(d_passed), turned(in_rows(arriving)))
    return (d_through, d_spread, d_shares, d_scaled * products), (d_queries, d_keys, d_values)


def tile_outer(numbers, vectors):
    """Each row's outer product of its numbers [N, x, E] and its vector [N, x, K], as a row: [N, x, E K]."""
    return (numbers[..., None] * vectors[:, :, None]).reshape(*vectors.shape[:2], -1)


def in_rows(states):
    """The states at the edges of tiles as rows, [N, E, K V]."""
    return states.reshape(*states.shape[:2], -1)


def leaving_states(passed, edges):
    """What each state passes on, of all edges [N, E, K, V]."""
    return tuple(jnp.split(passed, [sum(edges[:count]) for count in range(1, len(edges))], 1))
