"""Gates at their extremes: decays of e^-40, e^-8 and 1 side by side, and hard resets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.ir.cell import Cell
from lsrl.ir.facts.recurrence import Recurrence, recurrences
from lsrl.ir.fault import Refusal
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value, postorder
from lsrl.verify import Case

LOGARITHMS = (-40.0, -8.0, 0.0)
FACTORS = (0.0, float(np.exp(-8)), 1.0)
TOLERANCES = {"float64": 1e-10, "float32": 5e-5, "bfloat16": 1e-2, "float16": 1e-2}
_THROUGH = (Family.ELEMENTWISE, Family.LAYOUT)


class StressError(Refusal):
    """A program without gates that are given from outside."""


def stressed(given: Case, seed: int = 0) -> Case:
    """The same program with its gates at their extremes.

    Raises:
        StressError: no input is a gate.
    """
    values = gates(given.cell)
    if not values:
        raise StressError(f"{given.program.name} has no input that is a gate by itself, so there is nothing to stress")
    generator = np.random.default_rng(seed)
    params, inputs, state = given.arrays
    drawn: dict[str, Array] = {
        name: generator.choice(choices, size=inputs[name].shape) for name, choices in values.items()
    }
    return replace(given, arrays=(params, {**inputs, **drawn}, state))


def gates(cell: Cell) -> dict[str, tuple[float, ...]]:
    """The inputs that are gates, by name, with extremes for each.

    One that a coefficient of at least zero is made of, element by element, is the logarithm of a gate or near it; one
    that is itself a coefficient and a number for each head is the factor.
    """
    found: dict[str, tuple[float, ...]] = {}
    for recurrence in recurrences(cell):
        for name, extremes in _gates(recurrence):
            found.setdefault(name, extremes)
    return found


def _gates(recurrence: Recurrence) -> Iterator[tuple[str, tuple[float, ...]]]:
    heads = min((len(axes) for axes in recurrence.heads.values()), default=0)
    for value, bounds in recurrence.coefficients.items():
        if value.op == "input" and value.rank <= heads:
            yield str(value.attr("name")), FACTORS
        elif value.args and bounds.low >= 0 and value.op not in ("where", "cast"):
            yield from ((str(leaf.attr("name")), LOGARITHMS) for leaf in _made_of(value))


def _made_of(value: Value) -> list[Value]:
    """Inputs of floats that a value is made of, element by element."""
    reached = postorder([value], stop=lambda v: family(v.op) not in _THROUGH)
    return [leaf for leaf in reached if leaf.op == "input" and leaf.kind == "float"]
