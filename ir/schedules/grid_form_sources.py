"""What the places of a grid add to matrix states: outer products, each once, and how they count in each state."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lsrl.ir import build
from lsrl.ir.facts.recurrence import Recurrence
from lsrl.ir.schedules.chunk_form_values import plus
from lsrl.ir.schedules.grid_form_parts import Row
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value

Products = Callable[[Value], Iterable[tuple[Value, Value, Value]]]
"""Keys, values and numbers of the outer products that a value of the state's shape is the sum of."""


def added_products(known: Recurrence, products: Products) -> tuple[tuple[tuple[Value, Value], ...], tuple[Row, ...]]:
    """Keys and values of all outer products, and the numbers with which each counts in each state.

    Raises:
        NotLegal: nothing is added, or what is added is no such sum.
    """
    found: dict[tuple[Value, Value], dict[str, Value]] = {}
    for state in known.states:
        rest = known.forms[state.name].rest
        whole = None if rest is None else build.full(state.shape, rest)
        for key, value, number in () if whole is None else products(whole):
            own = found.setdefault((key, value), {})
            total = plus(own.get(state.name), number)
            assert total is not None, "a sum with a number"
            own[state.name] = total
    if not found:
        raise NotLegal("nothing is added to its states", known.states[0].next)
    gates = tuple(tuple(own.get(state.name) for own in found.values()) for state in known.states)
    return tuple(found), gates
