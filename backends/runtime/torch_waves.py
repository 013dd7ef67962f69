"""Recurrences over grids in PyTorch: a wave is the places whose coordinates have the same sum, and runs at once.

Inside of a module the places of a grid lie in a row by wave, and in row-major order within a wave: so each wave is a
stretch of every tensor, and what arrives in it lies in few stretches of the wave before and of the grid's border.
"""

import functools
import itertools
import math

import torch


def grid_waves(extents, device=None):
    """The wave of each place of a grid: [*extents]."""
    waves = torch.zeros((1,) * len(extents), dtype=torch.int64, device=device)
    for axis, extent in enumerate(extents):
        waves = waves + torch.arange(extent, device=device).reshape(-1, *(1,) * (len(extents) - axis - 1))
    return waves


def wave_order(extents, device=None):
    """The row-major numbers of the places of a grid, by wave: [places]."""
    return grid_waves(extents, device).flatten().argsort(stable=True)


def in_waves(tensor, rank):
    """A tensor over a grid, [B, *extents, ...], with its places in a row by wave, [B, places, ...]."""
    extents, shape = tensor.shape[1 : 1 + rank], tensor.shape[1 + rank :]
    flat = tensor.reshape(tensor.shape[0], math.prod(extents), *shape)
    return flat if rank < 2 else flat.index_select(1, wave_order(extents, tensor.device))


def on_grid(tensor, extents):
    """A tensor whose places lie in a row by wave with an axis for each of the grid's, [B, *extents, ...]."""
    if len(extents) > 1:
        tensor = tensor.index_select(1, wave_order(extents, tensor.device).argsort())
    return tensor.reshape(tensor.shape[0], *extents, *tensor.shape[2:])


def grid_neighbours(extents, axis, reverse=False, device=None):
    """Where in the border followed by all places, both by wave, lies what arrives along an axis, and what leaves.

    Returns:
        [places] by wave what arrives at each; [*extents of the other axes] what leaves the grid.
    """
    others = (*extents[:axis], *extents[axis + 1 :])
    edge = wave_order(others, device).argsort().reshape(others).unsqueeze(axis)
    order = wave_order(extents, device)
    places = edge.numel() + order.argsort().reshape(extents)
    whole = torch.cat([places, edge] if reverse else [edge, places], axis)
    arriving = whole.narrow(axis, 1 if reverse else 0, extents[axis])
    return arriving.flatten()[order], whole.select(axis, 0 if reverse else extents[axis])


def from_neighbours(border, values, extents, axis, reverse=False):
    """What arrives at every place from the place before on one axis, and what leaves the grid there.

    Args:
        border: what arrives at the edge, [B, *extents of the other axes, ...].
        values: what each place passes on, [B, places, ...] by wave.
    """
    arriving, leaving = grid_neighbours(extents, axis, reverse, values.device)
    whole = torch.cat([in_waves(border, len(extents) - 1), values], 1)
    return whole.index_select(1, arriving), whole.index_select(1, leaving.flatten()).reshape(border.shape)


def with_border(border, extents):
    """Room for a state of every place behind what arrives at the edge, both by wave: [B, border + places, ...]."""
    edge = in_waves(border, len(extents) - 1)
    rows = edge.new_empty(edge.shape[0], edge.shape[1] + math.prod(extents), *edge.shape[2:])
    rows[:, : edge.shape[1]] = edge
    return rows


def wave_runs(extents, reverse=False):
    """The first place of each wave and how many it has, in the order in which they run."""
    sizes = wave_sizes(tuple(extents))
    runs = [*zip(itertools.accumulate(sizes, initial=0), sizes)]
    return runs[::-1] if reverse else runs


def place_runs(extents, reverse=False):
    """As `wave_runs`, one place after the other."""
    places = range(math.prod(extents))
    return [(place, 1) for place in (reversed(places) if reverse else places)]


