"""`x[0:K]`, `x[-1]`, `E[token]`, `x[:, k]`: parts of an array."""

from __future__ import annotations

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import lags, places, sizes
from lsrl.elaborate.env import Env, value_of
from lsrl.elaborate.report import Misplaced
from lsrl.elaborate.terms import Several
from lsrl.ir import build
from lsrl.ir.dims import Dim, shape_text
from lsrl.ir.fault import AXIS_RANGE, KIND_MISMATCH
from lsrl.ir.span import Span
from lsrl.ir.value import Kind, Value

Item = syntax.Expr | syntax.Slice | syntax.Ellipsis


def index(env: Env, expr: syntax.Index) -> Value:
    """The part of an array, or the earlier value, that an index says."""
    back = lags.offset(env, expr.items)
    if back is not None:
        return lags.lagged(env, expr.base, back, expr.span)
    base = env.term(expr.base)
    if isinstance(base, Several):
        return _part(env, base, expr)
    value, axis, spread = value_of(base, expr.base.span), 0, False
    for item in _written_out(expr.items, value, expr.span):
        match item:
            case syntax.Slice():
                value = _slice(env, value, axis, item)
                axis += 1
            case syntax.Ellipsis():
                axis += 1
            case _:
                place = sizes.maybe(env, item)
                if place is not None:
                    value = _element(env, value, axis, place, item.span)
                    continue
                chosen = env.value(item)
                if chosen.rank and spread:
                    raise Misplaced(code.WRONG_INDEX, "only one index of an array can be an array", span=item.span)
                spread = spread or chosen.rank > 0
                value = _gathered(env, value, axis, chosen, item.span)
                axis += chosen.rank
    return value


def _part(env: Env, parts: Several, expr: syntax.Index) -> Value:
    """`parts[0]` of what `split` gives."""
    number = None
    match expr.items:
        case (syntax.Num() | syntax.Unary() | syntax.Name() as item,):
            place = sizes.maybe(env, item)
            number = place.constant if place is not None else None
    if number is None or not -len(parts.items) <= number < len(parts.items):
        message = f"these are {len(parts.items)} values: one is chosen by its number"
        raise Misplaced(code.WRONG_INDEX, message, expected=f"0 to {len(parts.items) - 1}", span=expr.span)
    return value_of(parts.items[number], expr.span)


def _written_out(items: tuple[Item, ...], value: Value, span: Span) -> list[Item]:
    """One item per axis: `...` stands for as many as are missing, and so does the end."""
    dots = [place for place, item in enumerate(items) if isinstance(item, syntax.Ellipsis)]
    if len(dots) > 1:
        raise Misplaced(code.WRONG_INDEX, "`...` can stand once in an index", span=items[dots[1]].span)
    missing = value.rank - (len(items) - len(dots))
    if missing < 0:
        message = f"{len(items) - len(dots)} indices for an array of {value.rank} axes"
        raise Misplaced(AXIS_RANGE, message, shape_text(value.shape), span=span)
    at = dots[0] if dots else len(items)
    return [*items[:at], *[syntax.Ellipsis(span)] * missing, *items[at + 1 :]]


def _element(env: Env, value: Value, axis: int, place: Dim, span: Span) -> Value:
    at, length = build.place_in(value, axis, place), value.shape[axis]
    message = f"the index {place} is outside of an axis of {length}"
    env.body.require(at, message, span, code.WRONG_INDEX)
    env.body.require(length - 1 - at, message, span, code.WRONG_INDEX)
    return build.select(value, at, axis)


def _slice(env: Env, value: Value, axis: int, item: syntax.Slice) -> Value:
    start, stop = (sizes.dim(env, bound) if bound is not None else None for bound in (item.start, item.stop))
    step = sizes.dim(env, item.step).constant if item.step is not None else 1
    if step is None:
        raise Misplaced(code.WRONG_INDEX, "the step of a slice must be a number", span=item.span)
    length = value.shape[axis]
    first = build.place_in(value, axis, start if start is not None else 0)
    last = build.place_in(value, axis, stop) if stop is not None else length
    message = f"the slice {first}:{last} does not lie within an axis of {length}"
    env.body.require(first, message, item.span, code.WRONG_INDEX)
    env.body.require(last - first, message, item.span, code.WRONG_INDEX)
    env.body.require(length - last, message, item.span, code.WRONG_INDEX)
    return build.slice_(value, first, last, axis, step)


def _gathered(env: Env, value: Value, axis: int, chosen: Value, span: Span) -> Value:
    if chosen.kind is not Kind.INT:
        remedy = "declare it `int(V)`"
        if chosen.kind is Kind.BOOL:
            remedy = "for a choice by truth values use `where(mask, a, b)`"
        raise Misplaced(KIND_MISMATCH, "an index must be an int", str(chosen.kind), "int", remedy, span=span)
    table, where = places.meet((value, chosen), env.collecting)
    return build.gather(table, where, axis)
