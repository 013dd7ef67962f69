"""Recurrences over a graph in PyTorch: level by level, all places of a level at once.

States stand in a row, in the order in which they are computed: a level writes one piece of it and gathers what
arrives.  The states are the solution of `state = next(state)`, so their cotangents solve the transposed equation,
level by level back; the derivative of `next` at all places at once gives all others from them.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from lsrl.backends.runtime.graph_levels import Level, checked_graph, levels_of, whole_level

LEVEL_BLOCK = 1024  # levels that are taken apart at once
LEVEL_SIDES = ("nodes", "entering", "leaving", "turns", "leaving", "entering", "turns", "turns", "turns")


class PreparedGraph(NamedTuple):
    """A graph, prepared.

    whole: all places as one level.  members: the places of all levels, in their order.  first: by the name of each side
    of a level, where those of every level begin.  arriving: where in the row the states of entering edges are.
    place [E]: where in the row each edge is.
    """

    whole: Level
    members: Level
    first: Any
    arriving: Any
    place: Any


def prepare_levels(edges, turns, nodes, device):
    """What `prepare` gives."""
    edges, turns = (x.cpu().numpy() if isinstance(x, torch.Tensor) else x for x in (edges, turns))
    edges, turns, nodes = checked_graph(edges, turns, nodes)
    sorts, members = levels_of(edges, turns, nodes)
    place = np.zeros(len(edges), np.int64)
    place[members.leaving] = np.arange(len(edges))
    first = dict(zip(LEVEL_SIDES, (each.first.tolist() for each in sorts)))
    whole = Level(*(torch.as_tensor(x, device=device) for x in whole_level(edges, turns, nodes)))
    row = torch.as_tensor(place, device=device)
    members = Level(*(torch.as_tensor(x, device=device) for x in members))
    return PreparedGraph(whole, members, first, row[members.entering], row)


def level_steps(graph, frames, reads, rows, backwards=False):
    """Level after level: its places, where in the row what enters is, what is read there, and its piece of each row."""
    given = [(x[getattr(graph.members, frame)], frame) for x, frame in zip(reads, frames)]
    leaving = [(row, "leaving") for row in rows]
    every = [*zip(graph.members, LEVEL_SIDES), (graph.arriving, "entering"), *given, *leaving]
    levels = len(graph.first["nodes"]) - 1
    blocks = [(start, min(start + LEVEL_BLOCK, levels)) for start in range(0, levels, LEVEL_BLOCK)]
    sides = len(LEVEL_SIDES)
    for start, end in reversed(blocks) if backwards else blocks:
        sizes = {side: np.diff(first[start : end + 1]).tolist() for side, first in graph.first.items()}
        parts = [x[graph.first[side][start] : graph.first[side][end]].split(sizes[side]) for x, side in every]
        steps = list(zip(*parts))
        for step in reversed(steps) if backwards else steps:
            level, places, rest = Level(*step[:sides]), step[sides], step[sides + 1 :]
            yield level, places, rest[: len(given)], rest[len(given) :]


def read_at(x, index):
    """Elements along the first axis."""
    return x.index_select(0, index)


def sum_at(x, index, places):
    """The sum of what has the same index, for each of `places`."""
    x = x.long() if x.dtype == torch.bool else x
    return x.new_zeros((places.shape[0], *x.shape[1:])).index_add(0, index, x)


def max_at(x, index, places):
    """The largest of what has the same index, the lowest there is where nothing has; those that attain it share."""
    x = x.long() if x.dtype == torch.bool else x
    smooth = x.is_floating_point()
    lowest = -torch.inf if smooth else torch.iinfo(x.dtype).min
    still, spread = x.detach(), index.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
    largest = x.new_full((places.shape[0], *x.shape[1:]), lowest).scatter_reduce(0, spread, still, "amax")
    if not smooth:
        return largest
    attained = (still == read_at(largest, index)) & still.isfinite()
    number = sum_at(attained.to(x.dtype), index, places)
    moved = sum_at(torch.where(attained, x - still, 0), index, places)
    return largest + moved / number.clamp(min=1)


@torch.no_grad()
def over_levels(advance, frames, graph, empty, reads, statics):
    """The states of all edges, [E, *shape] each.

    advance(level, arriving, at, statics): what the leaving edges of a level pass on.  frames: for each of `reads`,
    whether it is read at a level's `nodes`, `entering`, `leaving` or `turns`.  empty: a state of zeros, [*shape] each.
    """
    known = [zeros.new_zeros((graph.place.shape[0], *zeros.shape)) for zeros in empty]
    for level, places, at, own in level_steps(graph, frames, reads, known):
        following = advance(level, [row.index_select(0, places) for row in known], at, statics)
        for piece, new in zip(own, following):
            piece.copy_(new)
    return [row[graph.place] for row in known]


def solved_levels(advance, frames, graph, known, following, reads, statics):
    """The states `known`, with the derivative of the solution of `state = next(state)`.

    following: `next` at every edge, [E, *shape] each, computed from `known`, through which derivatives go on.
    """
    return SolvedLevels.apply(advance, frames, graph, len(known), len(reads), *known, *following, *reads, *statics)


class SolvedLevels(torch.autograd.Function):
    """The operation behind `solved_levels`; its derivative can not be derived again."""

    @staticmethod
    def forward(ctx, advance, frames, graph, states, reads, *tensors):
        ctx.advance, ctx.frames, ctx.graph, ctx.states, ctx.reads = advance, frames, graph, states, reads
        ctx.save_for_backward(*tensors[:states], *tensors[2 * states :])
        found = tuple(x.clone() for x in tensors[:states])
        ctx.mark_non_differentiable(*(x for x in found if not (x.is_floating_point() or x.is_complex())))
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *cotangents):
        known, rest = ctx.saved_tensors[: ctx.states], ctx.saved_tensors[ctx.states :]
        reads, statics = rest[: ctx.reads], rest[ctx.reads :]
        smooth = [n for n, x in enumerate(known) if x.is_floating_point() or x.is_complex()]
        graph, order = ctx.graph, ctx.graph.members.leaving
        rows = [x[order] for x in known]
        found = [cotangents[n][order] for n in smooth]
        for level, places, at, above in level_steps(graph, ctx.frames, reads, found, backwards=True):
            if not places.shape[0]:
                continue
            arriving = [row.index_select(0, places) for row in rows]
            moving = [arriving[n].requires_grad_() for n in smooth]
            with torch.enable_grad():
                following = ctx.advance(level, arriving, at, statics)
            pairs = [(following[n], own) for n, own in zip(smooth, above) if following[n].requires_grad]
            if pairs:
                new, own = zip(*pairs)
                pulled = torch.autograd.grad(new, moving, own, allow_unused=True)
                for row, part in zip(found, pulled):
                    if part is not None:
                        row.index_add_(0, places, part)
        everywhere = dict.fromkeys(range(ctx.states)) | {n: row[graph.place] for n, row in zip(smooth, found)}
        return *[None] * (5 + ctx.states), *everywhere.values(), *[None] * len(rest)
