"""Lines of a grid along one of its axes, in JAX: as sequences, and back."""

import math

import jax.numpy as jnp


def in_lines(array, extents, axis):
    """[B, places, ...] with places in row-major order as [B * others, places along the axis, ...]."""
    shape = array.shape[2:]
    grid = jnp.moveaxis(array.reshape(array.shape[0], *extents, *shape), 1 + axis, len(extents))
    return grid.reshape(*line_extent(array.shape[0], extents, axis), *shape)


def from_lines(array, extents, batch, axis):
    """The inverse of `in_lines`."""
    shape = array.shape[2:]
    others = (*extents[:axis], *extents[axis + 1 :])
    grid = jnp.moveaxis(array.reshape(batch, *others, extents[axis], *shape), len(extents), 1 + axis)
    return grid.reshape(batch, math.prod(extents), *shape)


def border_lines(border, extents, axis):
    """What arrives at the edge of a grid, [B, *others, ...], as [B * others, ...]."""
    lines, _ = line_extent(border.shape[0], extents, axis)
    return border.reshape(lines, *border.shape[len(extents) :])


def lines_border(last, extents, batch, axis):
    """The inverse of `border_lines`."""
    return last.reshape(batch, *extents[:axis], *extents[axis + 1 :], *last.shape[1:])


def line_extent(batch, extents, axis):
    """The number of lines of all grids, and the places of each."""
    return batch * math.prod((*extents[:axis], *extents[axis + 1 :])), extents[axis]
