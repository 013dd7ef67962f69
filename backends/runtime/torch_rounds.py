"""Affine recurrences over a graph in PyTorch: solved in rounds, each of all arcs that it has at once.

The unknowns are states and sums on the way between them; weights count element by element.  The cotangents of the
unknowns solve the transposed system, which are the same steps the other way round.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from lsrl.backends.runtime.graph_levels import Level, checked_graph, node_depths, whole_level
from lsrl.backends.runtime.graph_rounds import Rounds, rounds_of, system_of

CACHED_NUMBERS = 1 << 18  # of a state's, that are handled at once on a CPU


class GraphSystem(NamedTuple):
    """A graph, prepared.

    whole: all its places.  start, end: the unknowns of every arc.  rounds: the steps that solve the system, with the
    sizes of pieces in place of where they begin.
    """

    whole: Level
    start: Any
    end: Any
    rounds: Rounds


def prepare_system(arcs, unknowns, edges, turns, nodes, device):
    """What `prepare` gives.  arcs, unknowns: those of `system_of`."""
    edges, turns = (x.cpu().numpy() if isinstance(x, torch.Tensor) else x for x in (edges, turns))
    edges, turns, nodes = checked_graph(edges, turns, nodes)
    node_depths(edges, nodes)
    whole = whole_level(edges, turns, nodes)
    start, end, number = system_of(arcs, unknowns, whole)
    rounds = rounds_of(start, end, number)
    sizes = {name: np.diff(getattr(rounds, name)).tolist() for name in ("step_first", "fill_first")}
    arrays = {name: x for name, x in rounds._asdict().items() if name not in (*sizes, "slots")}
    rounds = rounds._replace(**{name: torch.as_tensor(x, device=device) for name, x in arrays.items()}, **sizes)
    places = Level(*(torch.as_tensor(x, device=device) for x in whole))
    first, last = (torch.as_tensor(x, device=device) for x in (start, end))
    return GraphSystem(places, first, last, rounds)


def all_weights(rounds, weights):
    """The weights of arcs, 1, and those that an elimination makes, [slots, ...]."""
    every = weights.new_zeros((rounds.slots, *weights.shape[1:]))
    every[: len(weights)] = weights
    every[len(weights)] = 1
    add_products(every, rounds.fill_slot, every, rounds.fill_left, every, rounds.fill_right, rounds.fill_first)
    return every


def run_rounds(rounds, every, found, backwards=False):
    """What `found` [unknowns, *shape] is to begin with goes from unknown to unknown, in place."""
    start, end = (rounds.step_to, rounds.step_from) if backwards else (rounds.step_from, rounds.step_to)
    add_products(found, end, found, start, every, rounds.step_slot, rounds.step_first, backwards)
    return found


def add_products(into, to, left, left_at, right, right_at, sizes, backwards=False):
    """into[to] += left[left_at] * right[right_at] in place, so many rows after the other as `sizes` says."""
    sizes = cached_sizes(sizes, left)
    room = left.new_empty((max(sizes, default=0), *left.shape[1:]))
    flat = into.view(len(into), math.prod(into.shape[1:]))
    steps = list(zip(sizes, to.split(sizes), left_at.split(sizes), right_at.split(sizes)))
    for size, target, one, other in reversed(steps) if backwards else steps:
        product = torch.index_select(left, 0, one, out=room[:size]).mul_(right.index_select(0, other))
        flat.index_add_(0, target, product.view(size, flat.shape[1]))


def cached_sizes(sizes, rows):
    """Sizes of pieces; on a CPU cut so that a piece of `rows` stays in its caches."""
    most = max(CACHED_NUMBERS // max(math.prod(rows.shape[1:]), 1), 1)
    if rows.is_cuda or max(sizes, default=0) <= most:
        return sizes
    return [min(most, size - done) for size in sizes for done in range(0, size, most)]


def solved_rounds(graph, weights, sources):
    """The solution x [unknowns, *shape] of x[end] = sources[end] + the sum of weights * x[start] over arcs into it."""
    return SolvedRounds.apply(graph, weights, sources)


class SolvedRounds(torch.autograd.Function):
    """The operation behind `solved_rounds`; its derivative can not be derived again."""

    @staticmethod
    def forward(ctx, graph, weights, sources):
        every = all_weights(graph.rounds, weights)
        found = run_rounds(graph.rounds, every, sources.clone(memory_format=torch.contiguous_format))
        ctx.graph, ctx.shape = graph, weights.shape
        ctx.save_for_backward(every, found)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangents):
        every, found = ctx.saved_tensors
        back = run_rounds(ctx.graph.rounds, every, cotangents.clone(memory_format=torch.contiguous_format), True)
        if not ctx.needs_input_grad[1]:
            return None, None, back
        return None, summed_products(found, ctx.graph.start, back, ctx.graph.end, ctx.shape), back


def summed_products(left, left_at, right, right_at, shape):
    """left[left_at] * right[right_at], summed along the axes where `shape` has 1."""
    summed = [axis for axis in range(1, left.ndim) if shape[axis] == 1 < left.shape[axis]]
    sizes = cached_sizes([shape[0]], left)
    rooms = [left.new_empty((max(sizes), *left.shape[1:])) for _ in range(2)]
    found = left.new_empty(shape)
    for size, one, other, piece in zip(sizes, left_at.split(sizes), right_at.split(sizes), found.split(sizes)):
        first = torch.index_select(left, 0, one, out=rooms[0][:size])
        product = first.mul_(torch.index_select(right, 0, other, out=rooms[1][:size]))
        piece.copy_(product.sum(summed, keepdim=True) if summed else product)
    return found
