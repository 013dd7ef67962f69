"""`S' = A S + B` over a grid, in PyTorch, in any of four algebras: every place has an A of its own.

The places of a wave run at once; or places are merged in pairs, in logarithmic depth (`grid_tree`).  A place has E
edges by which states enter it, and by which they leave it; those of the first state first.  The places of a tile are
such a grid, with an edge for each state, and so are the tiles of a grid, with an edge for each place at their borders:
see `torch_tiles` and `torch_elements`.
"""

import functools
import math

import torch

from lsrl.backends.runtime.grid_tree import over_tree
from lsrl.backends.runtime.torch_grid_algebra import algebra_of
from lsrl.backends.runtime.torch_kernels import runs_kernels
from lsrl.backends.runtime.torch_operators import OPERATORS
from lsrl.backends.runtime.torch_waves import grid_waves, stretches, wave_order, wave_runs, wave_sizes
from lsrl.backends.runtime.triton_tiles_launch import launch_carry_wave


def carried_to(counts, axis, reverse):
    """Where what leaves a place along an axis arrives: at the next place, or behind all of them past the border.

    Returns:
        [places] the row of what leaves each, and [places of the border] the row where the border arrives; the places
        of the grid by wave, those of the border in row-major order.
    """
    others = (*counts[:axis], *counts[axis + 1 :])
    by_wave = wave_order(counts)
    rows = by_wave.argsort().reshape(counts)
    past = torch.arange(math.prod(others)).reshape(others).unsqueeze(axis) + math.prod(counts)
    whole = torch.cat([past, rows] if reverse else [rows, past], axis)
    following = whole.narrow(axis, 0 if reverse else 1, counts[axis]).flatten()[by_wave]
    return following, rows.select(axis, counts[axis] - 1 if reverse else 0).flatten()


@functools.lru_cache(maxsize=64)
def carry_runs(counts, axis, reverse):
    """`carried_to` as numbers: for each wave stretches (first place, first row, how many), and where borders arrive."""
    following, entering = carried_to(counts, axis, reverse)
    waves = grid_waves(counts).flatten()[wave_order(counts)]
    found: list[list[tuple[int, int, int]]] = [[] for _ in wave_sizes(counts)]
    place, places = 0, math.prod(counts)
    # One number between the places and what is past the border, so that no stretch goes from one to the other.
    for wave, row, count in stretches(following + (following >= places), waves):
        found[wave].append((place, row - (row > places), count))
        place += count
    return found, entering.tolist()


@functools.lru_cache(maxsize=64)
def carry_rows(counts, axes, widths, reverse, device):
    """`carried_to` for kernels: [places, E], the row at which what leaves by each edge arrives."""
    rows = [carried_to(counts, axis, reverse)[0][:, None].expand(-1, width) for axis, width in zip(axes, widths)]
    return torch.cat(rows, 1).to(device, torch.int32)


def carry_room(border, counts, axes, widths, reverse):
    """Room for the states that arrive at all places, those past the border behind them; and the border in it.

    Returns:
        [places + border, L, E, X], and for each state its part of that and the rows where it arrives.
    """
    entering = [carry_runs(counts, axis, reverse)[1] for axis in axes]
    rows = math.prod(counts) + max(map(len, entering))
    states = border.new_empty(rows, border.shape[1], sum(widths), border.shape[2])
    parts = states.split(widths, 2)
    starts = border.split([len(own) * width for own, width in zip(entering, widths)])
    for part, own, start in zip(parts, entering, starts):
        part[own] = start.unflatten(0, (len(own), -1)).transpose(1, 2)
    return states, [*zip(parts, entering)]


def carried_out(places, parts):
    """What is past the border, as the border is given: [edges of the border, L, X]."""
    lasts = [part[places : places + len(entering)].transpose(1, 2).flatten(0, 1) for part, entering in parts]
    return torch.cat(lasts)


