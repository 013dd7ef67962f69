"""Which recurrences over grids run in tiles: matrix states that meet as numbers times whole states.

    R' = a * R + b * D + s * outer(k, v)        D' = c * R + e * D + t * outer(k, v)        q @ (m * R + n * D)

Everything is read off the graph: the states are matrices in each lane, of one shape; a step adds up the arriving
states, each times a number of its lane, and outer products; what later work needs is products with vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import permutations
from math import prod

from lsrl.ir import ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.linear import Term
from lsrl.ir.facts.recurrence import Recurrence, joint
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.chunk_form_outer import gated_products
from lsrl.ir.schedules.chunk_form_values import Axes, plus, product, signed
from lsrl.ir.schedules.grid_form_layers import layered_form
from lsrl.ir.schedules.grid_form_parts import GridForm, Row
from lsrl.ir.schedules.grid_form_reads import grid_reads
from lsrl.ir.schedules.grid_form_sources import added_products
from lsrl.ir.schedules.grid_together import check_together, tiled_together
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Kind, Value

MANY_NUMBERS = 2048
"""Of a state whose passage from tile to tile costs more than larger tiles do."""


def tile_side(states: Sequence[State], sizes: Mapping[str, int]) -> int:
    """Places of a tile along each axis: the coefficients grow with its area, what passes its borders shrinks."""
    return 8 if state_numbers(states, sizes) >= MANY_NUMBERS else 4


def state_numbers(states: Sequence[State], sizes: Mapping[str, int]) -> int:
    """How many numbers the first state has at a place."""
    return prod(dim.evaluate(sizes) for dim in states[0].shape)


def grid_form(cell: Cell, component: Component) -> GridForm:
    """The form of a recurrence of a cell over a grid, and of those that run in the same tiles; it holds for all sizes.

    Raises:
        NotLegal: it has none; says which fact is missing.
    """
    component = tiled_together(cell, component)
    known = _recurrence(cell, component)
    leaves = _ordered(known)
    travel = tuple(cell.axes.index(state.axes[0]) for state in known.states)
    turned = tuple(number for number, axis in enumerate(cell.axes) if axis in component.reverse)
    if not all(_keeps_all(term) for form in known.forms.values() for term in form.terms):
        return layered_form(cell, known, leaves, travel, turned)
    refused: list[NotLegal] = []
    for axes in _orientations(known):
        try:
            return _form(cell, known, leaves, axes, travel, turned)
        except NotLegal as fault:
            refused.append(fault)
    raise refused[0]


def _recurrence(cell: Cell, component: Component) -> Recurrence:
    """The facts about a recurrence of affine states of one shape."""
    names = " and ".join(f"`{state.name}`" for state in component.states)
    first = component.states[0]
    if not is_grid(cell):
        raise NotLegal(f"{names} does not travel on a grid")
    if not component.cyclic:
        raise NotLegal(f"{names} does not feed back into itself")
    for state in component.states:
        if state.kind is not Kind.FLOAT:
            raise NotLegal(f"`{state.name}` holds {state.kind} values, and tiles those of real numbers", state.next)
        if state.shape != first.shape:
            raise NotLegal(f"`{first.name}` and `{state.name}` differ in shape, so they do not add up", state.next)
    check_together(cell, component)
    known = joint(cell, component)
    for state in known.states:
        if state.name not in known.forms:
            raise NotLegal(f"`{state.name}'` is not affine in {names}", next(iter(known.offenders), state.next))
    return known


def _orientations(known: Recurrence) -> Iterator[Axes]:
    """What could be rows and columns; every other axis is one of lanes."""
    first = known.states[0]
    heads = frozenset.intersection(*(known.heads[state.name] for state in known.states))
    bare = [axis for axis in range(len(first.shape)) if axis not in heads]
    if len(bare) < 2:
        raise NotLegal(f"`{first.name}` is no matrix of which vectors read and outer products write", first.next)
    for rows, columns in permutations(bare, 2):
        lanes = tuple(axis for axis in range(len(first.shape)) if axis not in (rows, columns))
        yield Axes(lanes, rows, columns, first.shape)


def _form(
    cell: Cell,
    known: Recurrence,
    leaves: Sequence[Value],
    axes: Axes,
    travel: tuple[int, ...],
    turned: tuple[int, ...],
) -> GridForm:
    states = known.states
    transition = tuple(_row(known, state, leaves, axes) for state in states)
    pairs, gates = added_products(known, partial(gated_products, axes=axes))
    keys, values = zip(*pairs)
    reads = grid_reads(cell, states, leaves, axes, transition, pairs, gates)
    return GridForm(states, len(cell.axes), travel, turned, axes.perm, transition, keys, values, gates, reads)


def _ordered(known: Recurrence) -> tuple[Value, ...]:
    """The leaves in the order of the states, those included that no next value reads."""
    by_name = {str(leaf.attr("name")): leaf for leaf in known.leaves}
    return tuple(by_name.get(s.name) or ops.state(s.name, s.axes[0], s.shape, s.kind, s.domain) for s in known.states)


def _row(known: Recurrence, state: State, leaves: Sequence[Value], axes: Axes) -> Row:
    """The numbers by which the arriving states count in the next value of a state."""
    found: dict[Value, Value | None] = {}
    for term in known.forms[state.name].terms:
        found[term.leaf] = plus(found.get(term.leaf), _number(state, term, axes))
    return tuple(found.get(leaf) for leaf in leaves)


def _keeps_all(term: Term) -> bool:
    return not term.through and all(map(term.keeps, range(len(term.result))))


def _number(state: State, term: Term, axes: Axes) -> Value:
    """What a term that moves no element multiplies every element of a lane by."""
    assert _keeps_all(term), "other states lie in layers"
    lanes = tuple(term.result[axis] for axis in axes.lanes)
    wide = [factor.value for factor in term.factors if not set(factor.axes) <= set(lanes)]
    if wide:
        raise NotLegal(f"`{state.name}'` takes a state times more than a number", wide[0])
    return signed(product(term.factors, lanes, axes.dims(axes.lanes)), term.sign)
