"""Recurrences over a graph in JAX: level by level, all places of a level at once.

Levels of different widths run in one `lax.scan` where padding to the widest at most doubles the work, or adds little;
where it does more, another scan begins.  States stand in a row, in the order in which they are computed: a step writes
one piece of it and gathers what arrives.  The states are the solution of `state = next(state)`, so their cotangents
solve the transposed equation, level by level back; the derivative of `next` at all places at once gives all others
from them.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lsrl.backends.runtime.graph_levels import Level, checked_graph, levels_of, whole_level

MOST_LEVEL_RUNS = 16  # each is compiled by itself,
PADDED_PLACES = 4096  # which so little padding is not worth


class LevelRun(NamedTuple):
    """Consecutive levels of similar width, each array with an axis of levels in front.

    level: padded by numbers that are no places.  arriving: where in the row the states of entering edges are.
    first: where the states of leaving edges go.
    """

    level: Level
    arriving: Any
    first: Any


class PreparedGraph(NamedTuple):
    """A graph, prepared: a pytree of arrays, which can be passed through `jax.jit`.

    whole: all places as one level.  place [E]: where in the row each edge is.  row: the edge at each place of it,
    E where there is none.
    """

    whole: Level
    runs: Any
    place: Any
    row: Any


def prepare_levels(edges, turns, nodes):
    """What `prepare` gives."""
    if any(isinstance(array, jax.core.Tracer) for array in (edges, turns)):
        raise TypeError("edges and turns must be known when a function is traced: pass `graph=prepare(edges, turns)`")
    edges, turns, nodes = checked_graph(edges, turns, nodes)
    sorts, ends = levels_of(edges, turns, nodes)
    counts = np.stack([np.diff(each.first) for each in sorts], 1)
    sides = (2, 1, 3, 3, 3)  # what `edge_from`, `edge_to` and the turns' ends are numbers of
    limits = (nodes, len(edges), len(edges), len(turns))
    runs, place, total = [], np.zeros(len(edges), np.int64), 0
    for start, end in level_runs(counts):
        widths = counts[start:end].max(0)
        padded = [boxed_levels(*sorts[side], ends[side], start, end, widths[side], limits[side]) for side in range(4)]
        holes = (widths[0], widths[0], widths[1], widths[2], widths[0])
        padded += [
            boxed_levels(*sorts[side], ends[4 + number], start, end, widths[side], hole)
            for number, (side, hole) in enumerate(zip(sides, holes))
        ]
        first = total + np.arange(end - start) * widths[2]
        inside = padded[2] < len(edges)
        place[padded[2][inside]] = (first[:, None] + np.arange(widths[2]))[inside]
        total += (end - start) * widths[2]
        runs.append((Level(*padded), first))
    row = np.full(total, len(edges))
    row[place] = np.arange(len(edges))
    behind = np.append(place, total)
    found = tuple(LevelRun(level, behind[level.entering], first) for level, first in runs)
    graph = PreparedGraph(whole_level(edges, turns, nodes), found, place, row)
    with jax.ensure_compile_time_eval():  # numbers also where a function is traced that calls this
        return jax.tree.map(partial(jnp.asarray, dtype=jnp.int32), graph)


def boxed_levels(members, first, slot, values, start, end, width, hole):
    """Values of the members of some levels, [levels, width], `hole` where a level has fewer."""
    found = np.full((end - start, width), hole)
    part = slice(first[start], first[end])
    counts = np.diff(first[start : end + 1])
    found[np.repeat(np.arange(end - start), counts), slot[members[part]]] = values[part]
    return found


def level_runs(counts):
    """Where each run of levels begins and ends: padding at most doubles a long one, unless there would be too many."""
    starts = np.flatnonzero(np.diff(counts, axis=0, prepend=-1).any(1)).tolist()  # a path's levels are all alike
    groups = list(zip(starts, [*starts[1:], len(counts)], counts[starts].tolist()))
    allowed = 2
    while groups:
        ends, held, widest = [0], 0, [0] * counts.shape[1]
        for first, last, widths in groups:
            own, wider = (last - first) * sum(widths), [*map(max, widest, widths)]
            if first > ends[-1] and (last - ends[-1]) * sum(wider) > allowed * (held + own) + PADDED_PLACES:
                ends, held, wider = [*ends, first], 0, widths
            held, widest = held + own, wider
        if len(ends) <= MOST_LEVEL_RUNS:
            return list(zip(ends, [*ends[1:], len(counts)]))
        allowed *= 2
    return []


def read_at(x, index):
    """Elements along the first axis; zeros where the index is no place."""
    return x.at[index].get(mode="fill", fill_value=0)


def sum_at(x, index, places):
    """The sum of what has the same index, for each of `places`; what has none of these goes nowhere."""
    return jax.ops.segment_sum(x.astype(jnp.int32) if x.dtype == bool else x, index, places.shape[0])


def max_at(x, index, places):
    """The largest of what has the same index, the lowest there is where nothing has; those that attain it share."""
    largest = lax.stop_gradient(jax.ops.segment_max(x, index, places.shape[0]))
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return largest
    attained = (x == read_at(largest, index)) & jnp.isfinite(x)
    number = sum_at(attained.astype(x.dtype), index, places)
    moved = sum_at(jnp.where(attained, x - lax.stop_gradient(x), 0), index, places)
    return largest + moved / jnp.maximum(number, 1)


def over_levels(advance, frames, graph, empty, reads, statics):
    """The states of all edges, [E, *shape] each.

    advance(level, arriving, at, statics): what the leaving edges of a level pass on.  frames: for each of `reads`,
    whether it is read at a level's `nodes`, `entering`, `leaving` or `turns`.  empty: a state of zeros, [*shape] each.
    """
    reads, statics = lax.stop_gradient((reads, statics))
    known = tuple(jnp.zeros((graph.row.shape[0] + 1, *zeros.shape), zeros.dtype) for zeros in empty)
    for run in graph.runs:

        def step(known, run):
            at = read_of_level(reads, frames, run.level)
            following = advance(run.level, tuple(row[run.arriving] for row in known), at, statics)
            written = zip(known, following)
            return tuple(lax.dynamic_update_slice_in_dim(row, new, run.first, 0) for row, new in written), None

        known, _ = lax.scan(step, known, run)
    return tuple(row[graph.place] for row in known)


def read_of_level(reads, frames, level):
    """What is read at the places of a level."""
    return tuple(x.at[getattr(level, frame)].get(mode="clip") for x, frame in zip(reads, frames))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def solved_levels(advance, frames, graph, known, following, reads, statics):
    """The states `known`, with the derivative of the solution of `state = next(state)`.

    following: `next` at every edge, [E, *shape] each, computed from `known`, through which derivatives go on.
    """
    return known


def solved_levels_forward(advance, frames, graph, known, following, reads, statics):
    return known, (graph, known, reads, statics)


def solved_levels_backward(advance, frames, kept, cotangents):
    graph, known, reads, statics = kept
    smooth = [number for number, x in enumerate(known) if jnp.issubdtype(x.dtype, jnp.inexact)]
    rows = tuple(jnp.concatenate([read_at(x, graph.row), jnp.zeros_like(x[:1])]) for x in known)
    given = [cotangents[number] for number in smooth]
    found = tuple(jnp.concatenate([read_at(x, graph.row), jnp.zeros_like(x[:1])]) for x in given)
    for run in reversed(graph.runs):

        def step(found, run):
            at = read_of_level(reads, frames, run.level)
            arriving = [row[run.arriving] for row in rows]

            def passed(*moving):
                every = dict(enumerate(arriving)) | dict(zip(smooth, moving))
                following = advance(run.level, tuple(every.values()), at, statics)
                return tuple(following[number] for number in smooth)

            leaving = run.level.leaving.shape[0]
            above = tuple(lax.dynamic_slice_in_dim(row, run.first, leaving) for row in found)
            pulled = jax.vjp(passed, *(arriving[number] for number in smooth))[1](above)
            return tuple(row.at[run.arriving].add(new) for row, new in zip(found, pulled)), None

        found, _ = lax.scan(step, found, run, reverse=True)
    everywhere = dict.fromkeys(range(len(known))) | dict(zip(smooth, (row[graph.place] for row in found)))
    return None, None, tuple(everywhere.values()), None, None


solved_levels.defvjp(solved_levels_forward, solved_levels_backward)
