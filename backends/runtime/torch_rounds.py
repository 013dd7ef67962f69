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


class Weighing(NamedTuple):
    """How weights count.

    times: a weight times a state, or times the weight before it; it may be written over.  turned: the weights of the
    way back.  one: the weight that changes nothing.  pulled: what a weight gets, of the state that it took, which may
    be written over, and the cotangent of what came of it.
    """

    times: Any
    turned: Any
    one: Any
    pulled: Any


def of_elements():
    """Weights [...] with axes of a state, or 1 in their place, that count element by element."""
    return Weighing(lambda w, x: x.mul_(w), lambda w: w, torch.ones_like, lambda x, y: x.mul_(y))


def of_matrices():
    """Weights [..., J, J], matrices for states [..., J, columns]."""
    return Weighing(torch.matmul, lambda w: w.mT, matrix_one, lambda x, y: y @ x.mT)


def matrix_one(like):
    """An identity matrix, for all of them."""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def all_weights(weighing, rounds, weights):
    """The weights of arcs, 1, and those that an elimination makes, [slots, ...]."""
    every = weights.new_zeros((rounds.slots, *weights.shape[1:]))
    every[: len(weights)] = weights
    every[len(weights)] = weighing.one(every[0])
    sizes = cached_sizes(rounds.fill_first, every)
    later = (every.index_select(0, slot) for slot in rounds.fill_right.split(sizes))  # as they come to be known
    steps = zip(sizes, rounds.fill_left.split(sizes), later, rounds.fill_slot.split(sizes))
    add_products(weighing, every, every, steps, max(sizes, default=0))
    return every


def run_rounds(weighing, rounds, every, found, backwards=False):
    """What `found` [unknowns, *shape] is to begin with goes from unknown to unknown, in place."""
    sizes = cached_sizes(rounds.step_first, found)
    weights = every.index_select(0, rounds.step_slot).split(sizes)
    start, end = (rounds.step_to, rounds.step_from) if backwards else (rounds.step_from, rounds.step_to)
    steps = list(zip(sizes, start.split(sizes), weights, end.split(sizes)))
    add_products(weighing, found, found, reversed(steps) if backwards else steps, max(sizes, default=0))
    return found


def add_products(weighing, into, states, steps, most):
    """Step after step, into[end] += weight * states[start] in place; a step has a size, at most `most`, and these."""
    room = states.new_empty((most, *states.shape[1:]))
    numbers = math.prod(into.shape[1:])
    flat = into.view(into.shape[0], numbers)
    for size, start, weight, end in steps:
        state = torch.index_select(states, 0, start, out=room[:size])
        flat.index_add_(0, end, weighing.times(weight, state).reshape(size, numbers))


def cached_sizes(sizes, rows):
    """Sizes of pieces; on a CPU cut so that a piece of `rows` stays in its caches."""
    most = max(CACHED_NUMBERS // max(math.prod(rows.shape[1:]), 1), 1)
    if rows.is_cuda or max(sizes, default=0) <= most:
        return sizes
    return [min(most, size - done) for size in sizes for done in range(0, size, most)]


def solved_matrices(graph, weights, sources):
    """`solved_rounds` with matrices [arcs, ..., J, J] along one axis of sources [unknowns, ..., J, ...]."""
    rows = sources.shape[: weights.ndim - 1]
    columns = sources.reshape(*rows, math.prod(sources.shape[len(rows) :]))
    return SolvedSystem.apply(of_matrices(), graph, weights, columns).reshape(sources.shape)


def solved_rounds(graph, weights, sources):
    """The solution x [unknowns, *shape] of x[end] = sources[end] + the sum of weights * x[start] over arcs into it."""
    return SolvedSystem.apply(of_elements(), graph, weights, sources)


class SolvedSystem(torch.autograd.Function):
    """The operation behind `solved_rounds` and `solved_matrices`; its derivative can not be derived again."""

    @staticmethod
    def forward(ctx, weighing, graph, weights, sources):
        every = all_weights(weighing, graph.rounds, weights)
        found = run_rounds(weighing, graph.rounds, every, sources.clone(memory_format=torch.contiguous_format))
        ctx.weighing, ctx.graph, ctx.shape = weighing, graph, weights.shape
        ctx.save_for_backward(every, found)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangents):
        every, found = ctx.saved_tensors
        turned, back = ctx.weighing.turned(every), cotangents.clone(memory_format=torch.contiguous_format)
        run_rounds(ctx.weighing, ctx.graph.rounds, turned, back, True)
        if not ctx.needs_input_grad[2]:
            return None, None, None, back
        return None, None, pulled_by_weights(ctx.weighing, found, back, ctx.graph, ctx.shape), back


def pulled_by_weights(weighing, found, back, graph, shape):
    """What the weights of arcs get, of found[start] and back[end]: summed along the axes where `shape` has 1."""
    sizes = cached_sizes([shape[0]], found)
    rooms = [found.new_empty((max(sizes), *found.shape[1:])) for _ in range(2)]
    whole = found.new_empty(shape)
    for size, start, end, piece in zip(sizes, graph.start.split(sizes), graph.end.split(sizes), whole.split(sizes)):
        state = torch.index_select(found, 0, start, out=rooms[0][:size])
        pulled = weighing.pulled(state, torch.index_select(back, 0, end, out=rooms[1][:size]))
        summed = [axis for axis in range(1, pulled.ndim) if shape[axis] == 1 < pulled.shape[axis]]
        piece.copy_(pulled.sum(summed, keepdim=True) if summed else pulled)
    return whole
