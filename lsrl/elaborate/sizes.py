"""Expressions of sizes: shapes, slice bounds, turns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.definitions import ConstTerm
from lsrl.elaborate.env import Env
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Role, unknown
from lsrl.elaborate.terms import POISON, described, size_in
from lsrl.ir.dims import LARGEST_POWER, Dim, DimError, Shape
from lsrl.ir.fault import SIZE_MEANINGLESS, Fault
from lsrl.ir.span import Span

MOST_TERMS = 100
LARGEST_COEFFICIENT = 10**18
COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPERATORS = ("+", "-", "*", "/", "//", "%", "**")


def dim(env: Env, expr: syntax.Expr) -> Dim:
    """The size that an expression says; a fault when it says none."""
    match expr:
        case syntax.Num(int() as number):
            return _reasonable(Dim.of(number), expr.span)
        case syntax.Unary("-", operand):
            return -dim(env, operand)
        case syntax.Binary(op, left, right) if op in OPERATORS:
            return _combined(op, dim(env, left), dim(env, right), expr.span)
        case syntax.Name(name, span) if env.scope.find(name) is None and name not in env.module.table:
            raise _unknown_size(env, name, span)
    term = env.term(expr)
    if term is POISON:
        raise Poisoned
    size = size_in(term)
    if size is None:
        raise Misplaced(
            code.NOT_A_SIZE,
            "this is no size",
            described(term),
            "whole numbers, sizes of the cell and constants",
            span=expr.span,
        )
    return size


def shape(env: Env, exprs: Iterable[syntax.Expr]) -> Shape:
    """The shape that a list of expressions says."""
    return tuple(dim(env, expr) for expr in exprs)


def holds(env: Env, expr: syntax.Expr) -> bool:
    """Whether a condition on sizes holds; a size by itself holds where it is not 0.

    As with turns of `repeat`, a size that is not known counts as 1, and what was built so is run with no other.
    """
    match expr:
        case syntax.Bool(value):
            return value
        case syntax.Unary("not", operand):
            return not holds(env, operand)
        case syntax.Binary("and", left, right):
            return holds(env, left) and holds(env, right)
        case syntax.Binary("or", left, right):
            return holds(env, left) or holds(env, right)
        case syntax.Binary(op, left, right) if op in COMPARISONS:
            return COMPARISONS[op](_number(env, left), _number(env, right))
    return _number(env, expr) != 0


def _number(env: Env, expr: syntax.Expr) -> int:
    """The number of a size in the condition of an `if`."""
    try:
        return env.body.pin(dim(env, expr), "`if`", expr.span)
    except Misplaced as fault:
        if fault.code != code.NOT_A_SIZE:
            raise
        remedy = "a choice between values is `where(condition, a, b)`"
        message = "an `if` asks sizes, which are known when the program is built"
        raise Misplaced(code.NOT_A_SIZE, message, fault.found, fault.expected, remedy, span=expr.span) from fault


def maybe(env: Env, expr: syntax.Expr) -> Dim | None:
    """The size that an expression says, or None when it reads anything but numbers, sizes and constants."""
    match expr:
        case syntax.Num(int()):
            return dim(env, expr)
        case syntax.Unary("-", operand):
            return dim(env, expr) if maybe(env, operand) is not None else None
        case syntax.Binary(op, left, right) if op in OPERATORS:
            static = maybe(env, left) is not None and maybe(env, right) is not None
            return dim(env, expr) if static else None
        case syntax.Name(name):
            binding = env.scope.find(name)
            if binding is None:
                return size_in(env.term(expr)) if isinstance(env.module.table.get(name), ConstTerm) else None
            return size_in(env.term(expr)) if size_in(binding.term) is not None else None
    return None


def kept(env: Env, expr: syntax.Expr) -> Dim | None:
    """The size that an argument is, so that a function can use it for a shape; `/` makes a float, which is none."""
    if not isinstance(expr, syntax.Binary) or not _whole(expr):
        return None
    try:
        return maybe(env, expr)
    except (Fault, Misplaced, Poisoned):
        return None


def _whole(expr: syntax.Expr) -> bool:
    match expr:
        case syntax.Num(int()) | syntax.Name():
            return True
        case syntax.Unary("-", operand):
            return _whole(operand)
        case syntax.Binary(op, left, right):
            return op in OPERATORS and op != "/" and _whole(left) and _whole(right)
    return False


def _combined(op: str, left: Dim, right: Dim, span: Span) -> Dim:
    try:
        match op:
            case "+":
                result = left + right
            case "-":
                result = left - right
            case "*":
                result = _product(left, right, span)
            case "/":
                result = left / right
            case "//":
                result = left // right
            case "%":
                result = left % right
            case _:
                result = _power(left, right, span)
    except DimError as error:
        raise Misplaced(SIZE_MEANINGLESS, str(error), span=span) from error
    return _reasonable(result, span)


def _product(left: Dim, right: Dim, span: Span) -> Dim:
    if len(left.terms) * len(right.terms) > MOST_TERMS:
        raise _too_large(span)
    return left * right


def _power(base: Dim, power: Dim, span: Span) -> Dim:
    number = power.constant
    if number is None:
        raise Misplaced(SIZE_MEANINGLESS, "the power of a size must be a number", str(power), span=span)
    if not 0 <= number <= LARGEST_POWER:
        message = f"the power of a size is outside 0..{LARGEST_POWER}"
        raise Misplaced(code.TOO_LARGE, message, str(power), span=span)
    result = Dim.of(1)
    for _ in range(number):
        result = _reasonable(_product(result, base, span), span)
    return result


def _reasonable(dim: Dim, span: Span) -> Dim:
    if len(dim.terms) > MOST_TERMS or any(abs(factor) > LARGEST_COEFFICIENT for _, factor in dim.terms):
        raise _too_large(span)
    if len(dim.names) > 0 and len(str(dim)) > 1000:
        raise _too_large(span)
    return dim


def _too_large(span: Span) -> Fault:
    return Misplaced(code.TOO_LARGE, "the size is too large, or its formula too long", span=span)


def _unknown_size(env: Env, name: str, span: Span) -> Fault:
    known = [n for n in env.scope.visible() if (b := env.scope.find(n)) and b.role in (Role.SIZE, Role.CONST)]
    fault = unknown(code.UNKNOWN_SIZE, "size", name, known)
    remedy = fault.remedy or f"add it to the cell's sizes: `cell {env.body.name}({', '.join([*known, name])})`"
    return Misplaced(fault.code, fault.message, None, None, remedy, span=span)
