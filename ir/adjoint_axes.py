"""Adjoint rules of the operations that move, contract or reduce axes, and of those between nodes, edges and turns.

As for `lsrl.ir.adjoint_elementwise`: a rule takes a value and its cotangent and returns one cotangent per operand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lsrl.ir import ops
from lsrl.ir.adjoint_elementwise import ONE, ZERO, Parts, Rule, conj
from lsrl.ir.build import (
    LETTERS,
    add,
    binary,
    cast,
    div,
    einsum,
    expand,
    eye,
    mul,
    reduce,
    reshape,
    slice_,
    sub,
    transpose,
    unary,
    where,
    zeros,
)
from lsrl.ir.dims import Dim, count
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.value import Kind, Value


def _einsum(value: Value, g: Value) -> Parts:
    """An operand receives the product of the cotangent, in its own place, with the other operands."""
    left, result = str(value.attr("spec")).split("->")
    letters = left.split(",")
    parts: list[Value] = []
    for place, own in enumerate(letters):
        operands = [g if other == place else conj(arg) for other, arg in enumerate(value.args)]
        axes = [result if other == place else axes for other, axes in enumerate(letters)]
        kept = "".join(letter for letter in dict.fromkeys(own) if letter in "".join(axes))
        product = g if axes == [kept] else einsum(f"{','.join(axes)}->{kept}", *operands)
        parts.append(_spread_letters(product, kept, own, value.args[place]))
    return tuple(parts)


def _spread_letters(product: Value, kept: str, own: str, operand: Value) -> Value:
    """The product with axes `kept` as a cotangent of an operand with axes `own`, which may miss some or repeat some."""
    once = "".join(dict.fromkeys(own))
    shape = tuple(operand.shape[own.index(letter)] for letter in once)
    spread = expand(product, shape, [place for place, letter in enumerate(once) if letter not in kept])
    fresh = iter(letter for letter in LETTERS if letter not in own)
    places = [letter if own.index(letter) == place else next(fresh) for place, letter in enumerate(own)]
    repeated = [(own[place], letter) for place, letter in enumerate(places) if letter != own[place]]
    if not repeated:
        return spread
    diagonals = [eye(operand.shape[own.index(first)]) for first, _ in repeated]
    spec = ",".join([once, *(first + second for first, second in repeated)])
    return einsum(f"{spec}->{''.join(places)}", spread, *diagonals)


def _transpose(value: Value, g: Value) -> Parts:
    return (_transposed(g, _inverse(integers(value.attr("perm")))),)


def _transposed(x: Value, perm: Iterable[int]) -> Value:
    moved = transpose(x, tuple(perm))
    assert isinstance(moved, Value)
    return moved


def _inverse(perm: tuple[int, ...]) -> list[int]:
    return [perm.index(place) for place in range(len(perm))]


def _slice(value: Value, g: Value) -> Parts:
    x, axis = value.args[0], integer(value.attr("axis"))
    start, step = dim(value.attr("start")), integer(value.attr("step"))
    if step == 1:
        return (_embedded(g, axis, start, x.shape[axis]),)
    places = add(mul(ops.iota(g.shape[axis]), step), ops.size(start))
    return (ops.apply("scatter", g, places, axis=axis, batch=0, size=x.shape[axis]),)


def _select(value: Value, g: Value) -> Parts:
    x, axis = value.args[0], integer(value.attr("axis"))
    row = expand(g, (*g.shape[:axis], Dim.of(1), *g.shape[axis:]), [axis])
    return (_embedded(row, axis, dim(value.attr("index")), x.shape[axis]),)


def _embedded(x: Value, axis: int, start: Dim, size: Dim) -> Value:
    """`x` from place `start` of an axis of that size, zeros before and after."""

    def blank(length: Dim) -> list[Value]:
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        return [] if length == Dim.of(0) else [zeros(shape, x.kind)]

    parts = [*blank(start), x, *blank(size - start - x.shape[axis])]
    return ops.apply("concat", *parts, axis=axis) if len(parts) > 1 else x


def _concat(value: Value, g: Value) -> Parts:
    axis, start = integer(value.attr("axis")), Dim.of(0)
    parts: list[Value] = []
    for arg in value.args:
        parts.append(slice_(g, start, start + arg.shape[axis], axis))
        start = start + arg.shape[axis]
    return tuple(parts)


def _gather(value: Value, g: Value) -> Parts:
    table, index = value.args
    axis = integer(value.attr("axis"))
    return ops.apply("scatter", g, index, axis=axis, batch=value.attr("batch"), size=table.shape[axis]), None


def _scatter(value: Value, g: Value) -> Parts:
    return ops.apply("gather", g, value.args[1], axis=value.attr("axis"), batch=value.attr("batch")), None


def _restored(x: Value, value: Value) -> Value:
    """A value of a reduction's shape, repeated along the axes that the reduction removed."""
    return expand(x, value.args[0].shape, integers(value.attr("axes")))


