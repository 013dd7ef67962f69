"""Where an expression stands: the names it sees, the cell it is part of, and how deep it is inside others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.body import Body
from lsrl.elaborate.definitions import FunctionTerm, Module
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Scope
from lsrl.elaborate.terms import POISON, Term, Text, described
from lsrl.ir import build
from lsrl.ir.build import Diag
from lsrl.ir.fault import Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Value

Evaluate = Callable[["Env", syntax.Expr], Term]


@dataclass(frozen=True, slots=True)
class Naming:
    """How parameters and states of used cells are called here.

    `prefix` leads the names of states and values, `params` those of parameters (they differ where turns share them);
    where a turn consists of one cell, that cell's names follow `direct`ly.
    """

    prefix: str = ""
    params: str = ""
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Env:
    """See the module's docstring.

    Attributes:
        body: the cell that receives states, parameters and requirements.
        scope, module: where names are looked for, in this order.
        evaluate: what gives an expression its meaning.
        builtins: names of the functions of the language itself.
        uses: the calls that this code is inlined for, outermost first; `inlining` are the functions called.
        collecting: inside `sum_in` or `max_in`.
        condition: inside the condition of `reset when` or `hold when`: which of them.
        checking: a function is looked at by itself, so the functions that it calls are not gone into.
    """

    body: Body
    scope: Scope
    module: Module
    evaluate: Evaluate
    builtins: Collection[str]
    naming: Naming = Naming()
    uses: tuple[Span, ...] = ()
    inlining: tuple[FunctionTerm, ...] = ()
    collecting: bool = False
    condition: str = ""
    checking: bool = False

    def inner(self) -> Env:
        """The same place with a scope of its own inside."""
        return replace(self, scope=Scope(self.scope))

    def term(self, expr: syntax.Expr) -> Term:
        """What an expression stands for; POISON when it is wrong."""
        return self.evaluate(self, expr)

    def value(self, expr: syntax.Expr) -> Value:
        """The value of an expression; a diagonal matrix is written out."""
        return value_of(self.term(expr), expr.span)

    def matrix(self, expr: syntax.Expr) -> Value | Diag:
        """The value of an expression; a diagonal matrix stays one."""
        term = self.term(expr)
        return term if isinstance(term, Diag) else value_of(term, expr.span)

    def text(self, expr: syntax.Expr) -> str:
        term = self.term(expr)
        if term is POISON:
            raise Poisoned
        if not isinstance(term, Text):
            raise Misplaced(code.WRONG_USE, "a text in double quotes is needed", described(term), span=expr.span)
        return term.text

    def refuse(self, fault: Fault, span: Span) -> None:
        """Report a fault at a place; inside the library, at the place that uses it."""
        report = self.body.session.report
        inside = fault.span if isinstance(fault, Misplaced) and fault.span is not None else span
        outer = [use for use in self.uses if not use.file.startswith("std/")]
        if self.module.library and outer and inside.file.startswith("std/"):
            plain = Fault(fault.code, fault.message, fault.found, fault.expected, fault.remedy)
            report.fault(plain, outer[-1], (f"in {inside}",))
        else:
            report.fault(fault, span, (f"used at {self.uses[-1]}",) if self.uses else ())


def value_of(term: Term, span: Span) -> Value:
    """The value that a term is; Poisoned for poison, a fault for what is no single value."""
    match term:
        case Value():
            return term
        case Diag():
            return build.value(term)
    if term is POISON:
        raise Poisoned
    raise Misplaced(code.WRONG_USE, f"{described(term)} where a value is needed", remedy=_remedy(term), span=span)


def _remedy(term: Term) -> str | None:
    match described(term).split(" ")[0:2]:
        case ["the", "function"]:
            return "give it its arguments in parentheses"
        case ["the", "cell"]:
            return "use it like `gru(D, H)(x)`: its sizes, then its inputs"
        case ["the", "outputs"]:
            return "name the one you mean: `r.h`"
        case _:
            return None
