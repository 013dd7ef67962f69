"""Tiles of an affine recurrence over a grid, in PyTorch: what each makes of what arrives, and the derivative.

At every place of a grid states S_i, each travelling along one axis, become

    S_i' = sum_j T[i, j] S_j + sum_m g[i, m] k_m v_m^T,      read:  sum_j w[j] q^T S_j

with numbers T, g and w.  Within a tile of a few places along each axis everything that is read or leaves is linear in
the states that arrive at the near borders and in the outer products of the places.  Its coefficients are what the
recurrence itself makes of unit vectors.  With them all is products of matrices, for all tiles at once, but for the
states at the borders of tiles, which run over the grid of tiles as the coefficients over the places of one: `GridCarry`
does both.  This is the chunkwise form of Poeppel et al., 2025, "pLSTM: parallelizable Linear Source Transition Mark
networks", section 3, for tiles with any sides and states along any axes.

What is kept for derivatives: what went in, and the states between tiles; coefficients are computed again.

Axes within: G tiles by wave, L sequences and lanes, p places of a tile by wave, n states, m outer products, r reads;
E edges by which states enter a tile and leave it, those of the first state first.
"""

import functools
import itertools
import math

import torch

from lsrl.backends.runtime.torch_operators import OPERATORS
from lsrl.backends.runtime.torch_waves import wave_order, wave_sizes


@functools.lru_cache(maxsize=64)
def carry_rows(counts, axis, reverse, device):
    """Where what leaves a place along an axis arrives: at the next place, or behind all of them past the border.

    Returns:
        [places] by wave the row of what leaves each; [places of the border] the rows at which the border arrives, and
        those of what leaves the grid.
    """
    places = math.prod(counts)
    others = (*counts[:axis], *counts[axis + 1 :])
    by_wave = wave_order(counts)
    rows = by_wave.argsort().reshape(counts)
    past = torch.arange(places, places + math.prod(others)).reshape(others).unsqueeze(axis)
    whole = torch.cat([past, rows] if reverse else [rows, past], axis)
    following = whole.narrow(axis, 0 if reverse else 1, counts[axis]).flatten()[by_wave]
    entering = rows.select(axis, counts[axis] - 1 if reverse else 0).flatten()
    return following.to(device), entering.to(device), past.flatten().to(device)


@torch.library.custom_op(OPERATORS + "::grid_carry", mutates_args=())
def grid_carry(
    maps: torch.Tensor,
    added: torch.Tensor,
    border: torch.Tensor,
    counts: list[int],
    axes: list[int],
    widths: list[int],
    reverse: bool,
) -> list[torch.Tensor]:
    """`S' = A S + B` at every place of a grid: the states that arrive everywhere, and those that leave.

    Args:
        maps: A, [P, L, E, E] with the places by wave; rows and columns are the edges of the states, one after another.
        added: B, [P, L, E, X].
        border: what arrives at the grid, [edges of its border, L, X]: those of the first state first, by place.
        counts: places along each axis.
        axes, widths: the axis that each state travels along, and its edges at a place.
        reverse: from the last place to the first, on every axis.

    Returns:
        [P, L, E, X], and what leaves the grid as `border`.
    """
    places, lanes, edges, columns = added.shape
    tables = [carry_rows((*counts,), axis, reverse, added.device) for axis in axes]
    states = added.new_empty(places + max(len(leaving) for _, _, leaving in tables), lanes, edges, columns)
    parts = states.split(widths, 2)
    starts = border.split([len(entering) * width for (_, entering, _), width in zip(tables, widths)])
    for part, start, (_, entering, _) in zip(parts, starts, tables):
        part.index_copy_(0, entering, start.unflatten(0, (len(entering), -1)).transpose(1, 2))
    sizes = wave_sizes((*counts,))
    runs = [*zip(itertools.accumulate(sizes, initial=0), sizes)]
    for first, count in reversed(runs) if reverse else runs:
        here = slice(first, first + count)
        flat = (tensor[here].flatten(0, 1) for tensor in (added, maps, states))
        passed = torch.baddbmm(*flat).unflatten(0, (count, lanes))
        for part, own, (following, _, _) in zip(parts, passed.split(widths, 2), tables):
            part.index_copy_(0, following[here], own)
    lasts = [part[leaving].transpose(1, 2).flatten(0, 1) for part, (_, _, leaving) in zip(parts, tables)]
    return [states[:places], torch.cat(lasts)]


@grid_carry.register_fake
def _(maps, added, border, counts, axes, widths, reverse):
    return [torch.empty_like(added), torch.empty_like(border)]


@grid_carry.register_vmap
def _(info, in_dims, maps, added, border, *options):
    """What is mapped over joins the lanes."""
    given = zip((maps, added, border), in_dims)
    moved = (x.unsqueeze(1) if dim is None else x.movedim(dim, 1) for x, dim in given)
    wide = (x.expand(-1, info.batch_size, *x.shape[2:]).flatten(1, 2) for x in moved)
    return [x.unflatten(1, (info.batch_size, -1)) for x in grid_carry(*wide, *options)], [1, 1]


