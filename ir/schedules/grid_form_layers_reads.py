"""What later work needs of states in layers: products of a layer of a query with layers of the arriving states.

einsum("i j l, d j, d v l -> v i", m, q, R)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from lsrl.ir import build
from lsrl.ir.cell import Cell, State
from lsrl.ir.dims import Dim
from lsrl.ir.facts.linear import Factor, LinearForm, Term, fitted
from lsrl.ir.schedules.chunk_form_reads import frontier
from lsrl.ir.schedules.chunk_form_values import Axes, plus, product, signed
from lsrl.ir.schedules.grid_form_layers_sources import FRESH, layer_letter, opened, renamed
from lsrl.ir.schedules.grid_form_parts import GridRead, Layers
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value


def layered_reads(cell: Cell, states: Sequence[State], leaves: Sequence[Value], axes: Layers) -> tuple[GridRead, ...]:
    """The reads that everything needs which is wanted beyond the states.

    Raises:
        NotLegal: something needs more than products of the arriving states with vectors, or nothing needs anything.
    """
    plain = Axes((*axes.lanes, axes.layer), axes.rows, axes.columns, axes.shape)
    found = frontier(cell, states, leaves, plain)
    if not found:
        raise NotLegal("nothing reads its states")
    return tuple(_read(value, form, leaves, axes) for value, form in found.items())


def _read(value: Value, form: LinearForm | None, leaves: Sequence[Value], axes: Layers) -> GridRead:
    if form is None:
        raise NotLegal("what is wanted of its states is not affine in them", value)
    rows: dict[Value, list[Value | None]] = {}
    perms = set()
    for term in form.terms:
        if term.leaf not in leaves:
            raise NotLegal("a state in layers is read as it is passed on, and tiles read those that arrive", value)
        query, weight, perm = _term(term, axes, value)
        own = rows.setdefault(query, [None] * len(leaves))
        at = leaves.index(term.leaf)
        own[at] = plus(own[at], weight)
        perms.add(perm)
    if len(perms) > 1:
        raise NotLegal("what is wanted of its states has its axes in two orders", value)
    rest = None if form.rest is None else fitted(form.rest, form.shape, form.kind)
    return GridRead(value, tuple((query, tuple(row)) for query, row in rows.items()), rest, perms.pop())


def _term(term: Term, axes: Layers, value: Value) -> tuple[Value, Value, tuple[int, ...]]:
    """The query [*lanes, JQ, K], the numbers [*lanes, JO, JQ, J], and the axes of the result among [*lanes, JO, V]."""
    letters = count(FRESH)
    at = {axis: term.source(axis) for axis in range(len(axes.shape))}
    named = [letter for letter in at.values() if letter is not None]
    if term.through or len(named) < len(at):
        raise NotLegal("what is wanted of its states moves their elements", value)
    lanes = tuple(named[axis] for axis in axes.lanes)
    rows, columns, layer = (named[axis] for axis in (axes.rows, axes.columns, axes.layer))
    made = [letter for letter in term.result if letter not in (*lanes, columns)]
    if rows in term.result or not {*lanes, columns} <= set(term.result) or len(made) > 1:
        raise NotLegal("all of its states is wanted at every position, not only products with vectors", value)
    sign, factors = _apart(term, {*lanes, rows}, rows, letters)
    by_query = [factor for factor in factors if rows in factor.axes]
    if any(columns in factor.axes for factor in factors):
        raise NotLegal("what is read of its states is scaled before it is summed up", value)
    numbers = [factor for factor in factors if factor not in by_query]
    out, outs, kept = _out(made, term, layer, letters)
    j, queries, eyes = layer_letter(by_query, {*lanes, rows}, {layer, *made, out}, letters)
    sizes = axes.dims(axes.lanes)
    query = product(renamed(by_query, eyes), (*lanes, j, rows), (*sizes, queries, axes.shape[axes.rows]))
    shape = (*sizes, outs, queries, axes.shape[axes.layer])
    weight = signed(product([*numbers, *eyes, *kept], (*lanes, out, j, layer), shape), term.sign * sign)
    along = (*lanes, made[0], columns) if made else (*lanes, columns)
    return query, weight, tuple(along.index(letter) for letter in term.result)


def _out(made: Sequence[int], term: Term, layer: int, letters: Iterator[int]) -> tuple[int, Dim, list[Factor]]:
    """The letter of the layers of what is read, their number, and what is to be multiplied with."""
    if not made:
        return next(letters), Dim.of(1), []
    size = term.size(made[0])
    if made[0] != layer:
        return made[0], size, []
    own = next(letters)
    return own, size, [Factor(build.eye(size), (own, layer))]


def _apart(term: Term, known: set[int], rows: int, letters: Iterator[int]) -> tuple[int, list[Factor]]:
    """The factors of a term; one with rows and layers along several axes as the product that it is made by."""
    sign, found = 1, []
    for factor in term.factors:
        if rows in factor.axes and len(set(factor.axes) - known) > 1:
            turn, parts = opened(factor, letters)
            sign *= turn
            found += parts
        else:
            found.append(factor)
    return sign, found
