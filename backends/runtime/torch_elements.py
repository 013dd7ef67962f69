"""Recurrences over a grid whose elements meet only at the same place, in tiles, in PyTorch; in any of four algebras.

At every place of a grid, element by element, states that each travel along one axis become

    h_i' = sum_j T[i, j] h_j + b_i

where sum and product are those of (+, x), (max, +), (min, +) or (log-sum-exp, +).  What arrives anywhere in a tile, and
what leaves it, is affine in what arrives at its near borders; the coefficients are what the recurrence itself makes of
ones and zeros, for all tiles at once.  Then numbers go from tile to tile.  Both are `grid_carry`.  The derivative of a
step is a step over (+, x), whose transition are the shares of the operands in each sum; so the adjoint is the same
function from the last place to the first.

Axes within: G tiles by wave, L sequences and elements, N tiles of all of these, p places of a tile by wave, n states,
E edges by which states enter a tile and leave it, those of the first state first.
"""

import math

import torch

from lsrl.backends.runtime.grid_algebra import affine_map, element_shares, element_step
from lsrl.backends.runtime.torch_grid import GridCut
from lsrl.backends.runtime.torch_grid_algebra import algebra_of
from lsrl.backends.runtime.torch_grid_carry import grid_carry
from lsrl.backends.runtime.torch_tile_pieces import tile_edges


def tiled_elements(join, matrix, rest, starts, *, extents, axes, sides, reverse=(), tree=False):
    """What arrives at every place, what every place passes on, and the last states; a list for each.

    Args:
        join: "add", "max", "min" or "logaddexp"; for all but the first, entries of the matrix are added to states.
        matrix: T, a list of lists [to][from] of what broadcasts to [B, places, *shape], or None for no part.
        rest: b, a list of [B, places, *shape], or None; places by wave.
        starts: for each state what arrives at the grid, [B, *extents of the other axes, *shape].
        extents, axes, sides, reverse, tree: as in `tiled` of `torch_grid`.
    """
    first, zero = starts[0], algebra_of(join).zero
    whole = (first.shape[0], math.prod(extents), *first.shape[len(extents) :])
    if 0 in whole:
        nothing = [first.new_zeros(whole) for _ in starts]
        return nothing, nothing, starts
    sides = tuple(min(side, extent) for side, extent in zip(sides, extents))
    cut = GridCut(tuple(extents), sides, reverse, whole, first.device)

    def table(lists, beyond):
        rows = [[zero if each is None else each for each in row] for row in lists]
        wide = [[torch.as_tensor(x, dtype=first.dtype, device=first.device).expand(whole) for x in row] for row in rows]
        return cut.table(wide, beyond, wide[0][0])

    through = table(matrix, algebra_of(join).eye(first.new_empty(len(axes), len(axes))))
    added = table([rest], first.new_tensor(zero)).squeeze(2)
    borders = [cut.border(start, axis) for start, axis in zip(starts, axes)]
    options = (join, cut.counts, sides, tuple(axes), False, tree)
    arriving, following, last = ElementStates.apply(through, added, torch.cat(borders), *options)
    both = (cut.by_place(each.transpose(0, 1)) for each in (arriving, following))
    states = ([*each.reshape(*whole, len(axes)).unbind(-1)] for each in both)
    lasts = zip(last.split([border.shape[0] for border in borders]), axes, starts)
    ends = (cut.of_border(last, axis).reshape(start.shape) for last, axis, start in lasts)
    return *states, tuple(ends)


class ElementStates(torch.autograd.Function):
    """What arrives at every place of all tiles and what it passes on, [p, N, n], and what leaves the grid.

    It takes T [p, N, n, n], b [p, N, n] and what arrives at the grid, [edges of its border, L, 1]; then the sum, tiles
    along each axis, places of a tile along each axis, the axis that each state travels along, whether all runs from the
    last place to the first, and whether tiles are merged in pairs.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(through, rest, border, join, counts, sides, axes, reverse, tree):
        arriving, last = arriving_elements(through, rest, border, join, counts, sides, axes, reverse, tree)
        return arriving, element_step(algebra_of(join), through, arriving, rest), last

    @staticmethod
    def setup_context(ctx, inputs, output):
        through, rest, _, *ctx.options = inputs
        ctx.save_for_backward(through, rest, output[0])

    @staticmethod
    def backward(ctx, d_arriving, d_following, d_last):
        through, rest, arriving = ctx.saved_tensors
        join, *grid, reverse, tree = ctx.options
        shares, of_rest = element_shares(algebra_of(join), through, arriving, rest)
        added = (shares.mT @ d_following[..., None])[..., 0] + d_arriving
        passed, _, d_border = ElementStates.apply(shares.mT, added, d_last, "add", *grid, not reverse, tree)
        total = d_following + passed
        d_through = total[..., None] * (arriving[..., None, :] if join == "add" else shares)
        return d_through, total * of_rest, d_border, None, None, None, None, None, None


def arriving_elements(through, rest, border, join, counts, sides, axes, reverse, tree):
    """What arrives at every place, [p, N, n], and what leaves the grid."""
    algebra, edges = algebra_of(join), tile_edges(axes, sides)
    coefficients, leaving = element_coefficients(algebra, through, rest, (sides, axes, [1] * len(axes), reverse, join))
    maps, added = leaving.unflatten(0, (math.prod(counts), -1)).tensor_split([sum(edges)], -1)
    at_tiles, last = grid_carry(maps, added, border, counts, axes, edges, reverse, join, tree)
    found = affine_map(algebra, coefficients.transpose(0, 1).flatten(1, 2), at_tiles.flatten(0, 1)[..., 0])
    return found.unflatten(1, (-1, len(axes))).transpose(0, 1), last


def element_coefficients(algebra, through, rest, options):
    """What arrives at each place of a tile and what leaves it, of what arrives at the tile and, last, of its places.

    Args:
        options: those of `grid_carry` over the places of a tile.

    Returns:
        [p, N, n, E + 1] and [N, E, E + 1].
    """
    sides, axes, *_ = options
    edges = sum(tile_edges(axes, sides))
    nothing = rest.new_full((), algebra.zero)
    own = torch.cat([nothing.expand(*rest.shape, edges), rest[..., None]], -1)
    unit = torch.cat([algebra.eye(rest.new_empty(edges, edges)), nothing.expand(edges, 1)], 1)
    border = unit[:, None].expand(-1, rest.shape[1], -1)
    arriving, last = grid_carry(through, own, border, *options, False)
    return arriving, last.transpose(0, 1)
