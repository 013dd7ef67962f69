"""Affine recurrences over a graph in JAX: solved in rounds, each of all arcs that it has at once.

The unknowns are states and sums on the way between them; weights count element by element.  All steps run in one loop
over boxes of arcs, as many as stay in the caches of a CPU; it writes states in place.  The cotangents of the unknowns
solve the transposed system, which are the same steps the other way round.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lsrl.backends.runtime.graph_levels import Level, checked_graph, node_depths, whole_level
from lsrl.backends.runtime.graph_rounds import ARCS_OF_STEP, rounds_of, system_of

PRODUCTS_AT_ONCE = 1 << 18  # numbers of a state's


class Steps(NamedTuple):
    """Steps one after the other: x[end] += weight[slot] * x[start] for arcs first[n] to first[n + 1], all at once.

    box: an axis as long as the box of arcs in which all steps together take least time.
    """

    start: Any
    end: Any
    slot: Any
    first: Any
    box: Any


class GraphSystem(NamedTuple):
    """A graph, prepared: a pytree of arrays, which can be passed through `jax.jit`.

    whole: all its places.  start, end: the unknowns of every arc.  steps: those of the unknowns.  fills: those of the
    weights before, which are both x and weight.  slots: one for each weight.
    """

    whole: Level
    start: Any
    end: Any
    steps: Steps
    fills: Steps
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
    steps = Steps(rounds.step_from, rounds.step_to, rounds.step_slot, rounds.step_first, best_box(rounds.step_first))
    fills = Steps(rounds.fill_left, rounds.fill_slot, rounds.fill_right, rounds.fill_first, best_box(rounds.fill_first))
    graph = GraphSystem(whole, start, end, steps, fills, np.zeros(rounds.slots))
    with jax.ensure_compile_time_eval():  # numbers also where a function is traced that calls this
        return jax.tree.map(partial(jnp.asarray, dtype=jnp.int32), graph)


def best_box(first):
    """An axis as long as the box, a power of 2, in which steps take least time; each box takes that of a step."""
    counts = np.diff(first)
    lengths = 1 << np.arange(int(counts.max(initial=1)).bit_length() + 1)
    boxes = -(-counts[:, None] // lengths)
    return np.zeros(lengths[np.argmin(boxes.sum(0) * (ARCS_OF_STEP + lengths))])


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
    """The weights of arcs, 1, and those that an elimination makes, [slots, ...]."""
    one = weighing.one(jnp.zeros((1, *weights.shape[1:]), weights.dtype))
    made = jnp.zeros((graph.slots.shape[0] - weights.shape[0] - 1, *weights.shape[1:]), weights.dtype)
    return run_steps(weighing, graph.fills, jnp.concatenate([weights, one, made]))


def run_steps(weighing, steps, x, weights=None):
    """What x [places, *shape] is after all steps; `weights`, or x itself, has the weights."""
    arcs, numbers = steps.start.shape[0], math.prod(x.shape[1:])
    if not arcs:
        return x
    length = min(steps.box.shape[0], arcs_at_once(numbers))

    def box(carried):
        step, first, x = carried
        last = steps.first[step + 1]
        places = first + jnp.arange(length, dtype=jnp.int32)
        start, end, slot = (clipped_at(side, places) for side in (steps.start, steps.end, steps.slot))
        new = weighing.times(clipped_at(x if weights is None else weights, slot), clipped_at(x, start))
        outside = x.shape[0]  # there an arc of a later step adds to nothing
        x = x.at[jnp.where(places < last, end, outside)].add(new, mode="drop")
        following = jnp.minimum(first + length, last)
        return step + (following == last), following, x

    begin = jnp.zeros((), jnp.int32)
    return lax.while_loop(lambda carried: carried[1] < arcs, box, (begin, begin, x))[2]


def clipped_at(x, index):
    """Elements along the first axis."""
    return x.at[index].get(mode="clip")


def arcs_at_once(numbers):
    """How many arcs of states with so many numbers are handled at once."""
    return max(PRODUCTS_AT_ONCE // max(numbers, 1), 1)


def turned_steps(steps):
    """The steps of the transposed system."""
    start, end, slot, first = (jnp.flip(x) for x in (steps.end, steps.start, steps.slot, steps.first))
    return Steps(start, end, slot, steps.start.shape[0] - first, steps.box)


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
    return run_steps(weighing(), graph.steps, sources, all_weights(weighing(), graph, weights))


def solved_system_forward(weighing, graph, weights, sources):
    every = all_weights(weighing(), graph, weights)
    found = run_steps(weighing(), graph.steps, sources, every)
    return found, (graph, every, found)


def solved_system_backward(weighing, kept, cotangents):
    graph, every, found = kept
    back = run_steps(weighing(), turned_steps(graph.steps), cotangents, weighing().turned(every))
    return None, pulled_by_weights(weighing(), found, back, graph, every.shape), back


def pulled_by_weights(weighing, found, back, graph, shape):
    """What the weights of arcs get, of found[start] and back[end]: summed along the axes where `shape` has 1.

    A few arcs after the other: all at once would be as large as many arrays of unknowns.
    """
    arcs = graph.start.shape[0]
    if not arcs:
        return jnp.zeros((0, *shape[1:]), found.dtype)

    def of_arc(ends):
        pulled = weighing.pulled(found[ends[0]], back[ends[1]])
        summed = [axis for axis in range(pulled.ndim) if shape[1 + axis] == 1]
        return jnp.sum(pulled, summed, keepdims=True)

    return lax.map(of_arc, (graph.start, graph.end), batch_size=min(arcs_at_once(math.prod(found.shape[1:])), arcs))


solved_system.defvjp(solved_system_forward, solved_system_backward)
