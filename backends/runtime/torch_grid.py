"""An affine recurrence over a grid that is cut into tiles and put together again, in PyTorch.

Tiles of `torch_tiles` need not divide the grid: past its ends there are places that add nothing and pass every state
straight on.
"""

import math

import torch
import torch.nn.functional as F

from lsrl.backends.runtime.torch_tiles import GridTiles
from lsrl.backends.runtime.torch_waves import wave_order


def tiled(starts, transition, gates, keys, values, reads, *, extents, axes, sides, reverse=(), tree=False):
    """The products of the states with vectors at every place, and the last states.

    Args:
        starts: for each state what arrives at the grid, [B, *extents of the other axes, *lanes, K, V].
        transition: T, a list of lists [to][from] of [B, places, *lanes], or None for 0; places by wave.
        gates: g, a list of lists [state][outer product] of [B, places, *lanes], or None for 0.
        keys, values: k and v, lists of [B, places, *lanes, K] and [B, places, *lanes, V].
        reads: a list of (q, w): [B, places, *lanes, K], and a list with [B, places, *lanes] for each state, or None.
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
        sides: places of a tile along each axis, at most.
        reverse: the axes on which it runs from the last place to the first.
        tree: from tile to tile in logarithmic depth.

    Returns:
        A list of [B, places, *lanes, V], and the last states.
    """
    first, dtype = starts[0], torch.promote_types(starts[0].dtype, torch.float32)
    whole = (first.shape[0], math.prod(extents), *first.shape[len(extents) : -2])
    if 0 in (*whole, *first.shape):
        return [first.new_zeros(*whole, first.shape[-1]) for _ in reads], starts
    sides = tuple(min(side, extent) for side, extent in zip(sides, extents))
    cut = GridCut(tuple(extents), sides, reverse, whole, first.device)
    zero = first.new_zeros((), dtype=dtype).expand(whole)
    straight = torch.eye(len(axes), dtype=dtype, device=first.device)
    queries, marks = zip(*reads)
    tables = ((transition, straight), (gates, None), (marks, None))
    numbers = [cut.table(lists, beyond, zero) for lists, beyond in tables]
    vectors = [cut.vectors(each, dtype) for each in (queries, keys, values)]
    borders = [cut.border(start.to(dtype), axis) for start, axis in zip(starts, axes)]
    options = (cut.counts, sides, tuple(axes), tree)
    found, _, last = GridTiles.apply(*numbers, *vectors, torch.cat(borders), *options)
    by_place = cut.by_place(found).reshape(*whole, len(reads), first.shape[-1])
    lasts = zip(last.split([border.shape[0] for border in borders]), axes, starts)
    ends = (cut.of_border(last, axis).reshape(start.shape) for last, axis, start in lasts)
    return [*by_place.unbind(-2)], tuple(ends)


