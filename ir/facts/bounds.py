"""Bounds that hold at every position, by induction over positions.

A state's bounds include its initial value and, when all arriving states keep to theirs, its next value.
"""

from __future__ import annotations

import math

from lsrl.ir.cell import Cell
from lsrl.ir.facts.intervals import ALL, Interval, intervals
from lsrl.ir.value import Kind, Value, postorder

EXACT_ROUNDS = 3
STEPS = (-math.inf, -1.0, 0.0, 1.0, math.inf)
"""Where a bound that keeps moving goes next."""


def step_bounds(cell: Cell) -> dict[Value, Interval]:
    """Bounds of every value of a step, for states that start where the program says."""
    leaves = [value for value in postorder(cell.roots()) if value.op == "state"]
    given = _inputs(cell)
    starts = intervals([state.init for state in cell.states], given)
    found = {state.name: starts[state.init] for state in cell.states}
    following = {state.name: state.next for state in cell.states}
    for turn in range(EXACT_ROUNDS + len(STEPS) * 2 * max(len(found), 1)):
        known = given | {leaf: found[str(leaf.attr("name"))] for leaf in leaves}
        reached = intervals(list(cell.roots()), known)
        grown = {name: bounds | reached[following[name]] for name, bounds in found.items()}
        if grown == found:
            return reached
        found = {name: _widened(found[name], grown[name], turn) for name in found}
    return intervals(list(cell.roots()), given)


def _inputs(cell: Cell) -> dict[Value, Interval]:
    """Whole numbers below a bound are not negative; what is drawn 0 or 1 is so."""
    counted = {given.name: given.bound for given in cell.inputs if given.bound is not None}
    tossed = {noise.name for noise in cell.noises if noise.draw.name == "bernoulli"}
    found: dict[Value, Interval] = {}
    for value in postorder(cell.all_roots()):
        name = str(value.attr("name")) if value.op in ("input", "noise", "state", "param") else ""
        if value.op == "input" and name in counted:
            most = counted[name].constant
            found[value] = Interval(0, math.inf if most is None else most - 1)
        elif value.op == "noise" and name in tossed:
            found[value] = Interval(0, 1)
        elif value.op in ("input", "noise", "param", "state"):
            found[value] = Interval(0, 1) if value.kind is Kind.BOOL else ALL
    return found


def _widened(before: Interval, after: Interval, turn: int) -> Interval:
    if turn < EXACT_ROUNDS:
        return after
    low = after.low if after.low == before.low else max(step for step in STEPS if step <= after.low)
    high = after.high if after.high == before.high else min(step for step in STEPS if step >= after.high)
    return Interval(low, high)
