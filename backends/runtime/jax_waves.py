"""A recurrence over a grid in JAX: all places whose coordinates have the same sum are computed at once."""

import math

import jax
import jax.numpy as jnp
from jax import lax


def over_waves(advance, starts, reads, extents, axes, reverse=False):
    """The step at every place of a grid, wave by wave: (last states, what `advance` keeps of every place).

    A wave is the places whose coordinates have the same sum.  It has a lane for each place on all axes but the last;
    lanes that are not on the grid in some wave compute what nothing reads.

    Args:
        advance: from states [B * lanes, ...] and reads to states and what is kept.
        starts: for each state what arrives at the edge of the grid, [B, *extents of the other axes, ...].
        reads: arrays [B, places, ...], places in row-major order.
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
        reverse: from the last place to the first, on every axis.
    """
    if not isinstance(starts, tuple):
        (last,), kept = over_waves(of_one_state(advance), (starts,), reads, extents, axes, reverse)
        return last, kept
    if reverse:
        starts, reads = turned_borders(starts, len(extents)), turned_places(reads)
        lasts, kept = over_waves(advance, starts, reads, extents, axes)
        return turned_borders(lasts, len(extents)), turned_places(kept)
    if 0 in extents:
        return starts, nothing_kept(advance, starts, reads, len(extents))
    return forward_waves(advance, starts, reads, extents, axes)


def forward_waves(advance, starts, reads, extents, axes):
    """`over_waves` of a tuple of states, from the first place to the last of a grid that has places."""
    *lanes, _ = extents
    batch, own, count = starts[0].shape[0], len(lanes), sum(extents) - len(extents) + 1
    inside, places, order = wave_places(extents, count)

    def wave(carried, at):
        on_grid, borders, reads = at
        arriving = (
            old if axis == own else entering(old, border, lanes, axis)
            for old, border, axis in zip(carried, borders, axes)
        )
        following, kept = advance(tuple(arriving), reads)
        on_grid = jnp.tile(on_grid, batch)
        carried = tuple(
            jnp.where(on_grid.reshape(-1, *(1,) * (new.ndim - 1)), new, old) if axis == own else new
            for new, old, axis in zip(following, carried, axes)
        )
        left = tuple(None if axis == own else leaving(new, lanes, axis) for new, axis in zip(following, axes))
        return carried, (left, kept)

    def by_wave(array):
        lead = jnp.moveaxis(array[:, places], 1, 0)
        return lead.reshape(count, batch * math.prod(lanes), *array.shape[2:])

    def by_place(array):
        whole = array.reshape(count, batch, math.prod(lanes), *array.shape[2:])
        return jnp.moveaxis(whole, 1, 0).reshape(batch, -1, *array.shape[2:])[:, order]

    def first(start, axis):
        shape = (batch * math.prod(lanes), *start.shape[len(extents) :])
        return start.reshape(shape) if axis == own else jnp.zeros(shape, start.dtype)

    borders = tuple(None if axis == own else border_by_wave(s, extents, axis) for s, axis in zip(starts, axes))
    xs = (inside, borders, jax.tree.map(by_wave, reads))
    carried, (left, kept) = lax.scan(wave, tuple(map(first, starts, axes)), xs)
    lasts = tuple(
        end.reshape(start.shape) if axis == own else border_by_place(border, extents, axis)
        for end, border, start, axis in zip(carried, left, starts, axes)
    )
    return lasts, jax.tree.map(by_place, kept)


def entering(carried, border, lanes, axis):
    """What arrives in the lanes of a wave along an axis: from the lanes before, and at the first from the border."""
    grid = carried.reshape(-1, *lanes, *carried.shape[1:])
    moved = lax.slice_in_dim(grid, 0, lanes[axis] - 1, axis=1 + axis)
    return jnp.concatenate([jnp.expand_dims(border, 1 + axis), moved], 1 + axis).reshape(carried.shape)


def leaving(following, lanes, axis):
    """What the last lanes along an axis pass on."""
    grid = following.reshape(-1, *lanes, *following.shape[1:])
    return lax.index_in_dim(grid, lanes[axis] - 1, 1 + axis, keepdims=False)


def over_places(advance, starts, reads, extents, axes, reverse=False):
    """As `over_waves`, one place after the other: no more is in memory than what crosses the grid."""
    if not isinstance(starts, tuple):
        (last,), kept = over_places(of_one_state(advance), (starts,), reads, extents, axes, reverse)
        return last, kept
    if 0 in extents:
        return starts, nothing_kept(advance, starts, reads, len(extents))

    def place(borders, at):
        place, reads = at
        here = jnp.unravel_index(place, extents)
        others = [(slice(None), *here[:axis], *here[axis + 1 :]) for axis in axes]
        following, kept = advance(tuple(border[other] for border, other in zip(borders, others)), reads)
        return tuple(b.at[other].set(new) for b, other, new in zip(borders, others, following)), kept

    places = jnp.arange(math.prod(extents))
    xs = (places, jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), reads))
    lasts, kept = lax.scan(place, starts, xs, reverse=reverse)
    return lasts, jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), kept)


