"""Tiles of a grid by operations of PyTorch; `torch_tiles` says what they are."""

import math

from lsrl.backends.runtime.torch_grid_carry import grid_carry
from lsrl.backends.runtime.torch_tile_pieces import in_parts, tile_coefficients, tile_edges, tile_read, tile_write


def tiles_plainly(tree, coefficients, vectors, border, counts, sides, axes):
    """`grid_tiles` by operations of PyTorch, of what `tile_coefficients` gives."""
    (leaving, reading), (queries, keys, values) = coefficients, vectors
    edges, lead = leaving.shape[1], (math.prod(counts), border.shape[1])
    (through, spread), (shares, gate) = (each.tensor_split([edges], 2) for each in (leaving, reading))
    (added,) = in_parts(tile_write, edges * keys[0].numel(), keys, values, spread)
    options = (counts, axes, tile_edges(axes, sides), False, "add", tree)
    arriving, last = grid_carry(through.unflatten(0, lead), added.reshape(*lead, edges, -1), border, *options)
    states = arriving.reshape(queries.shape[0], -1, values.shape[-1])
    (found,) = in_parts(tile_read, edges * queries[0].numel(), queries, keys, values, shares, gate, states)
    return [found, arriving, last]


def tiles_by_pytorch(numbers, vectors, border, counts, sides, axes, tree):
    """What `grid_tiles` gives."""
    transition, gates, marks = numbers
    coefficients = tile_coefficients(transition, gates, marks, sides, axes)
    return tiles_plainly(tree, coefficients, vectors, border, counts, sides, axes)
