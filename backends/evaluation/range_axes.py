"""Ranges of layouts, reductions and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation import axes
from lsrl.backends.evaluation.grids import Grid
from lsrl.backends.evaluation.outward import Side, add, contract_positive, lower, total, upper
from lsrl.backends.evaluation.ranges import Range, exactly, on_grid
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir.infer import integer, integers
from lsrl.ir.value import Value

Rule = Callable[[Value, Sequence[Range], Scope], Range]

MOVING = ("transpose", "reshape", "expand", "slice", "select", "flip", "concat")


def _moved(value: Value, args: Sequence[Range], scope: Scope) -> Range:
    """Elements move as they do in the evaluation of arrays."""
    kernel = axes.KERNELS[value.op]
    low, high = kernel(value, [x.low for x in args], scope), kernel(value, [x.high for x in args], scope)
    grid = args[0].grid
    for other in args[1:]:
        grid = None if grid is None or other.grid is None else grid | other.grid
    return on_grid(low, high, grid)


def _gathered(value: Value, args: Sequence[Range], scope: Scope) -> Range:
    """Entries at indices that are known, else the hull of those that an index may name."""
    table, index = args
    if index.constant:
        rows, kernel = index.low.astype(np.int64), axes.KERNELS["gather"]
        return Range(kernel(value, [table.low, rows], scope), kernel(value, [table.high, rows], scope), table.grid)
    low, high = entries(table, index, integer(value.attr("axis")), integer(value.attr("batch")))
    shape = scope.shape(value.shape)
    return Range(np.broadcast_to(low, shape), np.broadcast_to(high, shape), table.grid)


def entries(table: Range, index: Range, axis: int, batch: int) -> tuple[Array, Array]:
    """Bounds of the table's entries along an axis that an index may name, with the index's axes, of length 1, instead.

    An index outside the table is clamped; so is one of which nothing is known.
    """
    last = table.shape[axis] - 1
    first, after = int(np.clip(index.least, 0, last)), int(np.clip(index.most, 0, last)) + 1
    new = tuple(range(axis, axis + len(index.shape) - batch))
    low, high = (np.take(bound, range(first, after), axis) for bound in (table.low, table.high))
    return np.expand_dims(low.min(axis), new), np.expand_dims(high.max(axis), new)


def _scattered(value: Value, args: Sequence[Range], scope: Scope) -> Range:
    """Any of the updates may meet in an element, or none."""
    every = tuple(range(args[0].low.ndim))
    low = total(np.minimum(args[0].low, 0), every, lower)
    high = total(np.maximum(args[0].high, 0), every, upper)
    shape = scope.shape(value.shape)
    grid = None if args[0].grid is None else args[0].grid.many()
    return on_grid(np.broadcast_to(low, shape), np.broadcast_to(high, shape), grid)


def _summed(value: Value, args: Sequence[Range], _: Scope) -> Range:
    (x,), over = args, integers(value.attr("axes"))
    grid = None if x.grid is None else x.grid.repeated(math.prod(x.shape[axis] for axis in over))
    found = on_grid(total(x.low, over, lower), total(x.high, over, upper), grid)
    if over != (len(x.shape) - 1,):
        return found
    low, high = x.row_sums()
    return found & Range(low, high, grid)


def _extreme(function: Callable[..., Array], initial: float) -> Rule:
    def rule(value: Value, args: Sequence[Range], _: Scope) -> Range:
        over = integers(value.attr("axes"))
        low, high = (function(end, over, initial=initial) for end in (args[0].low, args[0].high))
        return Range(low, high, args[0].grid)

    return rule


def _place(value: Value, args: Sequence[Range], scope: Scope) -> Range:
    count = math.prod(args[0].shape[axis] for axis in integers(value.attr("axes")))
    shape = scope.shape(value.shape)
    return Range(np.zeros(shape), np.full(shape, max(count - 1.0, 0.0)))


def _shares(value: Value, args: Sequence[Range], scope: Scope) -> Range:
    return Range(np.zeros(args[0].shape), np.ones(args[0].shape))


def _contracted(value: Value, args: Sequence[Range], _: Scope) -> Range:
    left, result = str(value.attr("spec")).split("->")
    return product(left.split(","), result, args)


def product(letters: Sequence[str], result: str, args: Sequence[Range]) -> Range:
    """The range of an einsum of any number of operands, two at a time."""
    if len(args) == 1:
        return pair((letters[0], ""), result, args[0], ONE)
    found, own = args[0], letters[0]
    for number in range(1, len(args)):
        needed = set(result).union(*letters[number + 1 :])
        kept = "".join(dict.fromkeys(letter for letter in own + letters[number] if letter in needed))
        target = result if number == len(args) - 1 else kept
        found, own = pair((own, letters[number]), target, found, args[number]), target
    return found


ONE = exactly(np.ones(()))


def pair(letters: tuple[str, str], result: str, x: Range, y: Range) -> Range:
    """The range of an einsum of two operands, sharper where sums of an operand are known."""
    spec = f"{letters[0]},{letters[1]}->{result}"
    found = on_grid(_signed(spec, x, y, lower), _signed(spec, x, y, upper), _product_grid(spec, x, y))
    for averaged in (_averaged(letters, result, x, y), _averaged((letters[1], letters[0]), result, y, x)):
        found = found if averaged is None else found & averaged
    return found


def _averaged(letters: tuple[str, str], result: str, weights: Range, x: Range) -> Range | None:
    """A sum with weights along their last axis, from what they add up to and the extremes of x; None if it is none."""
    own, other = letters
    last = own[-1:]
    if not last or last in result or own.count(last) != 1 or other.count(last) != 1 or not weights.nonnegative:
        return None
    axis = other.index(last)
    extremes = Range(x.low.min(axis, initial=np.inf), x.high.max(axis, initial=-np.inf))
    return pair((own[:-1], other.replace(last, "")), result, Range(*weights.row_sums()), extremes)


def _product_grid(spec: str, x: Range, y: Range) -> Grid | None:
    """Of a sum of as many products as the axes that the result lacks have places."""
    if x.grid is None or y.grid is None:
        return None
    one = x.grid * y.grid
    letters, result = spec.replace(",", "").split("->")
    lengths = dict(zip(letters, x.shape + y.shape))
    terms = math.prod(length for letter, length in lengths.items() if letter not in result)
    return None if one is None else one.repeated(terms)


def _signed(spec: str, x: Range, y: Range, side: Side) -> Array:
    """One bound of a sum of products, from those of the positive and the negative parts of both operands."""
    this, that = (_parts(x), _parts(y))
    other = upper if side is lower else lower
    same = [contract_positive(spec, this[sign][side], that[sign][side], side) for sign in (1, -1)]
    crossed = [contract_positive(spec, this[sign][other], that[-sign][other], other) for sign in (1, -1)]
    return add(add(same[0], same[1], side), -add(crossed[0], crossed[1], other), side)


def _parts(x: Range) -> Mapping[int, Mapping[Side, Array]]:
    """Bounds of max(x, 0) and of max(-x, 0)."""
    return {
        1: {lower: np.maximum(x.low, 0.0), upper: np.maximum(x.high, 0.0)},
        -1: {lower: np.maximum(-x.high, 0.0), upper: np.maximum(-x.low, 0.0)},
    }


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(MOVING, _moved),
    "gather": _gathered,
    "scatter": _scattered,
    "reduce_sum": _summed,
    "reduce_max": _extreme(np.max, -np.inf),
    "reduce_min": _extreme(np.min, np.inf),
    "reduce_any": _extreme(np.max, 0),
    "reduce_all": _extreme(np.min, 1),
    "argmax": _place,
    "argmin": _place,
    "softmax": _shares,
    "einsum": _contracted,
}