def of_one_state(advance):
    """A step of one state that is given and gives a tuple of states."""

    def advance_all(states, at):
        following, kept = advance(*states, at)
        return (following,), kept

    return advance_all


def wave_places(extents, count, first=0):
    """The places of a grid by wave, and the waves by place; the first place is in the wave `first` of `count`.

    Returns:
        [count, lanes] whether a lane is on the grid, and at which place, clamped; for each place wave * lanes + lane.
    """
    *lanes, length = extents
    lane = jnp.arange(math.prod(lanes))
    start = first + jnp.indices(lanes).reshape(len(lanes), len(lane)).sum(0)
    column = jnp.arange(count)[:, None] - start
    places = lane * length + column.clip(0, length - 1)
    order = (start[:, None] + jnp.arange(length)) * len(lane) + lane[:, None]
    return (column >= 0) & (column < length), places, order.reshape(-1)


def border_by_wave(border, extents, axis):
    """What enters the first lanes of an axis in each wave: [waves, B, *other lanes, ...] of [B, *others, ...]."""
    others = (*extents[:axis], *extents[axis + 1 :])
    _, places, _ = wave_places(others, sum(extents) - len(extents) + 1)
    batch, shape = border.shape[0], border.shape[len(extents) :]
    found = border.reshape(batch, math.prod(others), *shape)[:, places]
    return jnp.moveaxis(found, 1, 0).reshape(len(places), batch, *others[:-1], *shape)


def border_by_place(border, extents, axis):
    """What leaves the last lanes of an axis: [B, *others, ...] of [waves, B, *other lanes, ...]."""
    others = (*extents[:axis], *extents[axis + 1 :])
    count, batch = border.shape[:2]
    shape = border.shape[1 + len(extents) - 1 :]
    _, _, order = wave_places(others, count, extents[axis] - 1)
    found = jnp.moveaxis(border, 1, 0).reshape(batch, -1, *shape)[:, order]
    return found.reshape(batch, *others, *shape)


def turned_places(arrays):
    """Arrays [B, places, ...] from the last place to the first."""
    return jax.tree.map(lambda array: jnp.flip(array, 1), arrays)


def turned_borders(borders, rank):
    """Borders [B, *others, ...] from the last place to the first."""
    return tuple(jnp.flip(border, range(1, rank)) for border in borders)


def nothing_kept(advance, starts, reads, rank):
    """What is kept of a grid without places."""
    batch = starts[0].shape[0]
    states = tuple(jnp.zeros((batch, *start.shape[rank:]), start.dtype) for start in starts)
    at = jax.tree.map(lambda array: jnp.zeros((batch, *array.shape[2:]), array.dtype), reads)
    shapes = jax.eval_shape(advance, states, at)[1]
    return jax.tree.map(lambda each: jnp.zeros((batch, 0, *each.shape[1:]), each.dtype), shapes)


def from_neighbours(border, values, extents, axis, reverse=False):
    """What arrives at every place from the place before on one axis, and what leaves the grid there.

    Args:
        border: what arrives at the edge, [B, *extents of the other axes, ...].
        values: what each place passes on, [B, places, ...].
    """
    grid = values.reshape(values.shape[0], *extents, *values.shape[2:])
    edge = jnp.expand_dims(border, 1 + axis)
    whole = jnp.concatenate([grid, edge] if reverse else [edge, grid], 1 + axis)
    ahead = lax.slice_in_dim(whole, 1, None, axis=1 + axis)
    behind = lax.slice_in_dim(whole, 0, extents[axis], axis=1 + axis)
    arriving = ahead if reverse else behind
    last = lax.index_in_dim(whole, 0 if reverse else extents[axis], 1 + axis, keepdims=False)
    return arriving.reshape(values.shape), last


def in_a_row(array, rank):
    """An array over a grid with its places in a row, [B, places, ...]."""
    shape = jnp.shape(array)
    return jnp.reshape(array, (shape[0], math.prod(shape[1 : 1 + rank]), *shape[1 + rank :]))


def on_grid(array, extents):
    """An array whose places lie in a row with an axis for each of the grid's, [B, *extents, ...]."""
    return array.reshape(array.shape[0], *extents, *array.shape[2:])
