"""Bounds of sums along the last axis: what is known of a one-hot vector beyond its elements.

Each element of a one-hot vector is 0 or 1, and so is each of the vector that is all ones; that the elements add up to
1 is what bounds a place read off it, `dot(place, iota(M))`, by M - 1 rather than by M (M - 1) / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.gaps import gap
from lsrl.backends.evaluation.outward import add, around, lower, upper
from lsrl.backends.evaluation.range_axes import entries, pair, product
from lsrl.backends.evaluation.range_elementwise import choice, known, minus, plus
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.value import Value

Rule = Callable[[Value, Sequence[Range]], Range | None]
"""The range of a value's sums along its last axis; None where the elements tell as much."""


def with_sums(value: Value, found: Mapping[Value, Range], plain: Range, scope: Scope) -> Range:
    """The range `plain` of a value with what its operation tells of sums."""
    rule = RULES.get(value.op)
    if rule is None or not plain.shape or not plain.shape[-1]:
        return plain
    bounds = [rule(value, [found[arg] for arg in value.args])]
    if value.op in ("concat", "add"):
        bounds.append(_taken_apart(value, found, scope))
    for sums in bounds:
        plain = plain if sums is None else plain.with_sums(sums.low, sums.high)
    return plain


def _of(x: Range) -> Range:
    return Range(*x.row_sums())


def _same(_: Value, args: Sequence[Range]) -> Range:
    return _of(args[0])


def _added(value: Value, args: Sequence[Range]) -> Range | None:
    if any(not x.shape for x in args):
        return None
    return (plus if value.op == "add" else minus)(*map(_of, args))


def _chosen(value: Value, args: Sequence[Range]) -> Range | None:
    """Where one truth value chooses between whole vectors, or each of several between an element and 0."""
    condition, x, y = args
    if not condition.shape:
        return choice(condition, _of(x), _of(y)) if x.shape and y.shape else None
    return _scaled(value, [condition, x]) if known(y) == 0 else None


def _exceeding(value: Value, args: Sequence[Range]) -> Range | None:
    """So many elements reach a number as there is room for below their sum."""
    x, y = args
    if not x.shape or y.shape or not x.nonnegative:
        return None
    reached = float(y.least) + float(gap(value.op, x, y).above)
    with np.errstate(all="ignore"):
        most = np.floor(around(_of(x).high / reached, upper)) if reached > 0 else np.full(x.shape[:-1], np.inf)
    return Range(np.zeros(x.shape[:-1]), most)


def _scaled(_: Value, args: Sequence[Range]) -> Range | None:
    """Of the product of a vector with another, or with a number."""
    x, y = args
    if x.shape and y.shape:
        letters = "abcdefghij"[: len(x.shape)]
        return pair((letters, letters), letters[:-1], x, y)
    letters = "abcdefghij"[: max(len(x.shape), len(y.shape)) - 1]
    vector, number = (x, y) if x.shape else (y, x)
    return pair((letters, ""), letters, _of(vector), number)


def _both(_: Value, args: Sequence[Range]) -> Range | None:
    """No more hold together than of either."""
    highs = [_of(x).high for x in args if x.shape]
    return Range(np.zeros(highs[0].shape), np.minimum.reduce(highs)) if highs else None


def _concatenated(value: Value, args: Sequence[Range]) -> Range | None:
    if integer(value.attr("axis")) != value.rank - 1:
        return None
    parts = [_of(x) for x in args]
    low, high = parts[0].low, parts[0].high
    for other in parts[1:]:
        low, high = add(low, other.low, lower), add(high, other.high, upper)
    return Range(low, high)


def _picked(value: Value, args: Sequence[Range]) -> Range | None:
    """Part of what is not negative adds up to no more than the whole."""
    x, last = args[0], integer(value.attr("axis")) == value.rank - 1
    return Range(np.zeros(x.shape[:-1]), _of(x).high) if last and x.nonnegative else None


