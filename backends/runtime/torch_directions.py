"""A loop over a grid in any direction, or in several at once, in PyTorch: it runs forward on what is turned round."""

import torch

from lsrl.backends.runtime.torch_waves import wave_order


def in_directions(loop, turns, reads, statics, starts, extents, axes):
    """A loop in each of several directions, all at once: for each what is kept of every place, then the last states.

    Args:
        loop: from reads, statics, starts and extents to what is kept and the last states; it runs forward.
        turns: for each direction the axes on which it is to run from the last place to the first.
        reads: for each direction tensors [B, places, ...], by wave.
        statics: what is the same at all places and for all directions.
        starts: for each direction and state where it enters, [B, *extents of the other axes, ...].
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
    """
    reads = [turned_grids(each, turn, extents) for each, turn in zip(reads, turns)]
    starts = [turned_edges(each, turn, axes) for each, turn in zip(starts, turns)]
    found = loop(*map(in_one_batch, zip(*reads)), *statics, *map(in_one_batch, zip(*starts)), extents)
    parts = zip(*(whole.unflatten(0, (len(turns), -1)).unbind() for whole in found))
    kept = len(found) - len(axes)
    return [
        [*turned_grids(each[:kept], turn, extents), *turned_edges(each[kept:], turn, axes)]
        for each, turn in zip(parts, turns)
    ]


def in_one_batch(tensors):
    """Tensors of several directions side by side."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def turned_grids(tensors, turn, extents):
    """Tensors [B, places, ...] by wave, on some axes of the grid from the last place to the first."""
    if not turn or not tensors:
        return list(tensors)
    order = wave_order(extents, tensors[0].device)
    mirrored = order.argsort().reshape(extents).flip(turn).flatten()[order]
    return [tensor.index_select(1, mirrored) for tensor in tensors]


def turned_edges(borders, turn, axes):
    """What enters or leaves along the axis of each state, on some other axes from the last place to the first."""
    ways = [[1 + other - (other > axis) for other in turn if other != axis] for axis in axes]
    return [border.flip(way) if way else border for border, way in zip(borders, ways)]
