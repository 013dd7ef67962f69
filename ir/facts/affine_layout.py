"""Affine rules of the operations that move elements: each is a product with a matrix of zeros and ones.

Where the state itself does not have the axis that moves, the coefficients move instead: a slice of `W @ h` is a slice
of `W`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lsrl.ir import build, ops
from lsrl.ir.dims import Dim
from lsrl.ir.facts.affine import ARITHMETIC, Reader, Rule, interpret, made, taken
from lsrl.ir.facts.factors import repeated
from lsrl.ir.facts.linear import Factor, LinearForm, Term, is_ones
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.value import Kind, Value


def read_affine(
    roots: Sequence[Value], leaves: Sequence[Value]
) -> tuple[tuple[LinearForm | None, ...], tuple[Value, ...]]:
    """The forms of the roots, None where one is not affine in the leaves, and the values whose operation is why."""
    found, offenders = interpret(roots, leaves, RULES)
    return tuple(form if isinstance(form, LinearForm) else None for form in found), offenders


def _termwise(value: Value, reader: Reader, change: Callable[[Term], Term]) -> LinearForm:
    arg = value.args[0]
    form = _dependent(arg, reader)
    return made(value, map(change, form.terms), reader.rest(value, arg, form.rest))


def _dependent(value: Value, reader: Reader) -> LinearForm:
    form = reader.form(value)
    assert form is not None, value
    return form


def _transpose(value: Value, reader: Reader) -> LinearForm:
    perm = integers(value.attr("perm"))
    return _termwise(value, reader, lambda term: replace(term, result=tuple(term.result[axis] for axis in perm)))


def _expand(value: Value, reader: Reader) -> LinearForm:
    new = integers(value.attr("axes"))

    def change(term: Term) -> Term:
        letters = dict(zip(new, reader.letters(len(new))))
        old = iter(term.result)
        result = tuple(letters[axis] if axis in letters else next(old) for axis in range(value.rank))
        shape = tuple(value.shape[axis] for axis in letters)
        return repeated(replace(term, result=result), tuple(letters.values()), shape)

    return _termwise(value, reader, change)


def _reduce_sum(value: Value, reader: Reader) -> LinearForm | None:
    gone = integers(value.attr("axes"))
    if value.args[0].kind is Kind.BOOL:
        return None

    def change(term: Term) -> Term:
        return replace(term, result=tuple(letter for axis, letter in enumerate(term.result) if axis not in gone))

    return _termwise(value, reader, change)


def _part(value: Value, reader: Reader) -> LinearForm:
    """slice, select, flip"""
    axis = integer(value.attr("axis"))
    return _termwise(value, reader, lambda term: _moved(term, axis, value, reader))


def _moved(term: Term, axis: int, value: Value, reader: Reader) -> Term:
    letter = term.result[axis]
    gone = value.op == "select"
    if letter not in term.axes:
        known = (f for f in term.factors if not (gone and f.axes == (letter,) and is_ones(f.value)))
        factors = tuple(_part_of(factor, letter, value) for factor in known)
        result = tuple(each for each in term.result if not (gone and each == letter))
        return replace(term, factors=factors, result=result)
    length = term.size(letter)
    if gone:
        chosen = build.one_hot(ops.size(dim(value.attr("index"))), length)
        return _selected(term, axis, (), Factor(chosen, (letter,), selects=True))
    (new,) = reader.letters(1)
    size = value.shape[axis]
    return _selected(term, axis, (new,), Factor(_selection(value, size, length), (new, letter), selects=True))


def _selected(term: Term, axis: int, letters: Sequence[int], factor: Factor) -> Term:
    result = (*term.result[:axis], *letters, *term.result[axis + 1 :])
    return replace(term, factors=(*term.factors, factor), result=result)


def _part_of(factor: Factor, letter: int, value: Value) -> Factor:
    """A factor with the operation of `value` done to its axis `letter`."""
    if letter not in factor.axes:
        return factor
    attrs = dict(value.attrs) | {"axis": factor.axes.index(letter)}
    axes = tuple(each for each in factor.axes if each != letter) if value.op == "select" else factor.axes
    return Factor(ops.apply(value.op, factor.value, **attrs), axes, factor.selects)


def _selection(value: Value, size: Dim, length: Dim) -> Value:
    """[size, length]: 1 where element j of the operand becomes element i."""
    i, j = ops.iota(size), ops.iota(length)
    if value.op == "flip":
        places = build.sub(ops.size(length - 1), i)
    else:
        places = build.add(build.mul(i, integer(value.attr("step"))), ops.size(dim(value.attr("start"))))
    return _equal(places, j)


def _equal(places: Value, elements: Value) -> Value:
    shape = (*places.shape, *elements.shape)
    left = build.expand(places, shape, [len(shape) - 1])
    return build.cast(build.binary("eq", left, build.expand(elements, shape, range(places.rank))), Kind.FLOAT)


def _concat(value: Value, reader: Reader) -> LinearForm:
    axis = integer(value.attr("axis"))
    terms, rests, start = [], [], Dim.of(0)
    for part in value.args:
        form = taken(part, reader)
        terms += [_padded(term, axis, value.shape[axis], start, reader) for term in form.terms]
        rests.append(build.zeros(part.shape, part.kind) if form.rest is None else form.rest)
        start = start + part.shape[axis]
    empty = all(taken(part, reader).rest is None for part in value.args)
    return made(value, terms, None if empty else ops.apply("concat", *rests, axis=axis))


def _padded(term: Term, axis: int, total: Dim, start: Dim, reader: Reader) -> Term:
    """A term with zeros before and after along one axis."""
    letter = term.result[axis]
    length = term.size(letter)
    if letter in term.axes or sum(letter in factor.axes for factor in term.factors) > 1:
        (new,) = reader.letters(1)
        places = build.sub(ops.iota(total), ops.size(start))
        return _selected(term, axis, (new,), Factor(_equal(places, ops.iota(length)), (new, letter), selects=True))
    factors = tuple(_with_zeros(f, letter, total, start) if letter in f.axes else f for f in term.factors)
    return replace(term, factors=factors)


def _with_zeros(factor: Factor, letter: int, total: Dim, start: Dim) -> Factor:
    at, shape = factor.axes.index(letter), factor.value.shape
    sides = (start, total - start - shape[at])
    before, after = (build.zeros((*shape[:at], side, *shape[at + 1 :]), factor.value.kind) for side in sides)
    parts = [part for part in (before, factor.value, after) if part.shape[at] != Dim.of(0)]
    return Factor(build.concat(parts, at), factor.axes, factor.selects)


def _gather(value: Value, reader: Reader) -> LinearForm | None:
    """The entries of a table of states, by an index that is none."""
    table, index = value.args
    if reader.form(index):
        return None
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    length = table.shape[axis]
    chosen = build.one_hot(_clamped(index, length), length)

    def change(term: Term) -> Term:
        new = reader.letters(index.rank - batch)
        letters = (*term.result[:batch], *new, term.result[axis])
        return _selected(term, axis, new, Factor(chosen, letters, selects=True))

    return _termwise(value, reader, change)


def _scatter(value: Value, reader: Reader) -> LinearForm | None:
    _, index = value.args
    if reader.form(index):
        return None
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    size, spread = dim(value.attr("size")), index.rank - batch
    chosen = build.one_hot(_clamped(index, size), size)

    def change(term: Term) -> Term:
        (new,) = reader.letters(1)
        old = term.result[axis : axis + spread]
        result = (*term.result[:axis], new, *term.result[axis + spread :])
        factor = Factor(chosen, (*term.result[:batch], *old, new), selects=True)
        return replace(term, factors=(*term.factors, factor), result=result)

    return _termwise(value, reader, change)


def _clamped(index: Value, length: Dim) -> Value:
    return build.binary("min", build.binary("max", index, 0), ops.size(length - 1))


RULES: Mapping[str, Rule] = {
    **ARITHMETIC,
    **dict.fromkeys(("slice", "select", "flip"), _part),
    "transpose": _transpose,
    "expand": _expand,
    "reduce_sum": _reduce_sum,
    "concat": _concat,
    "gather": _gather,
    "scatter": _scatter,
}
