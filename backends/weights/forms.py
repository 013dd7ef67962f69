"""Operations on arrays of affine forms, one entry at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.elementwise import aligned
from lsrl.backends.evaluation.gaps import COMPARISONS
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.ranges import gap_of
from lsrl.backends.weights.affine import Affine, constant, total
from lsrl.backends.weights.arithmetic import (
    ELEMENTWISE,
    NotHeld,
    Operation,
    compared,
    grid,
    largest,
    looked_up,
    smallest,
    truncated,
)
from lsrl.backends.weights.pool import Pool
from lsrl.ir.infer import integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value

Forms = Array
"""An array of `Affine`s, dtype object."""

REDUCTIONS = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all")


def array_of(forms: Sequence[Affine], shape: tuple[int, ...]) -> Forms:
    """Forms in row-major order as an array."""
    found = np.empty(len(forms), object)
    found[:] = forms
    return found.reshape(shape)


def forms_of(pool: Pool, value: Value, args: Sequence[Forms], known: Mapping[Value, Range]) -> Forms:
    """What an operation makes of the forms of its operands.

    Raises:
        NotHeld: no ReLU network computes it.
    """
    if value.kind is Kind.COMPLEX:
        raise NotHeld("its numbers are complex; write their real and imaginary parts")
    match value.op:
        case op if op in ELEMENTWISE:
            return _elementwise(pool, value, args, ELEMENTWISE[op])
        case op if op in COMPARISONS:
            return _comparison(pool, value, args, known)
        case op if op in REDUCTIONS:
            return _reduced(pool, value, args[0])
        case "cast":
            return _cast(pool, value, args[0])
        case "einsum":
            return _einsum(pool, value, args)
        case "gather":
            return _gather(pool, value, args)
    kind = "smooth function" if family(value.op) is Family.ELEMENTWISE else "operation"
    raise NotHeld(f"`{value.op}` is a {kind} that is not piecewise linear")


def _elementwise(pool: Pool, value: Value, args: Sequence[Forms], function: Operation) -> Forms:
    wide = np.broadcast_arrays(*aligned(value, args))
    made = [function(pool, *(array.item(index) for array in wide)) for index in np.ndindex(wide[0].shape)]
    return array_of(made, wide[0].shape)


def _comparison(pool: Pool, value: Value, args: Sequence[Forms], known: Mapping[Value, Range]) -> Forms:
    """With the gap that the analysis finds for all elements, or else that of each by its own grid."""
    found = gap_of(value, known)
    below, above = float(found.below), float(found.above)

    def compare(pool: Pool, x: Affine, y: Affine) -> Affine:
        if below < above:
            return compared(pool, value.op, x, y, below, above)
        step = grid(pool, x - y)
        ends = {"gt": (0.0, step), "le": (0.0, step), "ge": (-step, 0.0), "lt": (-step, 0.0)}
        return compared(pool, value.op, x, y, *ends.get(value.op, (-step, step)))

    return _elementwise(pool, value, args, compare)


def _cast(pool: Pool, value: Value, forms: Forms) -> Forms:
    if value.kind is Kind.INT:
        return array_of([truncated(pool, form) for form in forms.ravel()], forms.shape)
    if value.kind is Kind.BOOL:
        steps = [grid(pool, form) for form in forms.ravel()]
        made = [compared(pool, "ne", form, constant(0), -d, d) for form, d in zip(forms.ravel(), steps)]
        return array_of(made, forms.shape)
    return forms


def _einsum(pool: Pool, value: Value, args: Sequence[Forms]) -> Forms:
    left, result = str(value.attr("spec")).split("->")
    letters = left.split(",")
    lengths = {letter: n for own, array in zip(letters, args) for letter, n in zip(own, array.shape)}
    inner = sorted(set(lengths) - set(result))
    shape = tuple(lengths[letter] for letter in result)
    made = []
    for outside in np.ndindex(shape):
        terms = []
        for inside in product(*(range(lengths[letter]) for letter in inner)):
            at = dict(zip((*result, *inner), (*outside, *inside)))
            terms.append(_product(pool, [array.item(*(at[n] for n in own)) for own, array in zip(letters, args)]))
        made.append(total(terms))
    return array_of(made, shape)


def _product(pool: Pool, factors: Sequence[Affine]) -> Affine:
    """Constants first: what is 0 makes no scalars."""
    found = constant(1)
    for factor in sorted(factors, key=lambda form: not form.is_constant):
        found = pool.product(found, factor)
        if found == constant(0):
            break
    return found


def _gather(pool: Pool, value: Value, args: Sequence[Forms]) -> Forms:
    table, index = args
    axis = integer(value.attr("axis"))
    if integer(value.attr("batch")):
        raise NotHeld("a batch of tables is looked up at once")
    entries = np.moveaxis(table, axis, -1)
    before, after = entries.shape[:axis], entries.shape[axis:-1]
    made = [
        looked_up(pool, index.item(i), list(entries[(*a, *b)]))
        for a in np.ndindex(before)
        for i in np.ndindex(index.shape)
        for b in np.ndindex(after)
    ]
    return array_of(made, (*before, *index.shape, *after))


def _reduced(pool: Pool, value: Value, forms: Forms) -> Forms:
    reduced = integers(value.attr("axes"))
    kept = tuple(axis for axis in range(forms.ndim) if axis not in reduced)
    shape = tuple(forms.shape[axis] for axis in kept)
    count = int(np.prod([forms.shape[axis] for axis in reduced]))
    rows = forms.transpose(*kept, *reduced).reshape(int(np.prod(shape)), count)
    return array_of([_folded(pool, value.op, list(row)) for row in rows], shape)


def _folded(pool: Pool, op: str, row: list[Affine]) -> Affine:
    match op:
        case "reduce_sum":
            return total(row)
        case "reduce_prod":
            return _product(pool, row)
        case "reduce_any":
            return pool.disjunction(row)
        case "reduce_all":
            return pool.conjunction(row)
    if not row:
        raise NotHeld("it is the extreme of nothing, which is infinite")
    function = largest if op == "reduce_max" else smallest
    while len(row) > 1:  # a tree, whose depth is the logarithm of the length
        row = [*(function(pool, x, y) for x, y in zip(row[::2], row[1::2])), *row[len(row) & ~1 :]]
    return row[0]
