"""An affine form of a matrix state as one step of the normal form.

Each term of the form is one of three: it keeps rows and columns and so is a decay, or it sums over the rows with a
reader and writes with a key.  What decides is which letters its factors connect; a factor that connects two letters
that ought to be apart is the reason why a form is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl.ir import build
from lsrl.ir.facts.linear import Factor, Letters, LinearForm, Term
from lsrl.ir.schedules.chunk_form_groups import connected, culprit, others
from lsrl.ir.schedules.chunk_form_outer import outer_products
from lsrl.ir.schedules.chunk_form_parts import ChunkStep
from lsrl.ir.schedules.chunk_form_steps import joined
from lsrl.ir.schedules.chunk_form_values import Axes, ones, plus, product, signed, times
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class _Write:
    """`key (value + mix reader^T S)^T`, one of value and reader being there."""

    key: Value
    value: Value | None
    reader: Value | None
    mix: Value | None


def step_of(form: LinearForm, axes: Axes) -> ChunkStep:
    """The step that a form of the state's next value (or of one factor of it) is.

    Raises:
        NotLegal: a term is neither a decay nor of low rank, or what is added is no sum of outer products.
    """
    for term in form.terms:
        _refuse_mixing(term, axes)
    kept = [term for term in form.terms if term.keeps(axes.rows)]
    decay_rows, decay_columns = _decay(kept, axes)
    writes = [_low_rank(term, axes) for term in form.terms if not term.keeps(axes.rows)]
    if writes and decay_columns is not None:
        raise NotLegal("its transition scales one axis of the state and mixes along the other one", decay_columns)
    added = [] if form.rest is None else list(outer_products(form.rest, axes))
    writes += [_Write(key, value, None, None) for key, value in added]
    readers = tuple(write.reader for write in writes if write.reader is not None)
    places = [place for place, write in enumerate(writes) if write.reader is not None]
    return joined(
        ChunkStep(
            decay_rows=decay_rows,
            decay_columns=decay_columns,
            readers=readers,
            keys=tuple(write.key for write in writes),
            values=tuple(write.value for write in writes),
            mix=tuple(tuple(w.mix if place == at else None for at in places) for place, w in enumerate(writes)),
        )
    )


def _refuse_mixing(term: Term, axes: Axes) -> None:
    if term.through:
        raise NotLegal(f"the state goes through {term.through[0]}, which is no product with a vector", term.operand)
    for axis in axes.vector(axes.columns):
        if not term.keeps(axis):
            raise NotLegal("its transition mixes elements along more than one axis", culprit(term.factors))


def _decay(terms: Sequence[Term], axes: Axes) -> tuple[Value | None, Value | None]:
    """What the terms that keep every element in place multiply it by, along rows and along columns."""
    if not terms:
        return build.zeros(axes.dims(axes.lanes)), None
    found = [_diagonal(term, axes) for term in terms]
    if len(found) == 1:
        return found[0]
    for _, columns in found:
        if columns is not None:
            raise NotLegal("its decay is a sum of which a part varies along the columns", columns)
    total: Value | None = None
    for rows, _ in found:
        total = plus(total, ones(axes.dims(axes.lanes)) if rows is None else rows)
    return total, None


def _diagonal(term: Term, axes: Axes) -> tuple[Value | None, Value | None]:
    """The decays of a term along rows and columns; a number in each lane counts to the rows."""
    lanes, row = _letters(term, axes.vector(None)), term.result[axes.rows]
    column = None if axes.columns is None else term.result[axes.columns]
    by_row, reached = connected(term.factors, row, lanes)
    by_column = () if column is None else connected(term.factors, column, lanes)[0]
    if column in reached:
        culprits = culprit(by_row, row, column)
        raise NotLegal("its decay varies along both axes and is no product of one for each", culprits)
    rest = others(term.factors, by_row, by_column)
    number = signed(_vector(rest, term, None, axes), term.sign) if rest or term.sign < 0 else None
    rows = _vector(by_row, term, axes.rows, axes) if by_row else None
    return times(number, rows), _vector(by_column, term, axes.columns, axes) if by_column else None


def _low_rank(term: Term, axes: Axes) -> _Write:
    """A term that sums over the rows: `key (number reader^T S)^T`."""
    lanes = _letters(term, axes.vector(None))
    created, summed = term.result[axes.rows], term.source(axes.rows)
    assert summed is not None, "an operand that went through nothing has every axis of the state"
    by_key, written = connected(term.factors, created, lanes)
    by_reader, _ = connected(term.factors, summed, lanes)
    if summed in written:
        raise NotLegal("its transition is dense along an axis", culprit(by_key, created, summed))
    column = None if axes.columns is None else term.result[axes.columns]
    scaled_by = [factor.value for factor in term.factors if column is not None and column in factor.axes]
    if scaled_by:
        raise NotLegal("what it reads of its state and writes again is scaled along the columns", scaled_by[0])
    number = signed(_vector(others(term.factors, by_key, by_reader), term, None, axes), term.sign)
    reader = product(by_reader, (*lanes, summed), axes.dims(axes.vector(axes.rows)))
    return _Write(_vector(by_key, term, axes.rows, axes), None, reader, number)


def _letters(term: Term, axes: Sequence[int]) -> Letters:
    return tuple(term.result[axis] for axis in axes)


def _vector(factors: Sequence[Factor], term: Term, axis: int | None, axes: Axes) -> Value:
    """The product of factors along the lanes and one axis of the result."""
    along = axes.vector(axis)
    return product(factors, _letters(term, along), axes.dims(along))