@torch.library.custom_op(OPERATORS + "::grid_carry", mutates_args=())
def grid_carry(
    maps: torch.Tensor,
    added: torch.Tensor,
    border: torch.Tensor,
    counts: list[int],
    axes: list[int],
    widths: list[int],
    reverse: bool,
    join: str,
    tree: bool,
) -> list[torch.Tensor]:
    """`S' = A S + B` at every place of a grid: the states that arrive everywhere, and those that leave the grid.

    Args:
        maps: A, [P, L, E, E] with the places by wave.
        added: B, [P, L, E, X].
        border: what arrives at the grid, [edges of its border, L, X]: those of the first state first, by place.
        counts: places along each axis.
        axes, widths: the axis that each state travels along, and its edges at a place.
        reverse: from the last place to the first, on every axis.
        join: the sum, "add", "max", "min" or "logaddexp"; for all but the first, products are sums of numbers.
        tree: places are merged in pairs, and do not run by waves.

    Returns:
        [P, L, E, X], and what leaves as `border`.
    """
    grid = ((*counts,), (*axes,), (*widths,), reverse)
    if tree:
        merged: list[torch.Tensor] = carry_by_tree(algebra_of(join), maps, added, border, *grid)
        return merged
    states, parts = carry_room(border, *grid)
    if join == "add" and added.dtype == torch.float32 and runs_kernels(added):
        rows, given = carry_rows(*grid, added.device), (maps, added.contiguous(), states)
        for first, count in wave_runs(counts, reverse):
            launch_carry_wave(*given, rows, first, count)
    else:
        carry_plainly(join, maps, added, states, *grid)
    return [states[: len(added)], carried_out(len(added), parts)]


def carry_plainly(join, maps, added, states, counts, axes, widths, reverse):
    """The waves of `grid_carry` by operations of PyTorch, into the room `states` that has the border."""
    parts, algebra = states.split(widths, 2), algebra_of(join)
    runs = [carry_runs(counts, axis, reverse)[0] for axis in axes]
    waves = [*zip(wave_runs(counts), *runs)]
    for (first, count), *following in reversed(waves) if reverse else waves:
        own, through, arriving = (tensor[first : first + count].flatten(0, 1) for tensor in (added, maps, states))
        if join == "add" and added.is_floating_point():
            found = torch.baddbmm(own, through, arriving)
        else:
            found = algebra.plus(algebra.dot(through, arriving), own)
        passed = found.unflatten(0, (count, added.shape[1]))
        for part, own, own_runs in zip(parts, passed.split(widths, 2), following):
            for place, row, many in own_runs:
                part[row : row + many] = own[place - first : place - first + many]


def carry_by_tree(algebra, maps, added, border, counts, axes, widths, reverse):
    """`grid_carry` in logarithmic depth."""
    order = wave_order(counts, added.device)
    through, own = (each.index_select(0, order.argsort()).transpose(0, 1) for each in (maps, added))
    others = [(*counts[:axis], *counts[axis + 1 :], width) for axis, width in zip(axes, widths)]
    borders = border.split([math.prod(shape) for shape in others])
    starts = tuple(own.unflatten(0, shape).movedim(-2, 0) for own, shape in zip(borders, others))
    arriving, lasts = over_tree(algebra, through, own, starts, counts, axes, widths, reverse)
    whole = torch.cat([last.movedim(0, -2).flatten(0, -3) for last in lasts])
    return [arriving.transpose(0, 1).index_select(0, order), whole]


@grid_carry.register_fake
def _(maps, added, border, counts, axes, widths, reverse, join, tree):
    return [torch.empty_like(added), torch.empty_like(border)]


@grid_carry.register_vmap
def _(info, in_dims, maps, added, border, *options):
    """What is mapped over joins the lanes."""
    given = zip((maps, added, border), in_dims)
    moved = (x.unsqueeze(1) if dim is None else x.movedim(dim, 1) for x, dim in given)
    wide = (x.expand(-1, info.batch_size, *x.shape[2:]).flatten(1, 2) for x in moved)
    return [x.unflatten(1, (info.batch_size, -1)) for x in grid_carry(*wide, *options)], [1, 1]


class GridCarry(torch.autograd.Function):
    """`grid_carry` over (+, x); its adjoint is the same the other way round, so it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(maps, added, border, counts, axes, widths, reverse, tree):
        return tuple(grid_carry(maps, added, border, counts, axes, widths, reverse, "add", tree))

    @staticmethod
    def setup_context(ctx, inputs, output):
        maps, _, _, *ctx.options = inputs
        ctx.save_for_backward(maps, output[0])

    @staticmethod
    def backward(ctx, d_arriving, d_last):
        maps, arriving = ctx.saved_tensors
        *grid, reverse, tree = ctx.options
        passed, d_border = GridCarry.apply(maps.mT, d_arriving, d_last, *grid, not reverse, tree)
        return passed @ arriving.mT, passed, d_border, None, None, None, None, None
