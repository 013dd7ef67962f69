"""Which recurrences run in chunks: those whose step is of the normal form of `lsrl.ir.schedules.chunk_form_parts`.

The step is taken apart at the waists of its map (`lsrl.ir.facts.chains`), each part is read as a step of the normal
form, and the parts are composed.  Which axis of the state is that of rows is tried out: the low rank part decides it
where there is one, else what reads the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

from lsrl.ir.cell import Cell
from lsrl.ir.facts.recurrence import Recurrence, recurrences
from lsrl.ir.pipeline import Component
from lsrl.ir.schedules.chunk_form_parts import ChunkForm, Side
from lsrl.ir.schedules.chunk_form_reads import reads
from lsrl.ir.schedules.chunk_form_steps import composed
from lsrl.ir.schedules.chunk_form_terms import step_of
from lsrl.ir.schedules.chunk_form_values import Axes
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Kind


def chunk_form(cell: Cell, component: Component, sizes: Mapping[str, int] | None = None) -> ChunkForm:
    """The normal form of a recurrence of the cell; it holds for all sizes.

    Raises:
        NotLegal: it has none; says which fact is missing.
    """
    known = _recurrence(cell, component)
    found: list[ChunkForm] = []
    refused: list[NotLegal] = []
    for axes in _orientations(known):
        try:
            found.append(_form(cell, known, axes, bool(component.reverse)))
        except NotLegal as fault:
            refused.append(fault)
    if not found:
        raise refused[0]
    return min(found, key=_work)


def _recurrence(cell: Cell, component: Component) -> Recurrence:
    """The facts about a recurrence of one affine state that is a vector or a matrix in each lane."""
    names = " and ".join(f"`{state.name}`" for state in component.states)
    state = component.states[0]
    if not component.cyclic:
        raise NotLegal(f"{names} does not feed back into itself")
    if len(component.states) > 1:
        raise NotLegal(f"{names} need each other, and chunks carry one state")
    if len(state.axes) > 1:
        raise NotLegal(f"{names} travels along {len(state.axes)} axes")
    if state.kind not in (Kind.FLOAT, Kind.COMPLEX):
        raise NotLegal(f"{names} holds {state.kind} values", state.next)
    known = next(each for each in recurrences(cell) if {s.name for s in each.states} == component.names)
    if state.name not in known.chains:
        raise NotLegal(f"`{state.name}'` is not affine in {names}", next(iter(known.offenders), state.next))
    return known


def _orientations(known: Recurrence) -> Iterator[Axes]:
    """What could be rows and columns.  Heads are lanes, and so is what is left when there are more than two axes."""
    (state,) = known.states
    bare = [axis for axis in range(len(state.shape)) if axis not in known.heads[state.name]]
    if not bare:
        raise NotLegal(f"no element of `{state.name}` meets another or shares a factor with it: there is no matrix")
    mixed = [a for a in bare if any(not t.keeps(a) for _, form in known.chains[state.name] for t in form.terms)]
    ordered = [*mixed, *(axis for axis in bare if axis not in mixed)]
    if len(bare) == 1:
        yield Axes(tuple(axis for axis in range(len(state.shape)) if axis not in bare), bare[0], None, state.shape)
    for rows, columns in permutations(ordered, 2):
        lanes = tuple(axis for axis in range(len(state.shape)) if axis not in (rows, columns))
        yield Axes(lanes, rows, columns, state.shape)


def _form(cell: Cell, known: Recurrence, axes: Axes, reverse: bool) -> ChunkForm:
    (state,), (leaf,) = known.states, known.leaves
    step = composed([step_of(form, axes) for _, form in known.chains[state.name]])
    lanes = axes.dims(axes.lanes)
    columns = None if axes.columns is None else state.shape[axes.columns]
    found = reads(cell, state, leaf, axes)
    return ChunkForm(state, leaf, reverse, axes.perm, lanes, state.shape[axes.rows], columns, step, found)


def _work(form: ChunkForm) -> tuple[int, int, int]:
    """Of several forms that with the least work: a decay or a read along the columns needs sums of its own."""
    terms = [term for read in form.reads for term in read.terms]
    sideways = sum(term.side is Side.COLUMNS for term in terms) + (form.step.decay_columns is not None)
    return sideways, len(form.step.keys), len(form.lanes)
