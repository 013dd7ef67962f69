"""What an expression stands for: one case per form of the syntax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from lsrl import syntax
from lsrl.elaborate import calls, names, places
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.env import Env, value_of
from lsrl.elaborate.indexing import index
from lsrl.elaborate.report import Poisoned
from lsrl.elaborate.session import DEEPEST_EXPRESSION
from lsrl.elaborate.terms import POISON, Term, Text
from lsrl.ir import build, ops
from lsrl.ir.build import Diag
from lsrl.ir.dims import DimError, shape_text
from lsrl.ir.fault import SIZE_MEANINGLESS, Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Value

OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "and",
    "or": "or",
}


def evaluate(env: Env, expr: syntax.Expr) -> Term:
    """The term of an expression; POISON, after a report, when it has none.

    Chains `a + b + c` are taken from their innermost left operand outwards, so that their length is no depth.
    """
    session = env.body.session
    chain: list[syntax.Binary] = []
    while isinstance(expr, syntax.Binary):
        chain.append(expr)
        expr = expr.left
    session.depth += 1
    try:
        term = _attempted(env, expr, partial(_term, env, expr))
        for node in reversed(chain):
            term = _attempted(env, node, partial(_combined, env, node, term))
    finally:
        session.depth -= 1
    return term


def _attempted(env: Env, expr: syntax.Expr, build_it: Callable[[], Term]) -> Term:
    """What `build_it` gives, noted as standing at `expr`; POISON after reporting why it gives nothing."""
    session = env.body.session
    session.count_values(1, env.uses[0] if env.uses else expr.span)
    try:
        if session.depth > DEEPEST_EXPRESSION:
            raise Fault(code.TOO_DEEP, f"expressions are inlined more than {DEEPEST_EXPRESSION} deep")
        term = build_it()
        # A name builds nothing: what it stands for has the place of its definition.
        if isinstance(term, Value) and not isinstance(expr, syntax.Name | syntax.Prime):
            return env.body.placed(term, expr.span)
        return term
    except Poisoned:
        return POISON
    except Fault as fault:
        env.refuse(fault, expr.span)
        return POISON
    except DimError as error:
        env.refuse(Fault(SIZE_MEANINGLESS, str(error)), expr.span)
        return POISON


def _term(env: Env, expr: syntax.Expr) -> Term:
    match expr:
        case syntax.Num(value):
            return names.number(value)
        case syntax.Bool(value):
            return ops.const(value)
        case syntax.Str(text):
            return Text(text)
        case syntax.Name():
            return names.name(env, expr)
        case syntax.Prime():
            return names.prime(env, expr)
        case syntax.Unary():
            return _unary(env, expr)
        case syntax.Binary():
            return _combined(env, expr, env.term(expr.left))
        case syntax.Call():
            return calls.call(env, expr)
        case syntax.Index():
            return index(env, expr)
        case syntax.Attribute():
            return _attribute(env, expr)
        case syntax.Array():
            return _array(env, expr)
        case syntax.Reverse():
            return calls.reversed_use(env, expr)


def _unary(env: Env, expr: syntax.Unary) -> Term:
    operand = env.matrix(expr.operand)
    match expr.op, operand:
        case "-", Diag(vector):
            return Diag(build.neg(vector))
        case "-", _:
            return build.neg(build.value(operand))
        case "not", _:
            return ops.apply("not", build.value(operand))
    return operand


def _combined(env: Env, expr: syntax.Binary, left: Term) -> Term:
    """An operation whose left operand is known already; the mistakes of both are found before either is given up."""
    right = env.term(expr.right)
    if left is POISON or right is POISON:
        raise Poisoned
    operands = _operand(left, expr.left.span), _operand(right, expr.right.span)
    if expr.op == "@":
        return _product(env, expr, operands)
    values = [build.value(operand) for operand in operands]
    return ops.apply(OPERATORS[expr.op], *places.meet(values, env.collecting))


def _operand(term: Term, span: Span) -> Value | Diag:
    return term if isinstance(term, Diag) else value_of(term, span)


def _product(env: Env, expr: syntax.Binary, given: tuple[Value | Diag, Value | Diag]) -> Term:
    plain = [operand.vector if isinstance(operand, Diag) else operand for operand in given]
    met = places.meet(plain, env.collecting)
    operands = [Diag(new) if isinstance(old, Diag) else new for old, new in zip(given, met, strict=True)]
    try:
        return build.matmul(*operands)
    except Fault as fault:
        fault.remedy = _transposed(expr, met) or fault.remedy
        raise


def _transposed(expr: syntax.Binary, operands: Sequence[Value]) -> str | None:
    """What a product of these shapes was probably meant to be: one with a matrix the other way round."""
    left, right = operands
    names = _turned(expr.left), _turned(expr.right)
    shapes = [shape_text(operand.shape) for operand in operands]
    if left.rank == 2 and names[0] and left.shape[:1] == right.shape[:1]:
        return f"`{expr.left.span.text}` is {shapes[0]}; did you mean `{names[0]} @ {expr.right.span.text}`?"
    if right.rank == 2 and names[1] and left.shape[-1:] == right.shape[1:]:
        return f"`{expr.right.span.text}` is {shapes[1]}; did you mean `{expr.left.span.text} @ {names[1]}`?"
    return None


def _turned(expr: syntax.Expr) -> str | None:
    """The text of the transpose of a name."""
    match expr:
        case syntax.Name(name):
            return f"{name}.T"
        case syntax.Attribute(syntax.Name(name), "T"):
            return name
    return None


def _attribute(env: Env, expr: syntax.Attribute) -> Term:
    base = env.term(expr.base)
    if base is POISON:
        raise Poisoned
    return names.attribute(env, expr, base)


def _array(env: Env, expr: syntax.Array) -> Value:
    """`[1, 2]`: a constant where all elements are numbers, else the elements side by side."""
    elements = [env.term(item) for item in expr.items]
    if POISON in elements:
        raise Poisoned
    values = places.meet(
        [value_of(term, item.span) for term, item in zip(elements, expr.items, strict=True)], env.collecting
    )
    if all(value.op == "const" and value.attr("value") != "pi" for value in values):
        return ops.const(tuple(value.attr("value") for value in values))
    return build.stack(values)
