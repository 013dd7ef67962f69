"""What later work needs of the states of a grid, as products of vectors with the states that arrive.

A read of a state that is passed on is one of those that arrive, and of the outer products that its place adds:

    q^T R'  =  a * q^T R + b * q^T D + s * dot(q, k) * v
"""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.ir import build
from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.linear import LinearForm, fitted
from lsrl.ir.schedules.chunk_form_parts import Side
from lsrl.ir.schedules.chunk_form_reads import frontier, term_parts
from lsrl.ir.schedules.chunk_form_values import Axes, dot, plus, product, scaled, signed, times
from lsrl.ir.schedules.grid_form_parts import GridRead, Row
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value

Pairs = Sequence[tuple[Value, Value]]


def grid_reads(
    cell: Cell,
    states: Sequence[State],
    leaves: Sequence[Value],
    axes: Axes,
    transition: Sequence[Row],
    pairs: Pairs,
    gates: Sequence[Row],
) -> tuple[GridRead, ...]:
    """The reads that everything needs which is wanted beyond the states.

    Args:
        pairs: key and value of each outer product.

    Raises:
        NotLegal: something needs more than products of the states with vectors, or nothing needs anything.
    """
    found = frontier(cell, states, leaves, axes)
    if not found:
        raise NotLegal("nothing reads its states")
    nexts = [state.next for state in states]
    made = []
    for value, form in found.items():
        arriving, following, perm = _weights(value, form, leaves, nexts, axes)
        rest = None if form is None or form.rest is None else fitted(form.rest, form.shape, form.kind)
        for vector, weights in following.items():
            own = arriving.setdefault(vector, [None] * len(leaves))
            arriving[vector] = [plus(a, b) for a, b in zip(own, _after(weights, transition))]
            direct = _after(weights, gates)
            for (key, written), number in zip(pairs, direct):
                if number is not None:
                    added = build.transpose(scaled(written, times(number, dot(vector, key))), perm)
                    assert isinstance(added, Value), "no operand is diagonal"
                    rest = plus(rest, added)
        made.append(GridRead(value, tuple((q, tuple(row)) for q, row in arriving.items()), rest, perm))
    return tuple(made)


Weights = dict[Value, list[Value | None]]
"""For vectors the number with which each state counts."""


def _weights(
    value: Value, form: LinearForm | None, leaves: Sequence[Value], nexts: Sequence[Value], axes: Axes
) -> tuple[Weights, Weights, tuple[int, ...]]:
    """What reads arriving states and what reads those passed on, and the axes of the result among [*lanes, V]."""
    if form is None:
        raise NotLegal("what is wanted of its states is not affine in them", value)
    arriving: Weights = {}
    following: Weights = {}
    perms = set()
    for term in form.terms:
        parts = term_parts(term, axes, value)
        if parts.side is Side.COLUMNS:
            raise NotLegal("a vector reads its states along the axis that others write along", value)
        if parts.scale:
            raise NotLegal("what is read of its states is scaled before it is summed up", parts.scale[0].value)
        vector = product(parts.vector, parts.over, axes.dims(axes.vector(axes.rows)))
        number = signed(product(parts.numbers, parts.along[:-1], axes.dims(axes.lanes)), term.sign)
        group, place = (arriving, leaves) if term.leaf in leaves else (following, nexts)
        own = group.setdefault(vector, [None] * len(leaves))
        at = place.index(term.leaf)
        own[at] = plus(own[at], number)
        perms.add(tuple(parts.along.index(letter) for letter in term.result))
    if len(perms) > 1:
        raise NotLegal("what is wanted of its states has its axes in two orders", value)
    return arriving, following, perms.pop()


def _after(weights: Sequence[Value | None], rows: Sequence[Row]) -> list[Value | None]:
    """The numbers of states that are passed on, as numbers of what makes them: `weights @ rows`."""
    total: list[Value | None] = [None] * len(rows[0])
    for weight, row in zip(weights, rows):
        if weight is None:
            continue
        total = [have if each is None else plus(have, times(weight, each)) for have, each in zip(total, row)]
    return total
