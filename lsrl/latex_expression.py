"""Expressions as LaTeX: fractions, roots and cases as mathematics sets them, names with their position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from lsrl.format_expression import AND, ATOM, COMPARISON, LOOSEST, NOT, OR, POSTFIX, POWER, PRODUCT, SUM, UNARY
from lsrl.latex_names import name as named
from lsrl.latex_names import operator
from lsrl.latex_scope import Scope, lag, rank
from lsrl.syntax import (
    Array,
    Attribute,
    Binary,
    Bool,
    Call,
    Ellipsis,
    Expr,
    Index,
    Keyword,
    Name,
    Num,
    Prime,
    Reverse,
    Slice,
    Str,
    Unary,
)

Written = tuple[int, str]
"""How tightly a formula holds together, as in `lsrl.format_expression`, and its text."""

NAMED = {
    "sigmoid": r"\sigma",
    "exp": r"\exp",
    "log": r"\log",
    "tanh": r"\tanh",
    "sin": r"\sin",
    "cos": r"\cos",
    "tan": r"\tan",
    "max": r"\max",
    "min": r"\min",
    "sum": r"\textstyle\sum",
    "prod": r"\textstyle\prod",
    "re": r"\Re",
    "im": r"\Im",
    "arg": r"\arg",
    "stopgrad": r"\operatorname{sg}",
}
SIGNS = {
    "or": (OR, r"\lor"),
    "and": (AND, r"\land"),
    "==": (COMPARISON, "="),
    "!=": (COMPARISON, r"\neq"),
    "<": (COMPARISON, "<"),
    "<=": (COMPARISON, r"\le"),
    ">": (COMPARISON, ">"),
    ">=": (COMPARISON, r"\ge"),
    "+": (SUM, "+"),
    "-": (SUM, "-"),
    "%": (PRODUCT, r"\bmod"),
}


def formula(node: Expr, scope: Scope, level: int = LOOSEST) -> str:
    """An expression, in parentheses where it holds together less tightly than asked."""
    own, text = _written(node, scope)
    return text if own >= level else f"\\left({text}\\right)"


def _written(node: Expr, scope: Scope) -> Written:
    match node:
        case Num(value=value):
            return _number(value)
        case Bool(value=value):
            return ATOM, r"\text{true}" if value else r"\text{false}"
        case Str(value=value):
            return ATOM, f"\\text{{{value}}}"
        case Name(id="inf"):
            return ATOM, r"\infty"
        case Name(id=text):
            return ATOM, named(text, scope.arriving.get(text, scope.axes if text in scope.moving else ()))
        case Prime(id=text):
            return ATOM, named(text, scope.axes)
        case Unary(op="not", operand=operand):
            return NOT, f"\\lnot {formula(operand, scope, NOT)}"
        case Unary(op=sign, operand=operand):
            return UNARY, f"{sign}{formula(operand, scope, PRODUCT)}"
        case Reverse(operand=Call(function=Call(function=Name(id=text)) | Name(id=text)) as call, axes=axes):
            turned = f"\\overleftarrow{{{operator(text)}}}{_turned(axes)}"
            return POSTFIX, f"{turned}\\!\\left({_arguments(call, scope)}\\right)"
        case Reverse(operand=operand, axes=axes):
            return POSTFIX, f"\\overleftarrow{{{formula(operand, scope)}}}{_turned(axes)}"
        case Binary():
            return _binary(node, scope)
        case Attribute(base=base, name="T"):
            return POWER, f"{formula(base, scope, POSTFIX)}^\\top"
        case Attribute(base=base, name=text):
            return POSTFIX, f"{formula(base, scope, POSTFIX)}.\\mathit{{{text}}}"
        case Array(items=items):
            return ATOM, f"\\left[{_listed(items, scope)}\\right]"
        case Index():
            return _indexed(node, scope)
        case Call():
            return _call(node, scope)


def _number(value: int | Fraction | complex) -> Written:
    match value:
        case complex(real=real, imag=imag):
            return (SUM, f"{real:g} + {imag:g}i") if real else (ATOM, f"{imag:g}i")
        case Fraction(denominator=1) | int():
            return ATOM, str(int(value))
        case _:
            return _decimal(float(value))


def _decimal(value: float) -> Written:
    digits, _, exponent = repr(value).partition("e")
    return (PRODUCT, f"{digits} \\cdot 10^{{{int(exponent)}}}") if exponent else (ATOM, digits)


def _binary(node: Binary, scope: Scope) -> Written:
    match node.op:
        case "/":
            return POSTFIX, f"\\frac{{{formula(node.left, scope)}}}{{{formula(node.right, scope)}}}"
        case "//":
            quotient = f"\\frac{{{formula(node.left, scope)}}}{{{formula(node.right, scope)}}}"
            return ATOM, f"\\left\\lfloor {quotient} \\right\\rfloor"
        case "**":
            return POWER, f"{formula(node.left, scope, POSTFIX)}^{{{formula(node.right, scope)}}}"
        case "*" | "@":
            return PRODUCT, _product(node, scope)
        case _:
            level, sign = SIGNS[node.op]
            return level, f"{formula(node.left, scope, level)} {sign} {_right(node.right, scope, level + 1)}"


def _product(node: Binary, scope: Scope) -> str:
    """Element by element, or a product that needs no sign; a number written in digits needs a dot before it."""
    ranks = rank(node.left, scope), rank(node.right, scope)
    mixed = isinstance(node.left, Binary) and (node.left.op == "@") != (node.op == "@")
    left = formula(node.left, scope, UNARY if mixed and 0 not in ranks else PRODUCT)
    right = _right(node.right, scope, UNARY)
    if isinstance(node.right, Num):
        return f"{left} \\cdot {right}"
    if node.op == "@":
        row = f"{formula(node.left, scope, POSTFIX)}^\\top" if ranks[0] == 1 else left
        return f"{row} \\, {right}"
    return f"{left} \\, {right}" if 0 in ranks else f"{left} \\odot {right}"


def _right(node: Expr, scope: Scope, level: int) -> str:
    """What stands behind a sign: no second sign may follow the first."""
    return f"\\left({formula(node, scope)}\\right)" if isinstance(node, Unary) else formula(node, scope, level)


def _indexed(node: Index, scope: Scope) -> Written:
    """An earlier position is an index of the name; anything else stands in brackets."""
    lags = [lag(item, scope) for item in node.items]
    if None not in lags and isinstance(node.base, Name | Prime):
        given = {axis: f"{axis}-{formula(distance, scope, PRODUCT)}" for axis, distance in filter(None, lags)}
        return ATOM, named(node.base.id, [given.get(axis, axis) for axis in scope.axes])
    items = ", ".join(_item(item, scope) for item in node.items)
    return POSTFIX, f"{formula(node.base, scope, POSTFIX)}\\left[{items}\\right]"


def _item(item: Expr | Slice | Ellipsis, scope: Scope) -> str:
    match item:
        case Ellipsis():
            return r"\ldots"
        case Slice(start=start, stop=stop, step=step):
            ends = [formula(part, scope) if part is not None else "" for part in (start, stop)]
            return "{:}".join([*ends, formula(step, scope)] if step is not None else ends)
        case _:
            return formula(item, scope)


def _listed(items: tuple[Expr, ...], scope: Scope, separator: str = ", ") -> str:
    return separator.join(formula(item, scope) for item in items)


def _arguments(call: Call, scope: Scope) -> str:
    return ", ".join([*(formula(arg, scope) for arg in call.args), *(_keyword(k, scope) for k in call.keywords)])


def _keyword(keyword: Keyword, scope: Scope) -> str:
    return f"\\mathrm{{{keyword.name}}}={formula(keyword.value, scope)}".replace("_", r"\_")


def _call(node: Call, scope: Scope) -> Written:
    match node:
        case Call(function=Name(id=text), args=args, keywords=()) if (text, len(args)) in SPECIAL:
            return SPECIAL[text, len(args)].written(args, scope)
        case Call(function=Name(id="concat"), args=args, keywords=()):
            return ATOM, f"\\left[{_listed(args, scope, '; ')}\\right]"
        case Call(function=Name(id="einsum"), args=(Str(value=spec), *rest)):
            return POSTFIX, f"\\operatorname{{einsum}}_{{{_spec(spec)}}}\\!\\left({_listed(tuple(rest), scope)}\\right)"
        case Call(function=Call(function=Name(id=text))):
            return POSTFIX, f"{operator(text)}\\!\\left({_arguments(node, scope)}\\right)"
        case Call(function=Name(id=text)):
            return POSTFIX, f"{NAMED.get(text) or operator(text)}\\!\\left({_arguments(node, scope)}\\right)"
        case _:
            return POSTFIX, f"{formula(node.function, scope, POSTFIX)}\\!\\left({_arguments(node, scope)}\\right)"


def _turned(axes: tuple[str, ...]) -> str:
    """The axes below the arrow, where they are not all."""
    return f"_{{{', '.join(axes)}}}" if axes else ""


def _spec(text: str) -> str:
    return text.replace("->", r"\to ").replace(",", r",\;")


@dataclass(frozen=True, slots=True)
class Form:
    """How a function is written that has a notation of its own: each %s is an argument, by its place, at its level."""

    own: int
    text: str
    slots: tuple[tuple[int, int], ...]

    def written(self, args: tuple[Expr, ...], scope: Scope) -> Written:
        return self.own, self.text % tuple(formula(args[place], scope, level) for place, level in self.slots)


SPECIAL: Mapping[tuple[str, int], Form] = {
    ("outer", 2): Form(UNARY, r"%s\, %s^\top", ((0, UNARY), (1, POSTFIX))),
    ("dot", 2): Form(UNARY, r"%s^\top %s", ((0, POSTFIX), (1, UNARY))),
    ("sqrt", 1): Form(ATOM, r"\sqrt{%s}", ((0, LOOSEST),)),
    ("abs", 1): Form(ATOM, r"\left|%s\right|", ((0, LOOSEST),)),
    ("norm", 1): Form(ATOM, r"\left\|%s\right\|", ((0, LOOSEST),)),
    ("square", 1): Form(POWER, r"%s^{2}", ((0, POSTFIX),)),
    ("cis", 1): Form(POWER, r"e^{i\, %s}", ((0, UNARY),)),
    ("conj", 1): Form(ATOM, r"\overline{%s}", ((0, LOOSEST),)),
    ("where", 3): Form(
        ATOM,
        r"\begin{cases} %s & %s \\ %s & \text{otherwise} \end{cases}",
        ((1, LOOSEST), (0, LOOSEST), (2, LOOSEST)),
    ),
    ("grad", 2): Form(PRODUCT, r"\nabla_{%s}\, %s", ((1, LOOSEST), (0, UNARY))),
}