def _reduce_sum(value: Value, g: Value) -> Parts:
    return (_restored(g, value),)


def _reduce_prod(value: Value, g: Value) -> Parts:
    """Each element receives the product of all others: no division, so that zeros are no exception."""
    x, gone = value.args[0], integers(value.attr("axes"))
    perm = (*(axis for axis in range(x.rank) if axis not in gone), *gone)
    moved = _transposed(x, perm)
    n = count(x.shape[axis] for axis in gone)
    flat = reshape(moved, (*value.shape, n))
    pairs = expand(flat, (*value.shape, n, n), [value.rank])
    own = expand(binary("eq", eye(n), ONE), pairs.shape, range(value.rank))
    others = reduce("reduce_prod", where(own, ONE, pairs), [-1])
    back = _transposed(reshape(others, moved.shape), _inverse(perm))
    return (mul(_restored(g, value), conj(back)),)


def _reduce_extreme(value: Value, g: Value) -> Parts:
    """All that attain the extreme share evenly."""
    attained = cast(binary("eq", value.args[0], _restored(value, value)), Kind.FLOAT)
    share = div(g, reduce("reduce_sum", attained, integers(value.attr("axes"))))
    return (mul(attained, _restored(share, value)),)


def _logsumexp(value: Value, g: Value) -> Parts:
    """The softmax; zero where every operand is -inf."""
    level = where(binary("eq", unary("abs", value), ops.const(float("inf"))), ZERO, value)
    return (mul(_restored(g, value), unary("exp", sub(value.args[0], _restored(level, value)))),)


def _softmax(value: Value, g: Value) -> Parts:
    axis = integer(value.attr("axis"))
    mean = reduce("reduce_sum", mul(g, value), [axis])
    return (mul(value, sub(g, expand(mean, value.shape, [axis]))),)


def _solve(value: Value, g: Value) -> Parts:
    """X = A^-1 B: B receives A^-H g, and A receives minus that times X^H."""
    matrix = value.args[0]
    lead = LETTERS[3 : 3 + value.rank - 2]
    *front, row, column = range(matrix.rank)
    right = ops.apply("solve", conj(ops.apply("transpose", matrix, perm=(*front, column, row))), g)
    return unary("neg", einsum(f"{lead}ab,{lead}cb->{lead}ac", right, conj(value))), right


def _conv(value: Value, g: Value) -> Parts:
    x, w = value.args
    attrs = dict(value.attrs)
    return (
        ops.apply("conv_dx", g, conj(w), **attrs, shape=x.shape),
        ops.apply("conv_dw", conj(x), g, **attrs, shape=w.shape),
    )


def _conv_dx(value: Value, c: Value) -> Parts:
    g, w = value.args
    attrs = {name: attr for name, attr in value.attrs if name != "shape"}
    return ops.apply("conv", c, conj(w), **attrs), ops.apply("conv_dw", c, conj(g), **attrs, shape=w.shape)


def _conv_dw(value: Value, c: Value) -> Parts:
    x, g = value.args
    attrs = {name: attr for name, attr in value.attrs if name != "shape"}
    return ops.apply("conv_dx", conj(g), c, **attrs, shape=x.shape), ops.apply("conv", conj(x), c, **attrs)


def _read(value: Value, g: Value) -> Parts:
    return (ops.apply("sum_in", g, via=value.attr("via")),)


def _sum_in(value: Value, g: Value) -> Parts:
    return (ops.apply("read", g, via=value.attr("via")),)


def _max_in(value: Value, g: Value) -> Parts:
    """All that attain the largest share evenly."""
    via = value.attr("via")
    attained = cast(binary("eq", value.args[0], ops.apply("read", value, via=via)), Kind.FLOAT)
    number = ops.apply("read", ops.apply("sum_in", attained, via=via), via=via)
    return (div(mul(attained, ops.apply("read", g, via=via)), number),)


RULES: Mapping[str, Rule] = {
    "einsum": _einsum,
    "transpose": _transpose,
    "reshape": lambda v, g: (reshape(g, v.args[0].shape),),
    "expand": lambda v, g: (reduce("reduce_sum", g, integers(v.attr("axes"))),),
    "slice": _slice,
    "select": _select,
    "flip": lambda v, g: (ops.apply("flip", g, axis=v.attr("axis")),),
    "concat": _concat,
    "gather": _gather,
    "scatter": _scatter,
    "reduce_sum": _reduce_sum,
    "reduce_prod": _reduce_prod,
    "reduce_max": _reduce_extreme,
    "reduce_min": _reduce_extreme,
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "solve": _solve,
    "conv": _conv,
    "conv_dx": _conv_dx,
    "conv_dw": _conv_dw,
    "read": _read,
    "sum_in": _sum_in,
    "max_in": _max_in,
}
