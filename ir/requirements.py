"""What a graph requires of its sizes: conditions that only numbers can decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lsrl.ir.cell import Cell, Requirement
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer
from lsrl.ir.value import Value, postorder


def requirements(cell: Cell) -> Cell:
    """The cell, which also requires that its slices and elements lie within their axes."""
    found = dict.fromkeys(r for value in postorder(cell.all_roots()) for r in _within(value) if not not_negative(r.dim))
    known = {r.dim for r in cell.requires}
    return replace(cell, requires=(*cell.requires, *(r for r in found if r.dim not in known)))


def _within(value: Value) -> Iterator[Requirement]:
    if value.op not in ("slice", "select"):
        return
    length = value.args[0].shape[integer(value.attr("axis"))]
    if value.op == "select":
        first = last = dim(value.attr("index"))
        said = f"the index {first}"
    else:
        first, count = dim(value.attr("start")), dim(value.attr("size"))
        last = first + (count - 1) * integer(value.attr("step"))
        said = f"the slice {first}:{last + 1}"
        yield Requirement(count, f"{said} has a negative size")
    message = f"{said} does not lie within an axis of {length}"
    yield Requirement(first, message)
    yield Requirement(length - 1 - last, message)


def not_negative(size: Dim) -> bool:
    """Whether a size is at least zero whatever the sizes it is made of are."""
    return all(factor >= 0 and all(isinstance(atom, str) for atom, _ in monomial) for monomial, factor in size.terms)
