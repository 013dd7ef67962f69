"""Lines of a grid along one of its axes, in JAX: as sequences, and back."""

import math

import jax.numpy as jnp

from lsrl.backends.runtime.grid_lines import line_extent


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
