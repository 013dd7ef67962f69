"""States that grow by bounded steps: after n of them they are within n steps of where they started.

A next value is taken apart along `+`, `-` and choices: on each way it is what arrived plus a step, or starts anew from
something else.  With ranges of steps and of starts, `c' = where(r, 0, c + x)` for x in [0, 1] is within [0, n].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lsrl.backends.evaluation.outward import add, lower, multiply, upper
from lsrl.backends.evaluation.range_elementwise import minus, plus
from lsrl.backends.evaluation.ranges import Range, exactly, on_grid
from lsrl.ir.cell import State
from lsrl.ir.value import Value, postorder


@dataclass(frozen=True, slots=True)
class Ways:
    """How a value comes from an arriving state: what is added to it, and what stands in its place."""

    step: Range | None
    anew: Range | None

    def __or__(self, other: Ways) -> Ways:
        return Ways(_either(self.step, other.step), _either(self.anew, other.anew))


def grown(state: State, start: Range, found: Mapping[Value, Range], steps: int | None) -> Range:
    """The range of what arrives after at most `steps` positions (None: any number), if `found` holds at each."""
    ways = _ways(state, found)
    base = start if ways.anew is None else _whole(start, ways.anew) | _whole(ways.anew, start)
    if ways.step is None:
        return base
    count = np.asarray(np.inf if steps is None else float(steps))
    low = add(base.low, multiply(count, np.minimum(ways.step.low, 0.0), lower), lower)
    high = add(base.high, multiply(count, np.maximum(ways.step.high, 0.0), upper), upper)
    multiples = None if ways.step.grid is None else ways.step.grid.many()
    return on_grid(low, high, None if base.grid is None or multiples is None else base.grid + multiples)


def _ways(state: State, found: Mapping[Value, Range]) -> Ways:
    known: dict[Value, Ways] = {}
    for value in postorder([state.next]):
        known[value] = _of(value, state.name, found, known)
    return known[state.next]


def _of(value: Value, name: str, found: Mapping[Value, Range], known: Mapping[Value, Ways]) -> Ways:
    """The ways of a value, from those of its operands."""
    match value:
        case Value("state") if value.attr("name") == name:
            return Ways(exactly(np.zeros(())), None)
        case Value("add", (x, y)) if known[x].step is not None:
            return _moved(known[x], plus, found[y])
        case Value("add", (x, y)) if known[y].step is not None:
            return _moved(known[y], plus, found[x])
        case Value("sub", (x, y)) if known[x].step is not None:
            return _moved(known[x], minus, found[y])
        case Value("where", (_, x, y)) | Value("max" | "min", (x, y)):
            return known[x] | known[y]
    return Ways(None, found[value])


def _moved(ways: Ways, by: Callable[[Range, Range], Range], other: Range) -> Ways:
    step, anew = ways.step, ways.anew
    return Ways(None if step is None else by(step, other), None if anew is None else by(anew, other))


def _either(one: Range | None, other: Range | None) -> Range | None:
    if one is None or other is None:
        return other if one is None else one
    return _whole(one, other) | _whole(other, one)


def _whole(x: Range, like: Range) -> Range:
    """The range with the axes of both."""
    shape = np.broadcast_shapes(x.shape, like.shape)
    return Range(np.broadcast_to(x.low, shape), np.broadcast_to(x.high, shape), x.grid)
