"""Calls: functions are inlined, cells are used with their sizes and inputs."""

from __future__ import annotations

from dataclasses import replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import names, sizes
from lsrl.elaborate.arguments import bound, evaluate_all, matched
from lsrl.elaborate.binding import assign
from lsrl.elaborate.definitions import CellTerm, FunctionTerm
from lsrl.elaborate.env import Env
from lsrl.elaborate.functions import FUNCTIONS
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Role, Scope
from lsrl.elaborate.session import DEEPEST_INLINING
from lsrl.elaborate.terms import POISON, BuiltinTerm, Several, Term, described
from lsrl.elaborate.uses import used
from lsrl.ir import ops
from lsrl.ir.fault import ARGUMENT_COUNT, Fault


def call(env: Env, expr: syntax.Call) -> Term:
    """What a call gives."""
    if isinstance(expr.function, syntax.Call):
        return _use(env, expr.function, expr, frozenset())
    term = env.term(expr.function)
    match term:
        case BuiltinTerm(name):
            return FUNCTIONS[name].build(bound(env, FUNCTIONS[name], expr))
        case FunctionTerm():
            return _inlined(env, term, expr)
        case CellTerm(node):
            sizes_shown = ", ".join(p.name for p in node.sizes)
            raise Fault(
                code.WRONG_USE,
                f"the cell `{node.name.id}` is used with its sizes, then its inputs",
                remedy=f"write `{node.name.id}({sizes_shown})(...)`",
            )
    if term is POISON:
        evaluate_all(env, expr)
        raise Poisoned
    raise _not_callable(env, expr.function, term)


def reversed_use(env: Env, expr: syntax.Expr, reverse: frozenset[str] = frozenset()) -> Term:
    """`reverse gru(D, H)(x)`: the cell runs from the end to the start, along all axes or those that are named."""
    match expr:
        case syntax.Reverse(operand, axes):
            named = [names.own_axis(env, axis, expr.along) for axis in axes]
            return reversed_use(env, operand, reverse ^ frozenset(named or env.body.axes))
        case syntax.Attribute(base):
            return names.attribute(env, expr, reversed_use(env, base, reverse))
        case syntax.Call(syntax.Call() as sized):
            return _use(env, sized, expr, reverse)
    raise Misplaced(
        code.NOT_REVERSIBLE,
        "only the use of a cell runs backwards",
        remedy="write `reverse gru(D, H)(x)`",
        span=expr.span,
    )


def _use(env: Env, sized: syntax.Call, applied: syntax.Call, reverse: frozenset[str]) -> Term:
    """`f(...)(...)`, where `f` must be a cell."""
    term = env.term(sized.function)
    if term is POISON:
        evaluate_all(env, applied)
        raise Poisoned
    if not isinstance(term, CellTerm):
        raise _not_callable(env, sized.function, term)
    return used(env, term, sized, applied, reverse)


def _inlined(env: Env, function: FunctionTerm, expr: syntax.Call) -> Term:
    """A function's result, with its body in place of the call."""
    node = function.node
    if len(env.uses) >= DEEPEST_INLINING:
        raise Fault(code.TOO_DEEP, f"functions call functions more than {DEEPEST_INLINING} deep")
    if any(other.node is node for other in env.inlining):
        raise Fault(code.RECURSION, f"the function `{node.name.id}` uses itself", remedy="there is no recursion")
    inside = replace(
        env,
        scope=Scope(),
        module=function.module,
        uses=(*env.uses, expr.span),
        inlining=(*env.inlining, function),
    )
    _bind_arguments(env, inside, node, expr)
    if env.checking:
        raise Poisoned
    return result_of(inside, node)


def result_of(inside: Env, node: syntax.Function) -> Term:
    """The value of a function's body, whose arguments are bound."""
    for line in node.body:
        assign(inside, line)
    terms = tuple(inside.term(value) for value in node.result.values)
    return terms[0] if len(terms) == 1 else Several(terms)


def _bind_arguments(env: Env, inside: Env, node: syntax.Function, expr: syntax.Call) -> None:
    """Arguments by position or name; a default sees the arguments before it."""
    signature = f"{node.name.id}({', '.join(p.name for p in node.parameters)})"
    given = matched(node.name.id, [p.name for p in node.parameters], expr, signature)
    missing = [p.name for p in node.parameters if p.name not in given and p.default is None]
    if missing:
        message = f"`{node.name.id}` needs {', '.join(missing)}"
        raise Misplaced(ARGUMENT_COUNT, message, None, signature, span=expr.span)
    for parameter in node.parameters:
        if parameter.name in given:
            term = _argument(env, given[parameter.name])
        else:
            assert parameter.default is not None
            term = inside.term(parameter.default)
        inside.scope.names[parameter.name] = Binding(Role.ARGUMENT, term, parameter.span)


def _argument(env: Env, expr: syntax.Expr) -> Term:
    size = sizes.kept(env, expr)
    return env.term(expr) if size is None else ops.size(size)


def _not_callable(env: Env, function: syntax.Expr, term: Term) -> Fault:
    if isinstance(function, syntax.Name) and (binding := env.scope.find(function.id)) is not None:
        found = f"the {binding.role} of line {binding.span.line}"
        remedy = "for a product write `*` or `@`"
        if function.id in env.builtins:
            remedy = f"it hides the function `{function.id}`: rename it"
        message = f"`{function.id}` is no function here"
        return Misplaced(code.WRONG_USE, message, found, remedy=remedy, span=function.span)
    return Misplaced(code.WRONG_USE, f"{described(term)} cannot be called", span=function.span)