class GridCut:
    """A grid in tiles.

    Attributes:
        counts: tiles along each axis.
        rows: for each tile, sequence, lane and place of the tile the row of that place in [B places lanes], -1 past
            the ends of the grid; tiles and places by wave.
        back: for each of those rows where it is in `rows`.
    """

    def __init__(self, extents, sides, reverse, whole, device):
        self.extents, self.sides = extents, sides
        self.flipped = [axis in reverse for axis in range(len(extents))]
        self.batch, places, self.lanes = whole[0], whole[1], math.prod(whole[2:])
        self.counts = tuple(-(-extent // side) for extent, side in zip(extents, sides))
        ranks = 1 + wave_order(extents, device).argsort().reshape(1, *extents, 1, 1)
        tiles = in_tiles(flipped(ranks, self.flipped), sides)[:, 0, :, 0] - 1
        tiles = tiles[wave_order(self.counts, device)][:, wave_order(sides, device)]
        batch, lane = (torch.arange(count, device=device)[:, None] for count in (self.batch, self.lanes))
        rows = (batch[..., None] * places + tiles[:, None, None]) * self.lanes + lane
        self.rows = rows.where(tiles[:, None, None] >= 0, -1).flatten()
        order = tiles.flatten().where(tiles.flatten() >= 0, places).argsort()[:places, None]
        tile, inner = order // tiles.shape[1], order % tiles.shape[1]
        lanes = (tile * self.batch + batch[..., None]) * self.lanes + lane[:, 0]
        self.back = (lanes * tiles.shape[1] + inner).flatten()

    def vectors(self, tensors, dtype):
        """Vectors [B, places, *lanes, X], m of them at each place, as [tiles B lanes, p m, X]."""
        stacked = torch.stack(tensors, -2).to(dtype)
        found = GridRows.apply(stacked.flatten(0, -3).flatten(1), self.rows, self.back)
        return found.reshape(-1, math.prod(self.sides) * len(tensors), stacked.shape[-1])

    def table(self, lists, beyond, zero):
        """Numbers [B, places, *lanes], a table of them at each place, as [p, tiles B lanes, rows, columns].

        Args:
            beyond: the table past the ends of the grid, None for zeros.
            zero: what stands for None.
        """
        stacked = torch.stack([zero if each is None else each.to(zero) for row in lists for each in row], -1)
        found = GridRows.apply(stacked.flatten(0, -2), self.rows, self.back).unflatten(1, (len(lists), -1))
        if beyond is not None and self.rows.shape[0] > self.back.shape[0]:
            found = torch.where((self.rows < 0)[:, None, None], beyond, found)
        return found.unflatten(0, (-1, math.prod(self.sides))).transpose(0, 1).contiguous()

    def by_place(self, found):
        """What is read, [tiles B lanes, p r, V], as [B places lanes, r V]."""
        return GridRows.apply(found.reshape(self.rows.shape[0], -1), self.back, self.rows)

    def border(self, start, axis):
        """What arrives at the grid along an axis, [edges of the border, B lanes, K V], edges by tile."""
        others, sides, flips = (without(each, axis) for each in (self.extents, self.sides, self.flipped))
        flat = start.reshape(self.batch, *others, self.lanes, -1)
        return in_tiles(flipped(flat, flips), sides).transpose(1, 2).flatten(0, 1)

    def of_border(self, last, axis):
        """The inverse of `border`: [B, *others, lanes, K V]."""
        others, sides, counts = (without(each, axis) for each in (self.extents, self.sides, self.counts))
        rank, flips = len(others), without(self.flipped, axis)
        grid = last.reshape(*counts, *sides, self.batch, self.lanes, last.shape[-1])
        pairs = [place for axis in range(rank) for place in (axis, rank + axis)]
        whole = grid.permute(-3, *pairs, -2, -1)
        whole = whole.reshape(self.batch, *(c * s for c, s in zip(counts, sides)), self.lanes, last.shape[-1])
        return flipped(whole[(slice(None), *map(slice, others))], flips)


def without(numbers, axis):
    """The numbers of the other axes."""
    return (*numbers[:axis], *numbers[axis + 1 :])


def flipped(tensor, flips):
    """[B, *places, ...] with the places in the order of computation; which axes are to be flipped."""
    axes = [axis for axis, flip in enumerate(flips, 1) if flip]
    return tensor.flip(axes) if axes else tensor


def in_tiles(tensor, sides):
    """[B, *extents, lanes, X] as [tiles, B lanes, places of a tile, X], both in row-major order; past the ends zero."""
    rank = len(sides)
    batch, *extents, lanes, width = tensor.shape
    ends = [(0, -extent % side) for extent, side in zip(extents, sides)]
    filled = F.pad(tensor, [0, 0, 0, 0, *(end for pair in reversed(ends) for end in pair)])
    pairs = [number for side, extent in zip(sides, filled.shape[1:]) for number in (extent // side, side)]
    grid = filled.reshape(batch, *pairs, lanes, width)
    moved = grid.permute(*range(1, 1 + 2 * rank, 2), 0, -2, *range(2, 2 + 2 * rank, 2), -1)
    return moved.reshape(-1, batch * lanes, math.prod(sides), width)


class GridRows(torch.autograd.Function):
    """Rows of [n, X] in another order, zeros for -1; where each row is taken at most once, with the inverse order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tensor, rows, back):
        found = tensor.index_select(0, rows.clamp(min=0))
        return found.where((rows >= 0)[:, None], 0) if rows.shape[0] > back.shape[0] else found

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, gradient):
        rows, back = ctx.saved_tensors
        return GridRows.apply(gradient, back, rows), None, None
