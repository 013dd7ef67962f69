"""What arrives at every tile of a grid, in logarithmic depth: tiles are merged in pairs, axis by axis.

A tile passes on `leaving = through @ arriving + added`, in any algebra, a number for each edge by which states enter
and leave it.  Two neighbours are again such a tile: what crosses the border between them leaves the first and arrives
at the second.  So a tree of merges gives the map of the whole grid, and what arrives at it, given back down the tree,
what arrives at every tile.  Pöppel et al., 2025, "pLSTM: parallelizable Linear Source Transition Mark networks",
section 3, merge two by two tiles at once; one axis at a time does with any number of tiles and of axes.
"""

import math

import numpy as np


def over_tree(algebra, through, added, starts, counts, axes, edges, reverse=False):
    """What arrives at every tile, [L, tiles, E, X], and for each state what leaves the grid.

    Args:
        algebra: the framework's, of `jax_grid_algebra` or `torch_grid_algebra`.
        through: [L, tiles, E, E], tiles in row-major order; the edges of the first state first, in both.
        added: [L, tiles, E, X].
        starts: for each state what arrives at the grid, [L, *counts of the other axes, edges, X].
        counts: tiles along each axis.
        axes: the axis that each state travels along.
        edges: by how many edges each state enters a tile.
        reverse: from the last tile to the first, on every axis.
    """
    rank, arrays = len(counts), algebra.arrays
    through, added = (each.reshape(each.shape[0], *counts, *each.shape[2:]) for each in (through, added))
    if reverse:
        through, added = (arrays.flip(each, (*range(1, 1 + rank),)) for each in (through, added))
        starts = tuple(arrays.flip(start, (*range(1, rank),)) for start in starts)
    levels, (whole_map, block) = merged_tiles(algebra, through, added, axes, edges)
    whole = arrays.concatenate([whole_border(algebra, s, axis, block) for s, axis in zip(starts, axes)], 1)
    leaving = algebra.plus(algebra.dot(whole_map[0], whole), whole_map[1])
    arriving = whole.reshape(whole.shape[0], *(1,) * rank, *whole.shape[1:])
    for level in reversed(levels):
        arriving = arriving_of_halves(algebra, arriving, *level)
    lasts = parted_border(leaving, starts, axes, block)
    if reverse:
        arriving = arrays.flip(arriving, (*range(1, 1 + rank),))
        lasts = tuple(arrays.flip(last, (*range(1, rank),)) for last in lasts)
    return arriving.reshape(arriving.shape[0], math.prod(counts), *arriving.shape[1 + rank :]), lasts


def merged_tiles(algebra, through, added, axes, edges):
    """The levels of the tree, each with what `arriving_of_halves` needs, and the map of the whole grid.

    Returns:
        The levels, then ((through [L, E, E], added [L, E, X]), the number of tiles along each axis, padded).
    """
    rank = through.ndim - 3
    block, levels = (1,) * rank, []
    while math.prod(through.shape[1 : 1 + rank]) > 1:
        counts = through.shape[1 : 1 + rank]
        axis = counts.index(max(counts))
        through, added = even_tiles(algebra, through, added, axis)
        (first, second), (early, late) = (halves(each, axis) for each in (through, added))
        enters, leaves, crossing = merged_edges(block, axes, edges, axis)
        levels.append((first, early, axis, counts[axis], enters, crossing))
        through = merged_through(algebra, first, second, crossing)[..., leaves, :][..., enters]
        crossed = algebra.dot(second[..., crossing], early[..., crossing, :])
        added = algebra.arrays.concatenate([early, algebra.plus(crossed, late)], -2)[..., leaves, :]
        block = tuple(2 * side if at == axis else side for at, side in enumerate(block))
    start = (slice(None), *(0,) * rank)
    return levels, ((through[start], added[start]), block)


def merged_through(algebra, first, second, crossing):
    """What leaves either of two neighbours, of what arrives at either: [..., 2 E, 2 E].

    The columns of edges by which the first leads into the second have no meaning.
    """
    arrays, onward = algebra.arrays, algebra.dot(second[..., crossing], first[..., crossing, :])
    upper = arrays.concatenate([first, arrays.full_like(first, algebra.zero)], -1)
    return arrays.concatenate([upper, arrays.concatenate([onward, second], -1)], -2)


