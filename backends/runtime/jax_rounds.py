"""Affine recurrences over a graph in JAX: solved in rounds, each of all arcs that it has at once.

The unknowns are states and sums on the way between them; weights count element by element.  Steps of different widths
run in one `lax.scan`, padded by arcs that lead from nothing to nothing.  The cotangents of the unknowns solve the
transposed system, which are the same steps the other way round.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lsrl.backends.runtime.graph_levels import Level, checked_graph, node_depths, whole_level
from lsrl.backends.runtime.graph_rounds import rounds_of, system_of
from lsrl.backends.runtime.jax_levels import level_runs

PRODUCTS_AT_ONCE = 1 << 18  # numbers, for the gradients of weights


class GraphSystem(NamedTuple):
    """A graph, prepared: a pytree of arrays, which can be passed through `jax.jit`.

    whole: all its places.  start, end: the unknowns of every arc.  steps: x[to] += weight[slot] * x[from], and fills:
    weight[slot] += weight[right] * weight[left], as runs of three arrays [steps, width].  slots: one for each weight.
    """

    whole: Level
    start: Any
    end: Any
    steps: Any
    fills: Any
    slots: Any


def prepare_system(arcs, unknowns, edges, turns, nodes):
    """What `prepare` gives.  arcs, unknowns: those of `system_of`."""
    if any(isinstance(array, jax.core.Tracer) for array in (edges, turns)):
        raise TypeError("edges and turns must be known when a function is traced: pass `graph=prepare(edges, turns)`")
    edges, turns, nodes = checked_graph(edges, turns, nodes)
    node_depths(edges, nodes)
    whole = whole_level(edges, turns, nodes)
    start, end, number = system_of(arcs, unknowns, whole)
    rounds = rounds_of(start, end, number)
    steps = boxed_steps((rounds.step_from, rounds.step_to, rounds.step_slot), rounds.step_first, (number, number, 0))
    fill = (rounds.fill_left, rounds.fill_right, rounds.fill_slot)
    fills = boxed_steps(fill, rounds.fill_first, (rounds.slots,) * 3)
    graph = GraphSystem(whole, start, end, steps, fills, np.zeros(rounds.slots))
    with jax.ensure_compile_time_eval():  # numbers also where a function is traced that calls this
        return jax.tree.map(partial(jnp.asarray, dtype=jnp.int32), graph)


def boxed_steps(arrays, first, holes):
    """Steps as runs of arrays [steps, width]; each array has its own number where a step has less."""
    counts = np.diff(first)
    return tuple(
        tuple(boxed_rows(array, first[start : end + 1], counts[start:end], hole) for array, hole in zip(arrays, holes))
        for start, end in level_runs(counts[:, None])
    )


def boxed_rows(array, first, counts, hole):
    """Pieces of an array that begin at `first` as rows, filled up by `hole`."""
    found = np.full((len(counts), counts.max()), hole)
    found[np.arange(found.shape[1]) < counts[:, None]] = array[first[0] : first[-1]]
    return found


class Weighing(NamedTuple):
    """How weights count.

    times: a weight times a state, or times the weight before it.  turned: the weight of the way back.  one: the weight
    that changes nothing, [...] as a weight is.  pulled: what a weight gets, of the state that it took and the cotangent
    of what came of it.
    """

    times: Any
    turned: Any
    one: Any
    pulled: Any


def of_elements():
    """Weights [...] with axes of a state, or 1 in their place, that count element by element."""
    return Weighing(jnp.multiply, lambda w: w, jnp.ones_like, jnp.multiply)


def of_matrices():
    """Weights [..., J, J], matrices for states [..., J, columns]."""
    return Weighing(jnp.matmul, jnp.matrix_transpose, matrix_one, lambda x, y: y @ jnp.matrix_transpose(x))


def matrix_one(like):
    """Identity matrices."""
    return jnp.broadcast_to(jnp.eye(like.shape[-1], dtype=like.dtype), like.shape)


def all_weights(weighing, graph, weights):
    """The weights of arcs, 1, those that an elimination makes, and 0, [slots + 1, ...]."""
    made = jnp.zeros((graph.slots.shape[0] - weights.shape[0], *weights.shape[1:]), weights.dtype)
    every = jnp.concatenate([weights, weighing.one(jnp.zeros((1, *weights.shape[1:]), weights.dtype)), made])

    def filled(w, here):
        left, right, slot = here
        return w.at[slot].add(weighing.times(w[right], w[left])), None

    for run in graph.fills:
        every, _ = lax.scan(filled, every, run)
    return every


def run_rounds(weighing, graph, every, sources, backwards=False):
    """What the unknowns [unknowns, *shape] are to begin with goes from each to others."""

    def step(x, here):
        start, end, slot = here
        return x.at[end].add(weighing.times(every[slot], x[start])), None

    found = jnp.concatenate([sources, jnp.zeros_like(sources[:1])])
    for start, end, slot in reversed(graph.steps) if backwards else graph.steps:
        run = (end, start, slot) if backwards else (start, end, slot)
        found, _ = lax.scan(step, found, run, reverse=backwards)
    return found[:-1]


def solved_matrices(graph, weights, sources):
    """`solved_rounds` with matrices [arcs, ..., J, J] along one axis of sources [unknowns, ..., J, ...]."""
    rows = sources.shape[: weights.ndim - 1]
    columns = sources.reshape(*rows, math.prod(sources.shape[len(rows) :]))
    return solved_system(of_matrices, graph, weights, columns).reshape(sources.shape)


def solved_rounds(graph, weights, sources):
    """The solution x [unknowns, *shape] of x[end] = sources[end] + the sum of weights * x[start] over arcs into it."""
    return solved_system(of_elements, graph, weights, sources)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def solved_system(weighing, graph, weights, sources):
    """The operation behind `solved_rounds` and `solved_matrices`."""
    return run_rounds(weighing(), graph, all_weights(weighing(), graph, weights), sources)


def solved_system_forward(weighing, graph, weights, sources):
    every = all_weights(weighing(), graph, weights)
    found = run_rounds(weighing(), graph, every, sources)
    return found, (graph, every, found)


def solved_system_backward(weighing, kept, cotangents):
    graph, every, found = kept
    back = run_rounds(weighing(), graph, weighing().turned(every), cotangents, backwards=True)
    return None, pulled_by_weights(weighing(), found, back, graph, every.shape), back


def pulled_by_weights(weighing, found, back, graph, shape):
    """What the weights of arcs get, of found[start] and back[end]: summed along the axes where `shape` has 1.

    A few arcs after the other: all at once would be as large as many arrays of unknowns.
    """
    arcs = graph.start.shape[0]
    if not arcs:
        return jnp.zeros((0, *shape[1:]), found.dtype)
    few = max(PRODUCTS_AT_ONCE // max(math.prod(found.shape[1:]), 1), 1)

    def of_arc(ends):
        pulled = weighing.pulled(found[ends[0]], back[ends[1]])
        summed = [axis for axis in range(pulled.ndim) if shape[1 + axis] == 1]
        return jnp.sum(pulled, summed, keepdims=True)

    return lax.map(of_arc, (graph.start, graph.end), batch_size=min(few, arcs))


solved_system.defvjp(solved_system_forward, solved_system_backward)
