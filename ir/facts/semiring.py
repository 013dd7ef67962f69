"""Recurrences that are affine in another algebra: element by element, `m' = max(m + shift, rest)`.

Addition distributes over max, min and log(e^x + e^y) alike, so one analysis serves the three: with any of them in the
place of + and addition in the place of x, the recurrence is affine and its steps compose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial, reduce

from lsrl.ir import build, ops
from lsrl.ir.facts.linear import fitted
from lsrl.ir.value import Value, postorder

NEUTRAL: Mapping[str, float] = {"max": -math.inf, "min": math.inf, "logaddexp": -math.inf}
"""The operations, and what changes nothing when joined by them."""


@dataclass(frozen=True, slots=True)
class SemiringForm:
    """`join(state + shift, rest)` for every element; a shift of None is 0, a rest of None is absent."""

    join: str
    leaf: Value
    shift: Value | None
    rest: Value | None


@dataclass(frozen=True, slots=True)
class SemiringSum:
    """`join` of `state + shift` for several states, and of the rest; for every element.

    Attributes:
        shifts: by the states as they arrive; those that are missing have no part in it.
        rest: None is absent.
    """

    join: str
    shifts: Mapping[Value, Value]
    rest: Value | None


def rebuilt(form: SemiringForm | SemiringSum) -> Value:
    """The value that a form stands for."""
    if isinstance(form, SemiringSum):
        parts = [build.add(leaf, shift) for leaf, shift in form.shifts.items()]
        return reduce(partial(build.binary, form.join), [*parts, *([] if form.rest is None else [form.rest])])
    moved = form.leaf if form.shift is None else build.add(form.leaf, form.shift)
    return moved if form.rest is None else build.binary(form.join, moved, form.rest)


def read_semiring(root: Value, leaf: Value) -> SemiringForm | None:
    """The form of a state's next value in one of the three algebras, or None."""
    for join in NEUTRAL:
        form = _interpreted(root, leaf, join)
        if form is not None and form.rest is not None:
            return form
    return None


def read_semiring_sums(roots: Sequence[Value], leaves: Sequence[Value]) -> tuple[SemiringSum, ...]:
    """The forms of next values of several states in one of the three algebras; none where there are none."""
    for join in NEUTRAL:
        found = [form for root in roots if (form := _sum(root, leaves, join)) is not None]
        joined = any(len(form.shifts) + (form.rest is not None) > 1 for form in found)
        if joined and len(found) == len(roots):
            return tuple(found)
    return ()


def _sum(root: Value, leaves: Sequence[Value], join: str) -> SemiringSum | None:
    """One state after the other: what is no part of its own is the rest, in which the next ones are looked for."""
    shifts: dict[Value, Value] = {}
    rest: Value | None = root
    for leaf in leaves:
        if rest is None or leaf not in postorder([rest]):
            continue
        form = _interpreted(rest, leaf, join)
        if form is None:
            return None
        shifts[leaf] = ops.const(Fraction(0)) if form.shift is None else form.shift
        rest = form.rest
    known = [*shifts.values(), *([] if rest is None else [rest])]
    return None if any(leaf in postorder(known) for leaf in leaves) else SemiringSum(join, shifts, rest)


def _interpreted(root: Value, leaf: Value, join: str) -> SemiringForm | None:
    forms: dict[Value, SemiringForm | None] = {leaf: SemiringForm(join, leaf, None, None)}
    for value in postorder([root], stop=lambda v: v is leaf):
        if value in forms or not any(arg in forms for arg in value.args):
            continue
        operands = [forms.get(arg, arg) for arg in value.args]
        rule = _RULES.get(value.op)
        fits = None not in operands and value.shape == leaf.shape and value.kind is leaf.kind
        forms[value] = rule(value, [each for each in operands if each is not None], join) if rule and fits else None
    return forms.get(root)


Operand = SemiringForm | Value


def _add(value: Value, operands: Sequence[Operand], join: str) -> SemiringForm | None:
    match operands:
        case [SemiringForm() as form, Value() as x]:
            return _shifted(form, x, value.op)
        case [Value() as x, SemiringForm() as form] if value.op == "add":
            return _shifted(form, x, value.op)
    return None


def _shifted(form: SemiringForm, x: Value, op: str) -> SemiringForm:
    shift = x if form.shift is None and op == "add" else ops.apply(op, form.shift or ops.const(Fraction(0)), x)
    rest = None if form.rest is None else ops.apply(op, form.rest, x)
    return SemiringForm(form.join, form.leaf, shift, rest)


def _join(value: Value, operands: Sequence[Operand], join: str) -> SemiringForm | None:
    if value.op != join:
        return None
    shifts = [form.shift or ops.const(Fraction(0)) for form in operands if isinstance(form, SemiringForm)]
    rests = [each.rest if isinstance(each, SemiringForm) else each for each in operands]
    known = [rest for rest in rests if rest is not None]
    leaf = next(form.leaf for form in operands if isinstance(form, SemiringForm))
    return SemiringForm(join, leaf, _folded(join, shifts), _folded(join, known) if known else None)


def _folded(join: str, values: Sequence[Value]) -> Value:
    return values[0] if len(values) == 1 else build.binary(join, values[0], values[1])


def _relu(value: Value, operands: Sequence[Operand], join: str) -> SemiringForm | None:
    match operands:
        case [SemiringForm() as form] if join == "max":
            rest = ops.const(Fraction(0)) if form.rest is None else build.unary("relu", form.rest)
            return SemiringForm(join, form.leaf, form.shift, rest)
    return None


def _where(value: Value, operands: Sequence[Operand], join: str) -> SemiringForm | None:
    """What is not taken is shifted to where it changes nothing."""
    condition, yes, no = operands
    if not isinstance(condition, Value):
        return None
    (shift, rest), (other_shift, other_rest) = (_split(side, ops.const(NEUTRAL[join])) for side in (yes, no))
    leaf = next(side.leaf for side in (yes, no) if isinstance(side, SemiringForm))
    chosen = build.where(condition, rest, other_rest)
    shifts = build.where(condition, shift, other_shift)
    return SemiringForm(join, leaf, shifts, fitted(chosen, value.shape, value.kind))


def _split(side: Operand, none: Value) -> tuple[Value, Value]:
    """Shift and rest of one branch."""
    match side:
        case SemiringForm():
            return side.shift or ops.const(Fraction(0)), side.rest or none
        case Value():
            return none, side


_RULES: Mapping[str, Callable[[Value, Sequence[Operand], str], SemiringForm | None]] = {
    "add": _add,
    "sub": _add,
    "relu": _relu,
    "where": _where,
    **dict.fromkeys(NEUTRAL, _join),
}
