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


def tiled_in_directions(tiled, turns, runs, *, extents, axes, **options):
    """`tiled` of several recurrences that are alike, each in a direction of its own, all at once: for each its result.

    Args:
        tiled: of `torch_grid`, or what takes layers apart for it.
        turns: for each recurrence the axes on which it is to run from the last place to the first.
        runs: for each what `tiled` takes, starts first, then lists of lists of [B, places, ...] by wave.
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
    """
    starts = [turned_edges(first, turn, axes) for (first, *_), turn in zip(runs, turns)]
    grids = [turned_grids([*tensors_in(rest)], turn, extents) for (_, *rest), turn in zip(runs, turns)]
    whole, starts = ([in_one_batch(same) for same in zip(*each)] for each in (grids, starts))
    taken = with_tensors(runs[0][1:], iter(whole))
    found, lasts = tiled(tuple(starts), *taken, extents=extents, axes=axes, **options)
    parts = [zip(*(each.unflatten(0, (len(turns), -1)).unbind() for each in every)) for every in (found, lasts)]
    return [
        (turned_grids(each, turn, extents), turned_edges(last, turn, axes)) for each, last, turn in zip(*parts, turns)
    ]


def tensors_in(nested):
    """The tensors in lists of lists, without what is None."""
    if isinstance(nested, torch.Tensor):
        yield nested
    for each in () if nested is None or isinstance(nested, torch.Tensor) else nested:
        yield from tensors_in(each)


def with_tensors(nested, tensors):
    """Lists of lists with other tensors in the places of theirs."""
    if nested is None or isinstance(nested, torch.Tensor):
        return None if nested is None else next(tensors)
    return [with_tensors(each, tensors) for each in nested]
