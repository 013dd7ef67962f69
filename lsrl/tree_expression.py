"""From Lark's tree to expressions: one method per rule of `grammar.lark`, named like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lark import Token, Transformer, Tree, v_args
from lark.tree import Meta

from lsrl import syntax
from lsrl.ir.span import Diagnostic, Source, Span
from lsrl.lexical import RESERVED
from lsrl.mistakes import renamed
from lsrl.syntax import Expr
from lsrl.words import place

DEEPEST_EXPRESSION = 100
LARGEST_EXPONENT = 400
LONGEST_NUMBER = 400
LARGEST_IMAGINARY = 10**308

_CHAINS = ("disjunction", "conjunction", "sum", "product")
_LEVELS = (
    *("comparison", "power", "prefixed", "reverse"),
    *("array", "attribute", "call", "group", "index", "keyword", "slice"),
)


def too_deep(tree: Tree[Token], source: Source) -> Diagnostic | None:
    """What to say of an expression that nests deeper than allowed; behind this check everything may recurse."""
    waiting = [(tree, 0)]
    while waiting:
        branch, depth = waiting.pop()
        if branch.data in _CHAINS:
            depth += len(branch.children) // 2
        elif branch.data in _LEVELS:
            depth += 1
        if depth > DEEPEST_EXPRESSION:
            message = f"an expression nests deeper than {DEEPEST_EXPRESSION}"
            return Diagnostic("E0108", message, place(source, branch.meta), remedy="give names to its parts")
        waiting += [(child, depth) for child in branch.children if isinstance(child, Tree)]
    return None


@dataclass(frozen=True, slots=True)
class Along:
    """`along y`, `along (y, x)`"""

    axes: tuple[syntax.Name, ...]
    span: Span


@v_args(meta=True, inline=True)
class ExpressionBuilder(Transformer[Token, syntax.Program]):
    """The methods for expressions, and what all methods share: places, names, diagnostics."""

    def __init__(self, source: Source, comments: Sequence[syntax.Comment]) -> None:
        super().__init__()
        self.source = source
        self.comments = tuple(comments)
        self.diagnostics: list[Diagnostic] = []

    def _span(self, at: Meta | Token) -> Span:
        return place(self.source, at)

    def _refuse(self, code: str, message: str, span: Span, remedy: str | None = None) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, remedy=remedy))

    def _name(self, token: Token) -> syntax.Name:
        return syntax.Name(str(token), self._span(token))

    def _unprimed(self, token: Token) -> str:
        name = token.removesuffix("'")
        if name in RESERVED:
            self._refuse("E0203", f"`{name}` is a reserved word, not a name", self._span(token), renamed(name))
        return name

    def chain(self, meta: Meta, first: Expr, *rest: Token | Expr) -> Expr:
        """Operands and operators in turn, grouped from the left: `a - b + c` is (a - b) + c."""
        operators = [part for part in rest if isinstance(part, Token)]
        operands = [part for part in rest if not isinstance(part, Token)]
        left = first
        for operator, right in zip(operators, operands, strict=True):
            span = left.span.to(right.span)
            left = syntax.Binary(str(operator), left, right, span, self._span(operator))
        return left

    disjunction = conjunction = comparison = sum = product = power = chain

    def prefixed(self, meta: Meta, operator: Token, operand: Expr) -> syntax.Unary:
        return syntax.Unary(str(operator), operand, self._span(meta))

    def along(self, meta: Meta, *axes: Token) -> Along:
        return Along(tuple(self._name(axis) for axis in axes), self._span(meta))

    def reverse(self, meta: Meta, along: Along | None, operand: Expr) -> syntax.Reverse:
        if along is None:
            return syntax.Reverse(operand, (), self._span(meta))
        return syntax.Reverse(operand, tuple(axis.id for axis in along.axes), self._span(meta), along.span)

    def group(self, meta: Meta, inner: Expr) -> Expr:
        return replace(inner, span=self._span(meta))

    def call(self, meta: Meta, function: Expr, given: list[Expr | syntax.Keyword] | None) -> syntax.Call:
        args = tuple(one for one in given or () if not isinstance(one, syntax.Keyword))
        keywords = tuple(one for one in given or () if isinstance(one, syntax.Keyword))
        if given and args and keywords and (late := args[-1]) is not given[len(args) - 1]:
            remedy = f"put it before `{keywords[0].name}=`; equality is `==`"
            self._refuse("E0207", "a positional argument behind a named one", late.span, remedy)
        return syntax.Call(function, args, keywords, self._span(meta))

    def arguments(self, meta: Meta, *given: Expr | syntax.Keyword) -> list[Expr | syntax.Keyword]:
        return list(given)

    def keyword(self, meta: Meta, name: Token, value: Expr) -> syntax.Keyword:
        return syntax.Keyword(str(name), value, self._span(meta))

    def index(self, meta: Meta, base: Expr, *items: Expr | syntax.Slice | syntax.Ellipsis) -> syntax.Index:
        return syntax.Index(base, items, self._span(meta))

    def slice(
        self, meta: Meta, start: Expr | None, _: Token, stop: Expr | None, second: Token | None, step: Expr | None
    ) -> syntax.Slice:
        return syntax.Slice(start, stop, step, self._span(meta))

    def ellipsis(self, meta: Meta, _: Token) -> syntax.Ellipsis:
        return syntax.Ellipsis(self._span(meta))

    def attribute(self, meta: Meta, base: Expr, name: Token) -> syntax.Attribute:
        return syntax.Attribute(base, str(name), self._span(meta), self._span(name))

    def array(self, meta: Meta, *items: Expr) -> syntax.Array:
        return syntax.Array(items, self._span(meta))

    # Atoms

    def name(self, meta: Meta, token: Token) -> syntax.Name:
        return self._name(token)

    def prime(self, meta: Meta, token: Token) -> syntax.Prime:
        return syntax.Prime(self._unprimed(token), self._span(token))

    def string(self, meta: Meta, token: Token) -> syntax.Str:
        return syntax.Str(token[1:-1], self._span(token))

    def bool(self, meta: Meta, token: Token) -> syntax.Bool:
        return syntax.Bool(token == "true", self._span(token))

    def number(self, meta: Meta, token: Token) -> syntax.Num:
        span = self._span(token)
        digits = token.replace("_", "").lower()
        significand, _, exponent = digits.removesuffix("j").partition("e")
        if len(significand) > LONGEST_NUMBER or abs(int(exponent[:6] or 0)) > LARGEST_EXPONENT:
            self._refuse("E0109", "a number with too many digits or too large an exponent", span)
            return syntax.Num(0, span)
        exact = Fraction(digits.removesuffix("j"))
        if not digits.endswith("j"):
            return syntax.Num(int(digits) if digits.isdigit() else exact, span)
        if abs(exact) > LARGEST_IMAGINARY:
            self._refuse("E0109", "an imaginary number beyond float64", span)
            return syntax.Num(0, span)
        return syntax.Num(complex(0, float(exact)), span)
