"""`reset when r` and `hold when p`: what happens to all states of a cell where a condition holds."""

from __future__ import annotations

from dataclasses import replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.env import Env
from lsrl.elaborate.report import Misplaced
from lsrl.ir import ops
from lsrl.ir.cell import GRAPH
from lsrl.ir.dims import shape_text
from lsrl.ir.fault import KIND_MISMATCH, Fault
from lsrl.ir.value import Kind, Value, depends_on

HELD = "hold"
"""The hidden input of a used cell by which the cell that uses it holds it; no name of a program is this word."""


def reset(env: Env, node: syntax.Reset) -> None:
    """The cell starts anew where a condition of its inputs holds."""
    body, span = env.body, node.condition.span
    if GRAPH in body.axes:
        raise Misplaced(
            code.WRONG_RESET, "a graph has nothing to reset: states start at nodes without edges", span=span
        )
    if body.reset is not None:
        raise Misplaced(
            code.WRONG_RESET, "there is one `reset when` already", remedy="join them with `or`", span=node.span
        )
    condition = _condition(env, node.condition, "reset")
    exempt = body.exempt
    if depends_on([condition], lambda v: v.op == "state" and v.attr("name") not in exempt):
        raise Misplaced(
            code.WRONG_RESET,
            "the condition of `reset when` depends on a state",
            span=span,
            remedy="it can read inputs, also of earlier positions",
        )
    body.reset = condition, span


def hold(env: Env, node: syntax.Hold) -> None:
    """The cell, and those that it uses, pass on what arrives where a condition holds."""
    body = env.body
    if GRAPH in body.axes or any(len(slot.axes) > 1 for slot in body.slots):
        message = "what arrives along several edges or axes cannot be passed on as it is"
        raise Misplaced(code.WRONG_HOLD, message, span=node.span)
    if body.holds:
        message, remedy = "there is one `hold when` already", "join them with `or`"
        raise Misplaced(code.WRONG_HOLD, message, remedy=remedy, span=node.span)
    if body.states or any(slot.updated_at is not None for slot in body.slots):
        message, remedy = "`hold when` stands below what it holds", "write it above all updates and uses of cells"
        raise Misplaced(code.WRONG_HOLD, message, remedy=remedy, span=node.span)
    condition = _condition(env, node.condition, "hold")
    body.holds = True
    body.held = condition if body.held is None else ops.apply("or", body.held, condition)


def held_from_outside() -> Value:
    """The condition under which the cell that uses this one holds it."""
    return ops.leaf("input", HELD, (), Kind.BOOL)


def check_axes(env: Env, axes: tuple[str, ...]) -> None:
    """A fault for a state that does not arrive from one place only."""
    if env.body.held is not None and len(axes) > 1:
        raise Fault(code.WRONG_HOLD, "a state along several axes cannot be held")


def _condition(env: Env, expr: syntax.Expr, word: str) -> Value:
    condition = replace(env, condition=word).value(expr)
    if condition.kind is Kind.BOOL and not condition.rank:
        return condition
    found = f"{condition.kind}{shape_text(condition.shape)}"
    remedy = f"compare it: `{word} when start > 0`" if condition.kind is not Kind.BOOL else "combine it: `any(...)`"
    message = f"the condition of `{word} when` is a truth value"
    raise Misplaced(KIND_MISMATCH, message, found, "bool[]", remedy, span=expr.span)
