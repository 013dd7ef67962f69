"""Range analysis: for every value of a program what its elements are between, and on which progression they lie.

An abstract interpretation of the step (Cousot and Cousot, 1977): inputs are within declared ranges, states start as the
program says.  The first positions are gone through one after the other; from then on the states that arrive are taken
to be within a range which is enlarged until the step leaves it no more.  Where that does not end by itself, ends of
ranges jump to numbers that the program compares with and then to infinity; where a horizon is given, states that grow
by bounded steps are bounded by their sum (`lsrl.backends.growth`).

`lsrl.ir.facts.bounds` bounds states for all sizes at once, to classify recurrences.  Here sizes are numbers, so that
elements are told apart, constants are known, and sums have a length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import order, split_loop
from lsrl.backends.evaluation.gaps import COMPARISONS, Gap, gap
from lsrl.backends.evaluation.range_values import Ranges, extend
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.given_ranges import Given, leaf_ranges
from lsrl.backends.growth import grown
from lsrl.ir.cell import TIME, Cell, State, bind_sizes
from lsrl.ir.value import Value, postorder

PEELED = 64
"""Positions from the start that are gone through one by one: what happens only at first does not blur what follows."""

EXACT_ROUNDS = 24
JUMPS = 12
DESCENTS = 3


def ranges_of(
    cell: Cell,
    sizes: Mapping[str, int] | None = None,
    given: Mapping[str, Given] | None = None,
    horizon: int | None = None,
) -> Mapping[Value, Range]:
    """The range of every value of a cell, at every position.

    They hold of results in real arithmetic, for states that start where the program says.

    Args:
        sizes: numbers for the cell's sizes; missing ones take their defaults.
        given: declared ranges of inputs, noises and parameters, by name.  Inputs `int(V)` and `bool` have theirs
            from their declarations.
        horizon: the most positions of a sequence (of a grid: on a path through it); None: any number.

    Raises:
        RangeError: a name is not that of an input, noise or parameter, or its range cannot be.
        DimError: the sizes do not fit the program.
    """
    scope = Scope(bind_sizes(cell, sizes or {}))
    found: Ranges = leaf_ranges(cell, scope, given or {})
    steps = _Steps.of(cell, scope, horizon)
    extend(order([state.init for state in cell.states], found), found, scope)
    extend([value for value in steps.outside if value not in found], found, scope)
    return found | steps.everywhere(found)


def gap_of(comparison: Value, found: Mapping[Value, Range]) -> Gap:
    """Where the difference of a comparison's operands never is; ValueError for another operation."""
    if comparison.op not in COMPARISONS:
        raise ValueError(f"{comparison.op} compares nothing")
    return gap(comparison.op, *(found[arg] for arg in comparison.args))


