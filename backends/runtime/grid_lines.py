"""Lines of a grid along one of its axes, as sequences: what enters and leaves them, and how many there are."""

import math


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