def _one_place(value: Value, args: Sequence[Range]) -> Range | None:
    """At most one of different numbers equals a number, and one does if that is whole and among all in between."""
    (x, y), (left, right) = args, value.args
    for places, number, repeated in ((x, y, right), (y, x, left)):
        if places.constant and places.shape and _spread_last(repeated) and _distinct(places.low):
            sure = all(_among(number, row) for row in places.low.reshape(-1, places.shape[-1]))
            return Range(np.full(places.shape[:-1], 1.0 * sure), np.ones(places.shape[:-1]))
    return None


def _spread_last(value: Value) -> bool:
    """Whether a value is the same along the last axis of what it meets."""
    return value.rank == 0 or (value.op == "expand" and value.rank - 1 in integers(value.attr("axes")))


def _distinct(places: Array) -> bool:
    """Whether the numbers of each row differ."""
    rows = np.sort(places, -1)
    return bool(np.all(rows[..., 1:] != rows[..., :-1]))


def _among(number: Range, row: Array) -> bool:
    """Whether a whole number is in a row, whatever it is between its bounds."""
    if not (number.integral and number.bounded and number.most - number.least < row.size):
        return False
    return set(np.arange(number.least, number.most + 1).tolist()) <= set(row.tolist())


def _taken_apart(value: Value, found: Mapping[Value, Range], scope: Scope) -> Range | None:
    """Parts of one vector, side by side or added up, no element twice: they are no more than the whole together, and
    as much if none is left out."""
    parts = [_part(arg, found, scope) for arg in value.args]
    bases = {None if part is None else part[0] for part in parts}
    base = bases.pop()
    if bases or base is None or value.rank != 1 or any(arg.rank != 1 for arg in value.args):
        return None
    places = [place for part in parts if part is not None for place in part[1]]
    whole = _of(found[base])
    if len(set(places)) < len(places) or not found[base].nonnegative:
        return None
    return whole if len(places) == found[base].shape[0] else Range(np.zeros(()), whole.high)


def _part(value: Value, found: Mapping[Value, Range], scope: Scope) -> tuple[Value, range] | None:
    """The vector that a value is a part of, and the places that it takes."""
    match value:
        case Value("slice", (base,)) if base.rank == 1:
            start, size = scope.shape((dim(value.attr("start")), dim(value.attr("size"))))
            step = integer(value.attr("step"))
            return base, range(start, start + size * step, step)
        case Value("expand", (Value("select", (base,)) as picked,)) if base.rank == value.rank == 1:
            (place,) = scope.shape((dim(picked.attr("index")),))
            count = found[value].shape[0]
            return (base, range(place, place + 1)) if count == 1 else None
    return (value, range(found[value].shape[0])) if value.rank == 1 else None


def _multiplied(value: Value, args: Sequence[Range]) -> Range | None:
    """A product whose last letter only one operand has, as its last: that operand's sums take its place."""
    left, result = str(value.attr("spec")).split("->")
    letters, last = left.split(","), result[-1:]
    owners = [place for place, own in enumerate(letters) if last and last in own]
    if len(owners) != 1 or letters[owners[0]][-1:] != last or letters[owners[0]].count(last) > 1:
        return None
    operands = [_of(x) if place in owners else x for place, x in enumerate(args)]
    return product([own.replace(last, "") for own in letters], result[:-1], operands)


def _entry(value: Value, args: Sequence[Range]) -> Range | None:
    """Rows of a table have the sums of the rows that may be meant."""
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    if axis == value.args[0].rank - 1:
        return None
    table, index = args
    ends = entries(_of(table), index, axis, batch)
    shape = (*table.shape[:axis], *index.shape[batch:], *table.shape[axis + 1 : -1])
    return Range(np.broadcast_to(ends[0], shape), np.broadcast_to(ends[1], shape))


RULES: Mapping[str, Rule] = {
    "cast": _same,
    "stopgrad": _same,
    "add": _added,
    "sub": _added,
    "where": _chosen,
    "mul": _scaled,
    "and": _both,
    "concat": _concatenated,
    "slice": _picked,
    "eq": _one_place,
    "gt": _exceeding,
    "ge": _exceeding,
    "einsum": _multiplied,
    "gather": _entry,
}
