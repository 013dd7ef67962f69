"""Coefficients of a term, taken apart until no factor names an axis along which it does not vary.

`a` repeated to the shape of `S` is a number, `outer(u, v)` two vectors, `b * outer(u, v)` a number and two vectors.
So a factor's letters are exactly the axes that its coefficient depends on, as far as the graph shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lsrl.ir import build, ops
from lsrl.ir.dims import Shape
from lsrl.ir.facts.linear import Factor, Letters, Term, is_ones, ones
from lsrl.ir.infer import integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value


def scaled(term: Term, value: Value, axes: Letters) -> Term:
    """The term times a coefficient whose axes have the letters `axes`."""
    sign, factors = _apart(value, axes)
    return repeated(replace(term, sign=term.sign * sign, factors=(*term.factors, *factors)), axes, value.shape)


def repeated(term: Term, letters: Letters, shape: Shape) -> Term:
    """The term with a factor of ones for each of these letters that nothing else has, and for no other."""
    kept = [factor for factor in term.factors if not is_ones(factor.value)]
    known = {*term.axes, *(letter for factor in kept for letter in factor.axes)}
    needed = [factor for factor in term.factors if is_ones(factor.value)]
    needed += [Factor(ones(dim), (letter,)) for letter, dim in zip(letters, shape)]
    for factor in needed:
        if factor.axes[0] not in known:
            known.add(factor.axes[0])
            kept.append(factor)
    return replace(term, factors=tuple(kept))


def without_axis(value: Value, axis: int) -> Value | None:
    """The value with an axis removed along which its elements are equal; None where the graph does not show that."""
    if value.op == "expand":
        return _unexpanded(value, axis)
    if value.op == "transpose":
        perm = integers(value.attr("perm"))
        inner = without_axis(value.args[0], perm[axis])
        left = tuple(p - (p > perm[axis]) for p in perm if p != perm[axis])
        return None if inner is None else ops.apply("transpose", inner, perm=left)
    if family(value.op) is not Family.ELEMENTWISE or not value.rank:
        return None
    parts = [without_axis(arg, axis) if arg.rank else arg for arg in value.args]
    found = [part for part in parts if part is not None]
    return ops.apply(value.op, *found, **dict(value.attrs)) if len(found) == len(parts) else None


def _unexpanded(value: Value, axis: int) -> Value | None:
    (inner,) = value.args
    new = integers(value.attr("axes"))
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])
    if axis in new:
        return build.expand(inner, shape, [n - (n > axis) for n in new if n != axis])
    smaller = without_axis(inner, axis - sum(n < axis for n in new))
    return None if smaller is None else build.expand(smaller, shape, [n - (n > axis) for n in new])


def _apart(value: Value, axes: Letters) -> tuple[int, tuple[Factor, ...]]:
    """A sign and factors whose product is the value."""
    for axis in range(value.rank):
        smaller = without_axis(value, axis)
        if smaller is not None:
            return _apart(smaller, (*axes[:axis], *axes[axis + 1 :]))
    match value:
        case Value("neg", (x,)) if value.kind is not Kind.BOOL:
            sign, factors = _apart(x, axes)
            return -sign, factors
        case Value("mul", (x, y)) if value.rank and not (_full(x, value) and _full(y, value)):
            return _product([_apart(arg, axes if arg.rank else ()) for arg in (x, y)])
        case Value("einsum", (_, _, *_)) if value.rank > 1 and not _contracts(value):
            return _product(_apart(arg, letters) for arg, letters in _operands(value, axes))
        case Value("transpose", (x,)):
            perm = integers(value.attr("perm"))
            return _apart(x, tuple(axes[perm.index(axis)] for axis in range(x.rank)))
    return 1, (Factor(value, axes),)


def _product(parts: Iterable[tuple[int, tuple[Factor, ...]]]) -> tuple[int, tuple[Factor, ...]]:
    sign = 1
    factors: tuple[Factor, ...] = ()
    for other, more in parts:
        sign, factors = sign * other, (*factors, *more)
    return sign, factors


def _full(arg: Value, value: Value) -> bool:
    """Whether an operand varies along every axis of the product, and is itself no product of smaller ones."""
    if not arg.rank or (arg.op == "einsum" and len(arg.args) > 1 and not _contracts(arg)):
        return False
    if arg.op == "mul" and any(not _full(each, arg) for each in arg.args):
        return False
    return all(without_axis(arg, axis) is None for axis in range(value.rank))


def _contracts(value: Value) -> bool:
    left, result = str(value.attr("spec")).split("->")
    return bool(set(left) - {","} - set(result)) or any(len(set(each)) < len(each) for each in left.split(","))


def _operands(value: Value, axes: Letters) -> Iterator[tuple[Value, Letters]]:
    left, result = str(value.attr("spec")).split("->")
    letters = dict(zip(result, axes))
    for own, arg in zip(left.split(","), value.args):
        yield arg, tuple(letters[letter] for letter in own)
