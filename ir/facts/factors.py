"""Coefficients of a term, taken apart until no factor names an axis along which it does not vary.

`a` repeated to the shape of `S` is a number, `outer(u, v)` two vectors, `b * outer(u, v)` a number and two vectors.
So a factor's letters are exactly the axes that its coefficient depends on, as far as the graph shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lsrl.ir import build, ops
from lsrl.ir.dims import Shape
from lsrl.ir.facts.linear import Factor, Letters, Term, is_ones, ones
from lsrl.ir.infer import integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value


def scaled(term: Term, value: Value, axes: Letters) -> Term:
    """The term times a coefficient whose axes have the letters `axes`."""
    sign, factors = apart(value, axes)
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
    """The value with an axis removed along which its elements are equal; None where the graph does not show that.

    Iterative, and each operand once: a coefficient may be deep, and share its parts.
    """
    done: dict[tuple[Value, int], Value] = {}
    stack = [(value, axis)]
    while stack:
        place = stack[-1]
        inner = _repeats(*place)
        if inner is None:
            return None
        waiting = [each for each in inner if each not in done]
        if not waiting:
            done[place] = _removed(*place, done)
            stack.pop()
        stack += waiting
    return done[value, axis]


def _repeats(value: Value, axis: int) -> list[tuple[Value, int]] | None:
    """Which axes of operands must have equal elements for that axis of the value to have them; None if it has not."""
    if value.op == "expand":
        new = integers(value.attr("axes"))
        return [] if axis in new else [(value.args[0], axis - sum(n < axis for n in new))]
    if value.op == "transpose":
        return [(value.args[0], integers(value.attr("perm"))[axis])]
    if family(value.op) is Family.ELEMENTWISE and value.rank:
        return [(arg, axis) for arg in dict.fromkeys(value.args) if arg.rank]
    return None


def _removed(value: Value, axis: int, done: dict[tuple[Value, int], Value]) -> Value:
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])
    if value.op == "expand":
        new = integers(value.attr("axes"))
        left = [n - (n > axis) for n in new if n != axis]
        inner = value.args[0]
        return build.expand(inner if axis in new else done[inner, axis - sum(n < axis for n in new)], shape, left)
    if value.op == "transpose":
        perm = integers(value.attr("perm"))
        moved = tuple(p - (p > perm[axis]) for p in perm if p != perm[axis])
        return ops.apply("transpose", done[value.args[0], perm[axis]], perm=moved)
    return ops.apply(value.op, *(done[arg, axis] if arg.rank else arg for arg in value.args), **dict(value.attrs))


def apart(value: Value, axes: Letters) -> tuple[int, tuple[Factor, ...]]:
    """A sign and factors whose product is the value."""
    sign = 1
    factors: list[Factor] = []
    stack = [(value, axes)]
    while stack:
        each, letters = stack.pop()
        smaller = next(((axis, s) for axis in range(each.rank) if (s := without_axis(each, axis)) is not None), None)
        if smaller is not None:
            stack.append((smaller[1], (*letters[: smaller[0]], *letters[smaller[0] + 1 :])))
            continue
        if each.op == "neg":
            sign = -sign
        parts = _parts(each, letters)
        stack += reversed(parts)
        factors += [] if parts else [Factor(each, letters)]
    return sign, tuple(factors)


def _parts(value: Value, axes: Letters) -> list[tuple[Value, Letters]]:
    """The operands of a product that say more apart than together, with their letters; none where it is no such."""
    match value:
        case Value("neg", (x,)):
            return [(x, axes)]
        case Value("mul", (x, y)) if value.rank and not (_full(x, value) and _full(y, value)):
            return [(arg, axes if arg.rank else ()) for arg in (x, y)]
        case Value("einsum", (_, _, *_)) if value.rank > 1 and not _contracts(value):
            return list(_operands(value, axes))
        case Value("transpose", (x,)):
            perm = integers(value.attr("perm"))
            return [(x, tuple(axes[perm.index(axis)] for axis in range(x.rank)))]
    return []


def _full(arg: Value, value: Value) -> bool:
    """Whether an operand varies along every axis of the product, and is itself no product of vectors."""
    if not arg.rank or (arg.op == "einsum" and len(arg.args) > 1 and not _contracts(arg)):
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
