"""Rounds in which an affine recurrence over a directed acyclic graph is solved.  NumPy, on the host.

Unknowns x and arcs between them are a triangular system: x[end] = b[end] + the sum of weight * x[start] over the arcs
into it.  A round eliminates unknowns of which no two are joined, each of which pays: it has at most as many ways
through it, from an arc in to an arc out, as it has arcs.  What it is goes on to its ends, its ways become arcs of their
own, parallel arcs are summed.  In trees this is the contraction of Miller and Reif (1985): what waits for nothing is
evaluated (rake), and every other unknown or so of a chain is passed over (compress); series-parallel parts shrink to
an arc.  So a path of n unknowns takes O(log n) rounds where level by level it takes n.  Afterwards what was eliminated
is found in the other order from what was not.  All this is a product of steps x[end] += weight * x[start], and the
transposed system is solved by the same steps the other way round.
"""

from typing import Any, NamedTuple

import numpy as np

from lsrl.backends.runtime.graph_levels import node_depths

ARCS_OF_STEP = 64  # a step costs at least as much as the work of so many arcs


class Rounds(NamedTuple):
    """Steps one after the other, each on all of its arcs at once: pieces of arrays, cut where `_first` says.

    step_from, step_to, step_slot: x[to] += weight[slot] * x[from].  Slots are numbers of arcs; the one after them has
    the weight 1.  fill_left, fill_right, fill_slot: before that, weight[slot] += weight[right] * weight[left].
    slots: how many weights there are with these.
    """

    step_from: Any
    step_to: Any
    step_slot: Any
    step_first: Any
    fill_left: Any
    fill_right: Any
    fill_slot: Any
    fill_first: Any
    slots: Any


def rounds_of(start: Any, end: Any, unknowns: int) -> Rounds:
    """The steps that take less time: those of all levels, or those of an elimination.

    A step takes the time that its arcs take, and as long as `ARCS_OF_STEP` of them besides.
    """
    by_level = level_rounds(start, end, unknowns)
    if cost_of_rounds(by_level) <= 4 * ARCS_OF_STEP + 2 * len(start):
        return by_level
    return min(by_level, eliminated(start, end, unknowns), key=cost_of_rounds)


def cost_of_rounds(rounds: Rounds) -> int:
    """The time of steps, in the time of an arc."""
    steps = len(rounds.step_first) + len(rounds.fill_first) - 2
    return ARCS_OF_STEP * steps + len(rounds.step_from) + len(rounds.fill_left)


def level_rounds(start: Any, end: Any, unknowns: int) -> Rounds:
    """A step for each level: what its unknowns pass on."""
    depth = node_depths(np.stack([start, end], 1), unknowns)[start]
    order = np.argsort(depth, kind="stable")
    first = np.searchsorted(depth[order], np.arange(int(depth.max(initial=-1)) + 2))
    none = np.zeros(0, np.int64)
    return Rounds(start[order], end[order], order, first, none, none, none, np.zeros(1, np.int64), len(start) + 1)


def eliminated(start: Any, end: Any, unknowns: int) -> Rounds:
    """The steps of an elimination: on to ends, round by round, and then back from starts in the opposite order."""
    one = len(start)
    every = np.arange(one)
    arcs, fill, slots = merged_arcs(np.stack([start, end, every, np.full(one, one)]), one, one + 1)
    onward, back, fills = [], [], [fill]
    generator = np.random.default_rng(0)  # ranks that are no order along a path
    while arcs.shape[1]:
        entering, leaving = (np.bincount(side, minlength=unknowns) for side in (arcs[1], arcs[0]))
        ways, joined = entering * leaving, entering + leaving
        rank = ways * unknowns + generator.permutation(unknowns)
        gone = independent((ways <= joined) & (joined > 0), rank, arcs[0], arcs[1])
        inside, outside = arcs[:, gone[arcs[1]]], arcs[:, gone[arcs[0]]]
        onward.append(outside)
        back.append(inside)
        kept = arcs[:, ~(gone[arcs[0]] | gone[arcs[1]])]
        as_it_is = np.full((1, kept.shape[1]), one)
        pairs = np.concatenate([np.concatenate([kept, as_it_is]), ways_through(inside, outside)], 1)
        arcs, fill, slots = merged_arcs(pairs, one, slots)
        fills.append(fill)
    step, fill = joined_steps([*onward, *back[::-1]]), joined_steps(fills)
    return Rounds(*step, *fill, slots)


def joined_steps(steps: Any) -> tuple[Any, Any, Any, Any]:
    """The three rows of all steps [3, n], and where each begins; those without arcs are left out."""
    first, second, third = np.concatenate([np.zeros((3, 0), np.int64), *steps], 1)
    return first, second, third, np.unique(np.cumsum([0, *(each.shape[1] for each in steps)]))


def independent(able: Any, rank: Any, start: Any, end: Any) -> Any:
    """Unknowns among those that are `able`, no two joined, and no other could be added; by rank, the lowest first."""
    found = np.zeros_like(able)
    undecided = able.copy()
    while undecided.any():
        inner = undecided[start] & undecided[end]
        start, end = start[inner], end[inner]
        lowest = undecided.copy()
        lowest[np.where(rank[start] > rank[end], start, end)] = False
        found |= lowest
        undecided &= ~lowest
        undecided[end[lowest[start]]] = False
        undecided[start[lowest[end]]] = False
    return found


def ways_through(inside: Any, outside: Any) -> Any:
    """Every arc into an unknown with every one out of it: start, end, and both slots, [4, ways]."""
    outside = outside[:, np.argsort(outside[0], kind="stable")]
    first = np.searchsorted(outside[0], inside[1])
    counts = np.searchsorted(outside[0], inside[1], side="right") - first
    entering = np.repeat(np.arange(inside.shape[1]), counts)
    leaving = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(entering))
    return np.stack([inside[0, entering], outside[1, leaving], inside[2, entering], outside[2, leaving]])


def merged_arcs(pairs: Any, one: int, slots: int) -> Any:
    """Arcs [3, n] of which no two join the same unknowns, the fill [3, m] that makes their weights, and all slots.

    pairs: start, end and two slots, [4, n], whose product is the weight; `one` beside that of an arc as it is.
    """
    unknowns = int(pairs[1].max(initial=0)) + 1
    _, first, group, counts = np.unique(
        pairs[0] * unknowns + pairs[1], return_index=True, return_inverse=True, return_counts=True
    )
    same = (counts == 1) & (pairs[3, first] == one)
    slot = np.where(same, pairs[2, first], slots - 1 + np.cumsum(~same))
    new = ~same[group]
    fill = np.stack([pairs[2, new], pairs[3, new], slot[group[new]]])
    return np.stack([pairs[0, first], pairs[1, first], slot]), fill, slots + int((~same).sum())


def system_of(arcs: Any, unknowns: Any, whole: Any) -> Any:
    """The start and end of every arc, [arcs], and the number of unknowns.

    arcs: for each sort of them the sides of a `Level` where they start and end, and which unknowns these are.
    unknowns: for each sort of them the side of a `Level` that has one at each place.
    """
    first = np.cumsum([0, *(len(getattr(whole, side)) for side in unknowns)])
    sides = [(getattr(whole, start) + first[one], getattr(whole, end) + first[two]) for start, end, one, two in arcs]
    none = np.zeros(0, np.int64)
    return *(np.concatenate([none, *side]) for side in list(zip(*sides)) or [(), ()]), int(first[-1])
