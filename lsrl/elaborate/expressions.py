"""What an expression stands for: one case per form of the syntax."""

from __future__ import annotations

from collections.abc import Sequence

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
    """The term of an expression; POISON, after a report, when it has none."""
    session = env.body.session
    session.count_values(1, env.uses[0] if env.uses else expr.span)
    session.depth += 1
    try:
        if session.depth > DEEPEST_EXPRESSION:
            raise Fault(code.TOO_DEEP, f"expressions are inlined more than {DEEPEST_EXPRESSION} deep")
        term = _term(env, expr)
        return env.body.placed(term, expr.span) if isinstance(term, Value) else term
    except Poisoned:
        return POISON
    except Fault as fault:
        env.refuse(fault, expr.span)
        return POISON
    except DimError as error:
        env.refuse(Fault(SIZE_MEANINGLESS, str(error)), expr.span)
        return POISON
    finally:
        session.depth -= 1


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
        case syntax.Binary("@"):
            return _product(env, expr)
        case syntax.Binary():
            return _binary(env, expr)
        case syntax.Call():
            return calls.call(env, expr)
        case syntax.Index():
            return index(env, expr)
        case syntax.Attribute():
            return _attribute(env, expr)
        case syntax.Array():
            return _array(env, expr)
        case syntax.Reverse(operand):
            return calls.reversed_use(env, operand)


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


def _binary(env: Env, expr: syntax.Binary) -> Value:
    left, right = _operands(env, expr)
    return ops.apply(OPERATORS[expr.op], *places.meet((build.value(left), build.value(right)), env.collecting))


def _product(env: Env, expr: syntax.Binary) -> Term:
    left, right = _operands(env, expr)
    plain = [operand.vector if isinstance(operand, Diag) else operand for operand in (left, right)]
    met = places.meet(plain, env.collecting)
    operands = [Diag(new) if isinstance(old, Diag) else new for old, new in zip((left, right), met, strict=True)]
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


def _operands(env: Env, expr: syntax.Binary) -> tuple[Value | Diag, Value | Diag]:
    """Both operands; the mistakes of both are found before either is given up."""
    terms = env.term(expr.left), env.term(expr.right)
    if POISON in terms:
        raise Poisoned
    left, right = (
        term if isinstance(term, Diag) else value_of(term, side.span)
        for term, side in zip(terms, (expr.left, expr.right), strict=True)
    )
    return left, right


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
