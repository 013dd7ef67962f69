"""Matrix states in layers, over a grid: transitions are matrices between the layers.

    R' = einsum("i j, d v j -> d v i", t, R) + einsum("i j l, d j, v l -> d v i", s, k, v)
    einsum("i j l, d j, d v l -> v i", m, q, R)

A layer of a state is a state of the plain form, so tiles run these as they run several states (Pöppel et al., 2025,
"pLSTM: parallelizable Linear Source Transition Mark networks", appendix B.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import permutations

from lsrl.ir import build
from lsrl.ir.cell import Cell, State
from lsrl.ir.dims import Shape
from lsrl.ir.facts.linear import Term
from lsrl.ir.facts.recurrence import Recurrence
from lsrl.ir.schedules.coefficients import Coefficient, dense
from lsrl.ir.schedules.grid_form_layers_reads import layered_reads
from lsrl.ir.schedules.grid_form_layers_sources import layered_products
from lsrl.ir.schedules.grid_form_parts import LayeredForm, Layers, Row
from lsrl.ir.schedules.grid_form_sources import added_products
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value


def layered_form(
    cell: Cell, known: Recurrence, leaves: Sequence[Value], travel: tuple[int, ...], reverse: tuple[int, ...]
) -> LayeredForm:
    """The form of states that mix along one of their axes.

    Args:
        leaves: the arriving states, in the order of the states.
        travel: the number of the axis of the grid that each travels along.
        reverse: the numbers of the axes on which they run backwards.

    Raises:
        NotLegal: they have none; says which fact is missing.
    """
    moved = next((term for form in known.forms.values() for term in form.terms if term.through), None)
    if moved is not None:
        raise NotLegal(f"a state goes through {moved.through[0]}, which moves or mixes its elements", moved.leaf)
    refused: list[NotLegal] = []
    for axes in _orientations(known):
        try:
            transition = tuple(_row(known, state, leaves, axes) for state in known.states)
            products, gates = added_products(known, partial(layered_products, axes=axes))
            reads = layered_reads(cell, known.states, leaves, axes)
        except NotLegal as fault:
            refused.append(fault)
            continue
        keys, values = zip(*products)
        rank = len(cell.axes)
        return LayeredForm(known.states, rank, travel, reverse, axes.perm, transition, keys, values, gates, reads)
    raise refused[0]


def _orientations(known: Recurrence) -> Iterator[Layers]:
    """The axis along which layers lie, and what could be rows and columns; every other axis is one of lanes."""
    first = known.states[0]
    terms = [term for state in known.states for term in known.forms[state.name].terms]
    axes = range(len(first.shape))
    mixed = [axis for axis in axes if not all(term.keeps(axis) for term in terms)]
    if len(mixed) != 1:
        raise NotLegal(f"`{first.name}'` mixes elements along {len(mixed)} axes, and layers lie along one", first.next)
    heads = frozenset.intersection(*(known.heads[state.name] for state in known.states))
    bare = [axis for axis in axes if axis not in heads and axis not in mixed]
    if len(bare) < 2:
        raise NotLegal(f"`{first.name}` has no matrices in its layers", first.next)
    for rows, columns in permutations(bare, 2):
        lanes = tuple(axis for axis in axes if axis not in (rows, columns, mixed[0]))
        yield Layers(lanes, mixed[0], rows, columns, first.shape)


def _row(known: Recurrence, state: State, leaves: Sequence[Value], axes: Layers) -> Row:
    """The matrices [*lanes, J, J] by which the layers of arriving states count in those of the next one."""
    terms = known.forms[state.name].terms
    found = (_matrix(state, [term for term in terms if term.leaf is leaf], axes) for leaf in leaves)
    return tuple(found)


def _matrix(state: State, terms: Sequence[Term], axes: Layers) -> Value | None:
    made = dense(terms, axes.shape, axes.layer)
    if made is not None and not set(made.axes) <= {*axes.lanes, axes.layer}:
        raise NotLegal(f"`{state.name}'` takes a state times more than a matrix between layers", made.value)
    return None if made is None else _in_order(made, axes)


def _in_order(matrix: Coefficient, axes: Layers) -> Value:
    """[*lanes, J, J], rows before columns."""
    wanted = (*axes.lanes, axes.layer, axes.layer)
    names = [*matrix.axes]
    names[matrix.axes.index(axes.layer) + 1] = -1  # the columns
    order = [place for place in (*axes.lanes, axes.layer, -1) if place in names]
    turned = build.transpose(matrix.value, [names.index(place) for place in order])
    assert isinstance(turned, Value), "no operand is diagonal"
    shape: Shape = tuple(axes.shape[axis] for axis in wanted)
    return build.expand(turned, shape, [at for at, axis in enumerate(axes.lanes) if axis not in names])