def over_waves(advance, starts, reads, extents, axes, saved=(), every=0, reverse=False):
    """The step at every place of a grid, wave after wave: what is kept of every place, last states, arriving states.

    Args:
        advance: from the states that arrive in a wave, [B, places of the wave, ...], and what is read there, to what
            the states become and what is kept.
        starts: for each state what arrives at the edge of the grid, [B, *extents of the other axes, ...].
        reads: tensors [B, places, ...], by wave.
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
        saved: the states whose arriving values are given too: those of every place, or where `every` is 0 of none.
        reverse: from the last place to the first, on every axis.
    """
    borders = [in_waves(start, len(extents) - 1) for start in starts]
    if 0 in extents:
        nowhere = [border[:, :0] for border in borders]
        return [*advance(*nowhere, *reads)[1], *starts, *(nowhere[state] for state in saved)]
    sizes = wave_sizes(tuple(extents))
    offsets = [0, *itertools.accumulate(sizes)]
    coming, going = zip(*(wave_pieces(tuple(extents), axis, reverse) for axis in axes))
    by_wave = [read.split(sizes, 1) for read in reads]
    arrived = room(borders, extents, saved, every)
    states, kept = borders, []
    left: list[list[torch.Tensor]] = [[] for _ in starts]
    for wave in reversed(range(len(sizes))) if reverse else range(len(sizes)):
        arriving = [gathered(pieces[wave], *sources) for pieces, *sources in zip(coming, borders, states)]
        states, here = advance(*arriving, *(read[wave] for read in by_wave))
        kept.append(here)
        for own, state in zip(arrived if every else (), saved):
            own[:, offsets[wave] : offsets[wave + 1]] = arriving[state]
        for own, pieces, state in zip(left, going, states):
            own += [state[:, first:end].clone() for first, end in pieces[wave]]  # a view would keep all of the wave
    turn = -1 if reverse else 1
    results, lasts = ([torch.cat(steps[::turn], 1) for steps in lists] for lists in (zip(*kept), left))
    others = [(*extents[:axis], *extents[axis + 1 :]) for axis in axes]
    return [*results, *map(on_grid, lasts, others), *arrived]


def over_places(advance, starts, reads, extents, axes, saved=(), every=0, reverse=False):
    """As `over_waves`, one place after the other."""
    borders = [in_waves(start, len(extents) - 1) for start in starts]
    if 0 in extents:
        return over_waves(advance, starts, reads, extents, axes, saved, every, reverse)
    tables = [grid_neighbours(extents, axis, reverse) for axis in axes]
    numbers, places = [arriving.tolist() for arriving, _ in tables], math.prod(extents)
    passed = [[*border.split(1, 1), *[None] * places] for border in borders]
    kept, arrived = [None] * places, room(borders, extents, saved, every)
    for place in reversed(range(places)) if reverse else range(places):
        arriving = [own[number[place]] for own, number in zip(passed, numbers)]
        states, kept[place] = advance(*arriving, *(read[:, place : place + 1] for read in reads))
        for own, state in zip(passed, states):
            own[place - places] = state
        for own, state in zip(arrived if every else (), saved):
            own[:, place : place + 1] = arriving[state]
    results = [torch.cat(steps, 1) for steps in zip(*kept)]
    for start, own, (_, leaving) in zip(starts, passed, tables):
        results.append(torch.cat([own[number] for number in leaving.flatten().tolist()], 1).reshape(start.shape))
    return results + arrived


def room(borders, extents, saved, every):
    """Empty tensors for the arriving states of all places, or where `every` is 0 of none."""
    places = math.prod(extents) if every else 0
    return [borders[at].new_empty(borders[at].shape[0], places, *borders[at].shape[2:]) for at in saved]


def gathered(pieces, border, before):
    """What arrives in a wave: stretches of the border and of what the wave before passed on."""
    found = [(before if inner else border)[:, first:end] for inner, first, end in pieces]
    return found[0] if len(found) == 1 else torch.cat(found, 1)


@functools.lru_cache(maxsize=64)
def wave_sizes(extents):
    """How many places each wave has."""
    return grid_waves(extents).flatten().bincount().tolist()


@functools.lru_cache(maxsize=64)
def wave_pieces(extents, axis, reverse):
    """What arrives along an axis in each wave, and which of its places leave the grid there, as stretches.

    Returns:
        For each wave (whether it is of the wave before, not of the border; first, end), and (first, end).
    """
    sizes, waves = wave_sizes(extents), grid_waves(extents).flatten().sort()[0]
    offsets = [0, *itertools.accumulate(sizes)]
    arriving, leaving = grid_neighbours(extents, axis, reverse)
    border, places = leaving.numel(), (leaving.flatten() - leaving.numel()).sort()[0]
    coming: list[list[tuple[bool, int, int]]] = [[] for _ in sizes]
    going: list[list[tuple[int, int]]] = [[] for _ in sizes]
    # One number between the border's and those of places, so that no stretch goes from one to the other.
    for wave, first, count in stretches(arriving + (arriving >= border), waves):
        inner = first > border
        first -= border + 1 + offsets[wave + (1 if reverse else -1)] if inner else 0
        coming[wave].append((inner, first, first + count))
    for wave, first, count in stretches(places, waves[places]):
        going[wave].append((first - offsets[wave], first - offsets[wave] + count))
    return coming, [pieces[::-1] for pieces in going] if reverse else going


def stretches(numbers, waves):
    """Stretches of consecutive numbers in one wave: (the wave, the first number, how many)."""
    breaks = (numbers.diff() != 1) | (waves.diff() != 0)
    firsts = [0, *(breaks.nonzero().flatten() + 1).tolist()]
    counts = [end - first for first, end in zip(firsts, [*firsts[1:], len(numbers)])]
    return zip(waves[firsts].tolist(), numbers[firsts].tolist(), counts)
