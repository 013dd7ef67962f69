"""Which recurrences over a grid run in tiles at once: those whose tiles are the same but for what they take."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from lsrl.ir.plan_stages import Primitive
from lsrl.ir.schedules.grid_form_parts import GridForm, Row


def tiles_abreast(primitives: Iterable[Primitive]) -> tuple[tuple[Primitive, ...], ...]:
    """Those of some recurrences, none of which needs another, that can run as one: several at a time, in order.

    Everything that tiles take they take at every place, so that it is enough that shapes agree, and where there is
    nothing; directions need not, since each grid can be turned round.
    """
    found: dict[Hashable, list[Primitive]] = {}
    for each in primitives:
        if isinstance(each.form, GridForm):
            found.setdefault(_pattern(each, each.form), []).append(each)
    return tuple(tuple(alike) for alike in found.values() if len(alike) > 1)


def _pattern(each: Primitive, form: GridForm) -> Hashable:
    """What has to be the same: all of a form but what its values are."""
    states = tuple((state.shape, state.kind) for state in form.states)
    products = tuple((key.shape, value.shape) for key, value in zip(form.keys, form.values, strict=True))
    reads = tuple((vector.shape, _shapes([row])) for read in form.reads for vector, row in read.terms)
    tables = (_shapes(form.transition), _shapes(form.gates))
    return (type(form), each.how, form.rank, form.axes, form.perm, states, products, reads, tables)


def _shapes(rows: Sequence[Row]) -> Hashable:
    return tuple(tuple(None if each is None else each.shape for each in row) for row in rows)