class GridCarry(torch.autograd.Function):
    """`grid_carry`; its adjoint is the same the other way round, so it can be differentiated again and again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(maps, added, border, counts, axes, widths, reverse):
        return tuple(grid_carry(maps, added, border, counts, axes, widths, reverse))

    @staticmethod
    def setup_context(ctx, inputs, output):
        maps, _, _, *ctx.options = inputs
        ctx.save_for_backward(maps, output[0])

    @staticmethod
    def backward(ctx, d_arriving, d_last):
        maps, arriving = ctx.saved_tensors
        *options, reverse = ctx.options
        passed, d_border = GridCarry.apply(maps.mT, d_arriving, d_last, *options, not reverse)
        return passed @ arriving.mT, passed, d_border, None, None, None, None


def tile_coefficients(transition, gates, marks, sides, axes):
    """What a tile makes of the states that arrive and of the outer products of its places.

    Args:
        transition, gates, marks: T [p, N, n, n], g [p, N, n, m] and w [p, N, r, n] for N tiles.

    Returns:
        Of every state that leaves: its shares of those that arrive, [N, E, E], and of outer products, [N, E, p m]; of
        every read: its shares of states, [N, p r, E], and of outer products, [N, p r, p m].
    """
    places, tiles, states, products = gates.shape
    cut = sum(tile_edges(axes, sides))
    unit = torch.eye(cut, cut + places * products, dtype=gates.dtype, device=gates.device)
    here = torch.eye(places, dtype=gates.dtype, device=gates.device)[:, None, None, :, None]
    own = (here * gates[:, :, :, None]).flatten(3)
    added = torch.cat([own.new_zeros(*own.shape[:3], cut), own], 3)
    border = unit[:, None].expand(-1, tiles, -1)
    arriving, last = GridCarry.apply(transition, added, border, sides, axes, [1] * states, False)
    leaving, read = last.transpose(0, 1), (marks @ arriving).transpose(0, 1).flatten(1, 2)
    return leaving[..., :cut], leaving[..., cut:], read[..., :cut], read[..., cut:]


def tile_edges(axes, sides):
    """By how many edges each state enters a tile, and leaves it."""
    return [math.prod(sides) // sides[axis] for axis in axes]


def tile_outer(numbers, vectors):
    """Each row's outer product of its numbers [N, x, E] and its vector [N, x, K], as a row: [N, x, E K]."""
    return (numbers[..., None] * vectors[:, :, None]).flatten(2)


class GridTiles(torch.autograd.Function):
    """What is read at every place, the states that arrive at tiles, and those that leave at the far borders.

    Takes T [p, G L, n, n], g [p, G L, n, m], w [p, G L, r, n]; q [G L, p r, K], k [G L, p m, K], v [G L, p m, V]; what
    arrives at the grid, [edges of its border, L, K V].  Gives [G L, p r, V], [G, L, E, K V], and what leaves as what
    arrives.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(transition, gates, marks, queries, keys, values, border, counts, sides, axes):
        through, spread, shares, gate = tile_coefficients(transition, gates, marks, sides, axes)
        lead = (math.prod(counts), border.shape[1])
        added = (tile_outer(spread.mT, keys).mT @ values).reshape(*lead, through.shape[1], -1)
        options = (counts, axes, tile_edges(axes, sides), False)
        arriving, last = GridCarry.apply(through.unflatten(0, lead), added, border, *options)
        whole = arriving.reshape(len(queries), -1, values.shape[-1])
        found = torch.baddbmm((queries @ keys.mT * gate) @ values, tile_outer(shares, queries), whole)
        return found, arriving, last

    @staticmethod
    def setup_context(ctx, inputs, output):
        *given, _, counts, sides, axes = inputs
        ctx.options = counts, sides, axes
        ctx.save_for_backward(*given, output[1])

    @staticmethod
    def backward(ctx, d_found, d_arriving, d_last):
        counts, sides, axes = ctx.options
        *numbers, queries, keys, values, arriving = ctx.saved_tensors
        coefficients = functools.partial(tile_coefficients, sides=sides, axes=axes)
        (through, spread, shares, gate), pull = torch.func.vjp(coefficients, *numbers)
        whole = arriving.reshape(len(queries), -1, values.shape[-1])
        # What is read of the states that arrive, and the states that leave.
        d_read = (d_found @ whole.mT).unflatten(2, (through.shape[1], -1))
        d_shares, d_queries = (d_read @ queries[..., None])[..., 0], (shares[:, :, None] @ d_read)[:, :, 0]
        d_arriving = d_arriving + (tile_outer(shares, queries).mT @ d_found).reshape(arriving.shape)
        maps, options = through.unflatten(0, arriving.shape[:2]), (counts, axes, tile_edges(axes, sides), True)
        d_passed, d_border = GridCarry.apply(maps.mT, d_arriving, d_last, *options)
        d_through = (d_passed @ arriving.mT).flatten(0, 1)
        # What leaves of the outer products of the tile.
        d_whole = d_passed.reshape(whole.shape)
        d_added = (values @ d_whole.mT).unflatten(2, (through.shape[1], -1))
        d_spread, d_keys = (d_added @ keys[..., None])[..., 0].mT, (spread.mT[:, :, None] @ d_added)[:, :, 0]
        d_values = tile_outer(spread.mT, keys) @ d_whole
        # What is read of them within it.
        products, d_scores = queries @ keys.mT, d_found @ values.mT
        d_products = d_scores * gate
        d_queries, d_keys = torch.baddbmm(d_queries, d_products, keys), torch.baddbmm(d_keys, d_products.mT, queries)
        d_values = torch.baddbmm(d_values, (products * gate).mT, d_found)
        d_numbers = pull((d_through, d_spread, d_shares, d_scores * products))
        return *d_numbers, d_queries, d_keys, d_values, d_border, None, None, None
