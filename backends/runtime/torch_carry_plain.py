"""`S' = A S + B` over a grid by operations of PyTorch: `torch_grid_carry` says what for."""

import functools
import math

import torch

from lsrl.backends.runtime.grid_tree import over_tree
from lsrl.backends.runtime.torch_grid_algebra import algebra_of
from lsrl.backends.runtime.torch_waves import grid_waves, stretches, wave_order, wave_runs, wave_sizes


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