def arriving_of_halves(algebra, arriving, first, early, axis, count, enters, crossing):
    """What arrives at the tiles that were merged, `count` along an axis, of what arrives at the merged ones."""
    arrays, size = algebra.arrays, first.shape[-1]
    place = np.zeros(2 * size, int)
    place[enters] = np.arange(len(enters))
    place[size + crossing] = len(enters) + np.arange(len(crossing))
    at_first = arriving[..., place[:size], :]
    crossed = algebra.plus(algebra.dot(first[..., crossing, :], at_first), early[..., crossing, :])
    at_second = arrays.concatenate([arriving, crossed], -2)[..., place[size:], :]
    both = arrays.stack([at_first, at_second], 2 + axis)
    whole = both.reshape(*both.shape[: 1 + axis], -1, *both.shape[3 + axis :])
    return whole[(slice(None),) * (1 + axis) + (slice(count),)]


def even_tiles(algebra, through, added, axis):
    """An even number of tiles along an axis: one more, if need be, that passes everything straight on."""
    if through.shape[1 + axis] % 2 == 0:
        return through, added
    arrays, one = algebra.arrays, (slice(None),) * (1 + axis) + (slice(1),)
    straight = arrays.broadcast_to(algebra.eye(through), through[one].shape)
    nothing = arrays.full_like(added[one], algebra.zero)
    return arrays.concatenate([through, straight], 1 + axis), arrays.concatenate([added, nothing], 1 + axis)


def halves(array, axis):
    """The first and the second of every two neighbours along an axis of the grid."""
    pairs = array.reshape(*array.shape[: 1 + axis], -1, 2, *array.shape[2 + axis :])
    before = (slice(None),) * (2 + axis)
    return pairs[(*before, 0)], pairs[(*before, 1)]


def merged_edges(block, axes, edges, along):
    """Which of the edges of two neighbouring blocks, one behind the other, are those of both as one.

    Args:
        block: tiles of a block along each axis.
        along: the axis on which they are neighbours.

    Returns:
        By which states enter, by which they leave, and by which they cross from the first into the second.
    """
    enters, leaves, crossing, before = [], [], [], 0
    size = sum(count * math.prod(block) // block[axis] for axis, count in zip(axes, edges))
    for axis, count in zip(axes, edges):
        others = (*block[:axis], *block[axis + 1 :])
        first = before + np.arange(math.prod(others) * count).reshape(*others, count)
        before += first.size
        if axis == along:
            enters.append(first.ravel())
            leaves.append(first.ravel() + size)
            crossing.append(first.ravel())
        else:
            both = np.concatenate([first, first + size], along - (along > axis)).ravel()
            enters.append(both)
            leaves.append(both)
    none = [np.zeros(0, int)]
    return np.concatenate(enters), np.concatenate(leaves), np.concatenate(crossing or none)


def whole_border(algebra, start, axis, block):
    """What arrives at the grid along an axis, [L, others * edges, X], nothing at the tiles past its ends."""
    arrays, others = algebra.arrays, (*block[:axis], *block[axis + 1 :])
    nothing = arrays.full_like(start[(slice(None), *(slice(1) for _ in others))], algebra.zero)
    for other, count in enumerate(others, 1):
        shape = (*start.shape[:other], count - start.shape[other], *start.shape[other + 1 :])
        start = arrays.concatenate([start, arrays.broadcast_to(nothing, shape)], other)
    return start.reshape(start.shape[0], -1, start.shape[-1])


def parted_border(leaving, starts, axes, block):
    """What leaves the grid, for each state as its start is given."""
    found, before = [], 0
    for start, axis in zip(starts, axes):
        others = (*block[:axis], *block[axis + 1 :])
        size = math.prod(others) * start.shape[-2]
        own = leaving[:, before : before + size].reshape(-1, *others, *start.shape[-2:])
        found.append(own[(slice(None), *(slice(count) for count in start.shape[1 : 1 + len(others)]))])
        before += size
    return tuple(found)
