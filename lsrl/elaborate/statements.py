"""The statements of a cell, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import names, sizes
from lsrl.elaborate.binding import assign, bind, declare, remember, warn_unused
from lsrl.elaborate.conditions import hold, reset
from lsrl.elaborate.declarations import declaration
from lsrl.elaborate.env import Env, Naming, value_of
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Role, Scope
from lsrl.elaborate.terms import POISON
from lsrl.ir import ops
from lsrl.ir.fault import Fault
from lsrl.ir.value import Domain, depends_on


def run(env: Env, body: Sequence[syntax.Statement]) -> None:
    """Every statement; one that is at fault is reported and the next one tried."""
    for node in body:
        try:
            _statement(env, node)
        except Poisoned:
            continue
        except Fault as fault:
            env.refuse(fault, node.span)


def _statement(env: Env, node: syntax.Statement) -> None:
    match node:
        case syntax.Declaration():
            declaration(env, node)
        case syntax.Assign():
            assign(env, node)
        case syntax.Const():
            _const(env, node)
        case syntax.Repeat():
            _repeat(env, node)
        case syntax.Choice():
            _choice(env, node)
        case syntax.Output():
            _only_outside(env, node, "an output")
            for item in node.items:
                _tried_output(env, item)
        case syntax.Reset():
            _only_outside(env, node, "`reset when`")
            reset(env, node)
        case syntax.Hold():
            _only_outside(env, node, "`hold when`")
            hold(env, node)


def _only_outside(env: Env, node: syntax.Statement, what: str) -> None:
    if env.scope.parent is not None:
        raise Misplaced(code.NOT_HERE, f"{what} inside of `repeat`", remedy="write it below the block", span=node.span)


def _const(env: Env, node: syntax.Const) -> None:
    try:
        term = names.constant(env, node)
        if depends_on([term], lambda v: v.op in ("input", "noise", "state", "param")):
            remedy = "write it without `const`"
            raise Misplaced(
                code.NOT_STATIC, "a constant reads sizes and constants only", remedy=remedy, span=node.value.span
            )
        declare(env, node.name, Binding(Role.CONST, term, node.name.span))
        remember(env, node.name.id, term)
    except (Poisoned, Fault):
        env.scope.names.setdefault(node.name.id, Binding(Role.CONST, POISON, node.name.span, used=True))
        raise


def _tried_output(env: Env, item: syntax.OutputItem) -> None:
    """An output; when it is at fault, the next one is looked at all the same."""
    try:
        _output(env, item)
    except Poisoned:
        return
    except Fault as fault:
        env.refuse(fault, item.span)


def _output(env: Env, item: syntax.OutputItem) -> None:
    target, body = item.target, env.body
    if item.value is not None:
        bind(env, target, env.term(item.value), item.value.span)
    read = syntax.Prime(target.id, target.span) if target.primed else syntax.Name(target.id, target.span)
    if target.id in body.outputs:
        raise Misplaced(code.DECLARED_TWICE, f"there are two outputs `{target.id}`", span=target.span)
    body.output_places[target.id] = target.span
    value = value_of(env.term(read), target.span)
    if value.domain not in (Domain.NONE, Domain.NODE):
        raise Misplaced(
            code.OUTSIDE_SUM,
            f"an output is given per node, this is a value per {value.domain}",
            remedy="collect it: `sum_in(...)`",
            span=target.span,
        )
    body.outputs[target.id] = value


def _repeat(env: Env, node: syntax.Repeat) -> None:
    """Each turn in a scope of its own; what it rebinds outside is seen by the next one."""
    turns = env.body.pin(sizes.dim(env, node.count), "`repeat`", node.count.span)
    if turns < 0:
        raise Misplaced(
            code.TOO_MANY_TURNS,
            "`repeat` needs a number of turns that is not negative",
            str(turns),
            span=node.count.span,
        )
    env.body.session.count_turns(turns, node.count.span)
    layers = env.body.copy_name(env.naming.prefix, node.name or "layers")
    direct = _is_one_use(node.body)
    for turn in range(turns):
        prefix = f"{env.naming.prefix}{layers}.{turn}."
        params = f"{env.naming.params}{layers}." if node.shared else f"{env.naming.params}{layers}.{turn}."
        inside = replace(env, scope=Scope(env.scope), naming=Naming(prefix, params, direct))
        if node.counter is not None:
            declare(inside, node.counter, Binding(Role.COUNTER, ops.const(turn), node.counter.span))
        run(inside, node.body)
        if turn == turns - 1:
            warn_unused(inside)


def _choice(env: Env, node: syntax.Choice) -> None:
    """The block that the sizes choose, in the scope that it stands in."""
    other = node.otherwise.body if node.otherwise else ()
    run(env, node.body if sizes.holds(env, node.condition) else other)


def _is_one_use(body: Sequence[syntax.Statement]) -> bool:
    """Whether a turn consists of the use of one cell, so that its names need no further scope."""
    declares = any(isinstance(node, syntax.Declaration | syntax.Repeat | syntax.Choice) for node in body)
    return not declares and sum(1 for node in body for _ in _uses(node)) == 1


def _uses(node: object) -> Iterator[syntax.Call]:
    """Every `f(...)(...)` in a piece of syntax."""
    match node:
        case syntax.Call(syntax.Call() as inner, args, keywords):
            yield node
            yield from (use for part in (*inner.args, *args, *keywords) for use in _uses(part))
        case syntax.Call(function, args, keywords):
            yield from (use for part in (function, *args, *keywords) for use in _uses(part))
        case syntax.Assign() | syntax.Keyword() | syntax.Const():
            yield from _uses(node.value)
        case syntax.Unary() | syntax.Reverse():
            yield from _uses(node.operand)
        case syntax.Binary():
            yield from (use for part in (node.left, node.right) for use in _uses(part))
        case syntax.Index():
            yield from (use for part in (node.base, *node.items) for use in _uses(part))
        case syntax.Attribute():
            yield from _uses(node.base)
        case syntax.Array():
            yield from (use for part in node.items for use in _uses(part))
