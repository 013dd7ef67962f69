"""From the syntax of a cell to its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import cleandoc

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import lags, sizes
from lsrl.elaborate.binding import declare, warn_unused
from lsrl.elaborate.body import Body
from lsrl.elaborate.conditions import HELD, held_from_outside
from lsrl.elaborate.definitions import CellTerm
from lsrl.elaborate.env import Env
from lsrl.elaborate.expressions import evaluate
from lsrl.elaborate.functions import FUNCTIONS
from lsrl.elaborate.report import Poisoned
from lsrl.elaborate.resets import with_reset
from lsrl.elaborate.scope import Binding, Role, Scope
from lsrl.elaborate.session import Numbers, Session
from lsrl.elaborate.statements import run
from lsrl.ir import ops
from lsrl.ir.batching import head, with_heads
from lsrl.ir.cell import GRAPH, TIME, Cell, Output, Size, State
from lsrl.ir.dims import Dim
from lsrl.ir.fault import Fault
from lsrl.ir.infer import Typing
from lsrl.ir.span import Span
from lsrl.ir.value import Value, postorder

MOST_GUESSES = 4


def make(session: Session, term: CellTerm, numbers: Numbers, held: bool = False) -> Cell | None:
    """The graph of a cell; None when it is at fault, which has been reported.

    Names that are read one step back before they are defined have a type that only the rest of the cell tells: it is
    guessed, and the cell elaborated anew when the guess was wrong.
    """
    guesses: dict[str, Typing] = {}
    for _ in range(MOST_GUESSES):
        mark, known = session.report.mark(), set(session.cells)
        env = environment(session, term, numbers, guesses, held)
        cell, wrong = _elaborated(env, term.node)
        if not wrong:
            return cell
        guesses |= wrong
        session.report.forget(mark)
        for key in set(session.cells) - known:
            del session.cells[key]
    name, lag = next((lag.name, lag) for lag in env.body.lags.values() if lag.name in wrong)
    remedy = f"declare it: `state {name}: [..]`, then `{name}' = ...`"
    session.report.fault(Fault(code.WRONG_LAG, f"the shape of `{name}` cannot be found", remedy=remedy), lag.span)
    return None


def environment(
    session: Session, term: CellTerm, numbers: Numbers, guesses: Mapping[str, Typing], held: bool = False
) -> Env:
    """Where the statements of a cell stand."""
    node = term.node
    axes = tuple(axis.id for axis in node.axes) or (TIME,)
    body = Body(session, node.name.id, axes, dict(numbers), guesses)
    if held:
        body.held = held_from_outside()
        body.shared.add(HELD)
    body.later = {name: span for one in reversed(node.body) for name, span in _named(one)}
    return Env(body, Scope(), term.module, evaluate, FUNCTIONS)


def _named(node: syntax.Statement) -> list[tuple[str, Span]]:
    """The names that a statement gives, with their places."""
    match node:
        case syntax.Assign(targets):
            return [(target.id, target.span) for target in targets if not target.primed]
        case syntax.Output(items):
            return [(item.target.id, item.target.span) for item in items if item.value and not item.target.primed]
        case syntax.Declaration(_, groups):
            return [(name.id, name.span) for group in groups for name in group.names]
        case syntax.Const(name):
            return [(name.id, name.span)]
    return []


def _elaborated(env: Env, node: syntax.Cell) -> tuple[Cell | None, dict[str, Typing]]:
    """The graph, and the types of names that were guessed wrongly."""
    body, report = env.body, env.body.session.report
    before = len(report.errors)
    heads = _header(env, node)
    run(env, node.body)
    wrong = lags.settle(env)
    if wrong:
        return None, wrong
    _check_complete(env, node)
    if len(report.errors) > before:
        return None, {}
    warn_unused(env)
    cell = _assembled(body, node, env.module.program.doc)
    try:
        if body.reset is not None:
            cell = with_reset(cell, body.reset[0], body.exempt)
        if heads is not None:
            cell = with_heads(cell, heads, body.shared)
    except Fault as fault:
        env.refuse(fault, node.name.span)
        return None, {}
    return replace(cell, spans=_everywhere(cell)), {}


def _header(env: Env, node: syntax.Cell) -> Dim | None:
    """Sizes with their defaults; the heads."""
    body = env.body
    axes = [axis.id for axis in node.axes]
    if len(set(axes)) < len(axes) or (GRAPH in axes and len(axes) > 1):
        span = node.axes[0].span.to(node.axes[-1].span)
        message = "the axes of a cell differ from each other, and a graph is the only one"
        env.refuse(Fault(code.UNKNOWN_AXIS, message), span)
    for parameter in node.sizes:
        default = None
        try:
            if parameter.default is not None:
                default = sizes.dim(env, parameter.default)
                body.require(default, f"the default of {parameter.name} is negative", parameter.span)
            value = ops.size(parameter.name)
            declare(env, syntax.Name(parameter.name, parameter.span), Binding(Role.SIZE, value, parameter.span))
        except Poisoned:
            continue
        except Fault as fault:
            env.refuse(fault, parameter.span)
        number = body.number(default) if default is not None else None
        if number is not None and parameter.name not in body.numbers:
            body.numbers = {**body.numbers, parameter.name: number}
        body.sizes.append(Size(parameter.name, default))
    return _heads(env, node.heads, node.counter) if node.heads is not None else None


def _heads(env: Env, expr: syntax.Expr, counter: syntax.Name | None) -> Dim | None:
    try:
        heads = sizes.dim(env, expr)
        if counter is not None:
            declare(env, counter, Binding(Role.HEAD, head(heads), counter.span))
        return heads
    except Poisoned:
        return None
    except Fault as fault:
        env.refuse(fault, expr.span)
        return None


def _check_complete(env: Env, node: syntax.Cell) -> None:
    for slot in env.body.slots:
        if slot.next is None and not slot.poisoned:
            local = slot.name.rpartition(".")[2]
            remedy = f"say what it passes on: `{local}' = ...`"
            env.refuse(Fault(code.NEVER_UPDATED, f"the state `{local}` is never updated", remedy=remedy), slot.span)
    if not env.body.output_places:
        env.refuse(
            Fault(code.NO_OUTPUT, f"the cell `{node.name.id}` has no output", remedy="write `output ...`"),
            node.name.span,
        )


def _assembled(body: Body, node: syntax.Cell, document: str | None) -> Cell:
    own = tuple(
        State(slot.name, slot.init.shape, slot.kind, slot.axes, slot.init, slot.next, domain=slot.domain)
        for slot in body.slots
        if slot.next is not None
    )
    return Cell(
        name=node.name.id,
        doc=cleandoc(node.doc or document or ""),
        sizes=tuple(body.sizes),
        axes=body.axes,
        inputs=tuple(body.inputs),
        params=tuple(body.params.values()),
        noises=tuple(body.noises),
        states=(*own, *body.states, *lags.states(body)),
        outputs=tuple(Output(name, value) for name, value in body.outputs.items()),
        requires=tuple(body.requires.values()),
        names=body.names,
        spans=body.spans,
    )


def _everywhere(cell: Cell) -> dict[Value, tuple[Span, ...]]:
    """The places of every value: those that no expression stands for have the place of what uses them."""
    spans: dict[Value, tuple[Span, ...]] = {}
    for value in reversed(tuple(postorder(cell.all_roots()))):
        places = cell.spans.get(value) or spans.get(value, ())
        spans[value] = places
        for arg in value.args:
            if arg not in cell.spans and places:
                spans.setdefault(arg, places[:1])
    return {value: places for value, places in spans.items() if places}
