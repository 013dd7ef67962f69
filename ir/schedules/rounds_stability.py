"""What is known of the weights with which states over a graph pass on from edge to edge: whether sums over paths stay.

Poeppel et al. (2025, "pLSTM", section 4.2) have two ways.  In P-mode the absolute weights of the turns out of each edge
sum to at most 1: no graph makes more of what its sources add.  In D-mode no weight is above 1 in absolute value, which
is enough on graphs with one path at most between any two edges.  Both are read off the program here, where it says so:

    t / max(1, sum_out(abs(t)))        exp(t) / sum_out(exp(t))        g * (t / (1/2 + sum_out(abs(t)))) with |g| <= 1

`lsrl.graphs` checks the graph, and weights that are given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

from lsrl.ir.cell import Cell
from lsrl.ir.facts.bounds import step_bounds
from lsrl.ir.facts.intervals import Interval, intervals
from lsrl.ir.facts.sentences import Fact
from lsrl.ir.schedules.rounds_form import RoundsForm
from lsrl.ir.value import Domain, Value

OUT_OF = "turn.in"
"""The sum over the turns out of an edge, and what each of them reads of it."""


class Mode(StrEnum):
    """How states are kept from growing."""

    SUMS = "P-mode"
    PATHS = "D-mode"
    UNKNOWN = "unbounded"


_REASONS: Mapping[Mode, str] = {
    Mode.SUMS: "the absolute weights of the turns out of an edge sum to at most 1, so on any graph what sources add is "
    "only divided",
    Mode.PATHS: "no turn has an absolute weight above 1, which is enough where at most one path leads from an edge to "
    "another (`lsrl.graphs.prune`, `check_single_paths`)",
    Mode.UNKNOWN: "nothing in the program bounds the weights of turns; `lsrl.graphs.normalise` and `prune` do, "
    "`check_sums` and `check_single_paths` tell",
}


def stability(cell: Cell, form: RoundsForm) -> Fact | None:
    """What bounds the states of a system all of whose arcs are turns, weighed by numbers; None of another one."""
    if form.matrix is not None or any(arcs.domain is not Domain.TURN for arcs in form.arcs):
        return None
    weights = [arcs.weight for arcs in form.arcs]
    known = intervals(weights, step_bounds(cell))
    if sum(passed_on(weight, known) for weight in weights) <= 1:
        mode = Mode.SUMS
    elif sum(_size(known[weight]) for weight in weights) <= 1:
        mode = Mode.PATHS
    else:
        mode = Mode.UNKNOWN
    spans = [cell.spans[weight][0] for weight in weights if cell.spans.get(weight)]
    return Fact("stability", mode.value, _REASONS[mode], tuple(spans))


def passed_on(weight: Value, known: Mapping[Value, Interval]) -> float:
    """What the absolute weights of the turns out of an edge sum to at most; infinite where nothing says so."""
    match weight:
        case Value("neg" | "abs" | "expand", (inner,)):
            return passed_on(inner, known)
        case Value("mul", (left, right)):
            return min(
                _times(_size(known[left]), passed_on(right, known)), _times(_size(known[right]), passed_on(left, known))
            )
        case Value("div", (part, Value("read", (whole,)) as divisor)) if divisor.attr("via") == OUT_OF:
            return 1 if _covers(whole, part, known) else math.inf
    return math.inf


def _covers(whole: Value, part: Value, known: Mapping[Value, Interval]) -> bool:
    """Whether a value of an edge is at least the sum of the absolute values of a part over the turns out of it."""
    match whole:
        case Value("max", (left, right)):
            return _covers(left, part, known) or _covers(right, part, known)
        case Value("add", (left, right)):
            sides = ((left, right), (right, left))
            return any(_covers(one, part, known) and known[other].low >= 0 for one, other in sides)
        case Value("sum_in", (Value("abs", (inner,)),)) if whole.attr("via") == OUT_OF:
            return inner is part
        case Value("sum_in", (inner,)) if whole.attr("via") == OUT_OF:
            return inner is part and known[inner].low >= 0
    return False


def _size(found: Interval) -> float:
    return max(abs(found.low), abs(found.high))


def _times(left: float, right: float) -> float:
    return 0 if 0 in (left, right) else left * right