@dataclass(frozen=True)
class _Steps:
    """A cell's step as a function of ranges of arriving states.

    Attributes:
        body, outside: what depends on states, operands first, and the rest.
        inside: what differs from position to position because of states: the body, and states as they arrive.
        leaves: what stands for each state as it arrives, by name.
        thresholds: numbers that the program mentions, sorted, between infinities.
    """

    cell: Cell
    scope: Scope
    horizon: int | None
    body: tuple[Value, ...]
    inside: tuple[Value, ...]
    outside: tuple[Value, ...]
    leaves: Mapping[str, tuple[Value, ...]]
    thresholds: Array

    @classmethod
    def of(cls, cell: Cell, scope: Scope, horizon: int | None) -> _Steps:
        every = list(postorder(cell.roots()))
        arriving = [value for value in every if value.op == "state"]
        leaves = {
            state.name: tuple(leaf for leaf in arriving if leaf.attr("name") == state.name) for state in cell.states
        }
        body, _ = split_loop(cell.roots(), frozenset(arriving))
        inside = (*arriving, *body)
        tied = frozenset(inside)
        outside = tuple(value for value in every if value not in tied)
        numbers = [bound for value in every if value.op in ("const", "size") for bound in _ends(value, scope)]
        thresholds = np.unique([-np.inf, -1.0, 0.0, 1.0, np.inf, *numbers])
        return cls(cell, scope, horizon, body, inside, outside, leaves, thresholds)

    def everywhere(self, static: Ranges) -> Ranges:
        """Ranges at all positions, of all that depends on states."""
        arriving = {state.name: static[state.init] for state in self.cell.states}
        if not self.in_step():
            return self.invariant(static, arriving, self.horizon)
        seen: Ranges = {}
        for _ in range(PEELED if self.horizon is None else min(PEELED, self.horizon)):
            found = self.reached(static, arriving)
            seen = {value: seen[value] | found[value] if value in seen else found[value] for value in self.inside}
            following = {state.name: found[state.next] for state in self.cell.states}
            if all(following[name].same(arriving[name]) for name in arriving):
                return seen
            arriving = following
        if self.horizon is not None and self.horizon <= PEELED:
            return seen
        later = self.invariant(static, arriving, None if self.horizon is None else self.horizon - PEELED)
        return {value: seen[value] | later[value] for value in self.inside}

    def in_step(self) -> bool:
        """Whether all states are equally old at each position: they go one way along one axis."""
        return self.cell.axes == (TIME,) and len({state.reverse for state in self.cell.states}) == 1

    def invariant(self, static: Ranges, starts: Mapping[str, Range], horizon: int | None) -> Ranges:
        """Ranges that the step does not leave in as many positions, for states that start in others."""
        arriving = starts
        moves = {name: np.zeros(start.shape, int) for name, start in starts.items()}
        turn = 0
        while True:
            found = self.reached(static, arriving)
            if horizon is not None and turn >= horizon - 1:
                return found
            following = {state.name: arriving[state.name] | found[state.next] for state in self.cell.states}
            if all(following[name].same(arriving[name]) for name in arriving):
                break
            for name, after in following.items():
                moves[name] += (after.low < arriving[name].low) | (after.high > arriving[name].high)
            arriving = {name: self.widened(arriving[name], following[name], moves[name], turn) for name in arriving}
            turn += 1
        for _ in range(DESCENTS if turn > EXACT_ROUNDS else 1):
            arriving = {
                state.name: self.narrowed(state, starts[state.name], arriving[state.name], found, horizon)
                for state in self.cell.states
            }
            found = self.reached(static, arriving)
        return found

    def reached(self, static: Ranges, arriving: Mapping[str, Range]) -> Ranges:
        """The ranges of a step, given those of the states that arrive."""
        found = static | {leaf: arriving[name] for name, leaves in self.leaves.items() for leaf in leaves}
        extend(self.body, found, self.scope)
        return found

    def widened(self, before: Range, after: Range, moves: Array, turn: int) -> Range:
        """The range after a turn; what keeps changing jumps, and in the end is given up.

        Elements are told apart by how often they have moved: along a shift register each moves once, but late.
        """
        if turn < EXACT_ROUNDS:
            return after
        far = moves > EXACT_ROUNDS + JUMPS
        low = np.where(far, -np.inf, self.thresholds[np.searchsorted(self.thresholds, after.low, "right") - 1])
        high = np.where(far, np.inf, self.thresholds[np.searchsorted(self.thresholds, after.high, "left")])
        low = np.where((after.low < before.low) & (moves > EXACT_ROUNDS), low, after.low)
        high = np.where((after.high > before.high) & (moves > EXACT_ROUNDS), high, after.high)
        settled = Range(after.low, after.high, before.grid, before.sums).same(after)
        return Range(low, high, after.grid if after.grid == before.grid else None, after.sums if settled else None)

    def narrowed(self, state: State, start: Range, arriving: Range, found: Ranges, horizon: int | None) -> Range:
        """The range of an arriving state, given one that holds already."""
        again = arriving & (start | found[state.next])
        return again & grown(state, start, found, None if horizon is None else horizon - 1)


def _ends(value: Value, scope: Scope) -> tuple[float, float]:
    """The smallest and the largest element of a constant."""
    constant: Ranges = {}
    extend([value], constant, scope)
    return constant[value].least, constant[value].most
