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
    weight[slot] += weight[left] * weight[right], as runs of three arrays [steps, width].  slots: one for each weight.
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


def all_weights(graph, weights):
    """The weights of arcs, 1, those that an elimination makes, and 0, [slots + 1, ...]."""
    more = graph.slots.shape[0] - weights.shape[0]
    rest = jnp.zeros((more + 1, *weights.shape[1:]), weights.dtype).at[0].set(1)
    every = jnp.concatenate([weights, rest])
    for run in graph.fills:
        every, _ = lax.scan(lambda w, here: (w.at[here[2]].add(w[here[0]] * w[here[1]]), None), every, run)
    return every


def step_of_round(every, found, here):
    """One step, as `lax.scan` takes it."""
    start, end, slot = here
    return found.at[end].add(every[slot] * found[start]), None


def run_rounds(graph, every, sources, backwards=False):
    """What the unknowns [unknowns, *shape] are to begin with goes from each to others."""
    found = jnp.concatenate([sources, jnp.zeros_like(sources[:1])])
    for start, end, slot in reversed(graph.steps) if backwards else graph.steps:
        run = (end, start, slot) if backwards else (start, end, slot)
        found, _ = lax.scan(partial(step_of_round, every), found, run, reverse=backwards)
    return found[:-1]


@jax.custom_vjp
def solved_rounds(graph, weights, sources):
    """The solution x [unknowns, *shape] of x[end] = sources[end] + the sum of weights * x[start] over arcs into it."""
    return run_rounds(graph, all_weights(graph, weights), sources)


def solved_rounds_forward(graph, weights, sources):
    every = all_weights(graph, weights)
    found = run_rounds(graph, every, sources)
    return found, (graph, every, found)


def solved_rounds_backward(kept, cotangents):
    graph, every, found = kept
    back = run_rounds(graph, every, cotangents, backwards=True)
    return None, summed_products(found, back, graph, every.shape), back


def summed_products(found, back, graph, shape):
    """What the weights of arcs get: found[start] * back[end], summed along the axes where `shape` has 1.

    A few arcs after the other: products of all of them would be as large as many arrays of unknowns.
    """
    summed = [axis - 1 for axis in range(1, found.ndim) if shape[axis] == 1]
    arcs = graph.start.shape[0]
    if not arcs:
        return jnp.zeros((0, *shape[1:]), found.dtype)
    few = max(PRODUCTS_AT_ONCE // max(math.prod(found.shape[1:]), 1), 1)

    def of_arc(ends):
        return jnp.sum(found[ends[0]] * back[ends[1]], summed, keepdims=True)

    return lax.map(of_arc, (graph.start, graph.end), batch_size=min(few, arcs))


solved_rounds.defvjp(solved_rounds_forward, solved_rounds_backward)
