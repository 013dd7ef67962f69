"""The syntax tree: one frozen node per construct of `grammar.lark`, each with its span, which no equality looks at.

Sizes, shapes and values are all expressions here; what an expression may be where is the elaborator's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Union

from lsrl.ir.span import Source, Span

NOWHERE = Span(Source("<nowhere>", ""), 1, 1, 1, 1)


def _span() -> Span:
    """A field for a place: trees built without text (by tests, by generators) need not name one."""
    return field(default=NOWHERE, compare=False, repr=False)


# Expressions


@dataclass(frozen=True, slots=True)
class Num:
    """`2`, `0.5` (exact, a Fraction), `2j`."""

    value: int | Fraction | complex
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Bool:
    """`true`, `false`"""

    value: bool
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Str:
    """`"k v, k -> v"`"""

    value: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Name:
    """`x`; also the constants `pi` and `inf`."""

    id: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Prime:
    """`h'`: the value that state h passes on."""

    id: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x`, `not x`"""

    op: str
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Binary:
    """`x + y` and so on, comparisons, `and`, `or`."""

    op: str
    left: Expr
    right: Expr
    span: Span = _span()
    op_span: Span = _span()


@dataclass(frozen=True, slots=True)
class Keyword:
    """`axis=0` among the arguments of a call."""

    name: str
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    """`f(x, axis=0)`, `gru(D, H)(x)`"""

    function: Expr
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Slice:
    """`a:b:c` inside an index; each part may be missing."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Ellipsis:
    """`...` inside an index."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Index:
    """`x[0]`, `x[:, a:b]`, `x[t-1]`"""

    base: Expr
    items: tuple[Expr | Slice | Ellipsis, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Attribute:
    """`r.h`, `W.T`"""

    base: Expr
    name: str
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True, slots=True)
class Array:
    """`[1, 2]`, `[[1, 0], [0, 1]]`"""

    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Reverse:
    """`reverse gru(D, H)(x)`, or `reverse along y f(D)(x)` on a grid; without `axes` all are meant."""

    operand: Expr
    axes: tuple[str, ...] = ()
    span: Span = _span()
    along: Span = _span()


Expr = Union[Num, Bool, Str, Name, Prime, Unary, Binary, Call, Index, Attribute, Array, Reverse]  # noqa: UP007


# Declarations


@dataclass(frozen=True, slots=True)
class Type:
    """`[K, V] int(8) shared pad 0`: shape, kind and modifiers of a declaration.

    `bound` is the argument of `int(...)`; `along` the axes a state travels; `pad` the value before the start.
    """

    shape: tuple[Expr, ...]
    kind: str = "float"
    bound: Expr | None = None
    shared: bool = False
    pad: Expr | None = None
    along: tuple[Name, ...] = ()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Group:
    """Names declared together: `q, k: [K] = 0` or `Wz, Wh: [H, D] ~ normal(1)`; `init` after `=`, `draw` after `~`."""

    names: tuple[Name, ...]
    type: Type
    init: Expr | None = None
    draw: Expr | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Declaration:
    """`input ...`, `param ...`, `state ...`, `noise ...`: `role` says which, `domain` is node, edge, turn or empty."""

    role: str
    groups: tuple[Group, ...]
    domain: str = ""
    span: Span = _span()


# Statements


@dataclass(frozen=True, slots=True)
class Target:
    """`h'` or `z` on the left of an assignment."""

    id: str
    primed: bool
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Assign:
    """`z = expr`, `h' = expr`, `a, b = split(x, 2)`"""

    targets: tuple[Target, ...]
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class OutputItem:
    """`h'`, `y`, or `o = q @ S'`; `value` is missing in the first two forms."""

    target: Target
    value: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Output:
    """`output h', o = expr`"""

    items: tuple[OutputItem, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Reset:
    """`reset when r`"""

    condition: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Hold:
    """`hold when p`"""

    condition: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Const:
    """`const N = 8`, `const T: [2, 2] int = [[0, 1], [1, 0]]`; in a cell or at the top level."""

    name: Name
    type: Type | None
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Repeat:
    """`repeat i in L shared as layers:` and its body; `counter` is what the turn's number is called."""

    count: Expr
    shared: bool
    name: str | None
    body: tuple[Statement, ...]
    counter: Name | None = None
    span: Span = _span()
    header: Span = _span()


@dataclass(frozen=True, slots=True)
class Otherwise:
    """`else:` and its body."""

    body: tuple[Statement, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Choice:
    """`if L > 1:` and its body, which stands where the condition on sizes holds."""

    condition: Expr
    body: tuple[Statement, ...]
    otherwise: Otherwise | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Return:
    """`return a, b`, the last line of a function's block."""

    values: tuple[Expr, ...]
    span: Span = _span()


Statement = Union[Declaration, Assign, Output, Reset, Hold, Const, Repeat, Choice]  # noqa: UP007


# Top level


@dataclass(frozen=True, slots=True)
class Parameter:
    """A size of a cell (`D=64`) or an argument of a function (`k=1000`)."""

    name: str
    default: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Function:
    """`def glu(a, b) = a * sigmoid(b)`, or with a block that ends in `return`."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Assign, ...]
    result: Return
    inline: bool
    doc: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Cell:
    """`cell gru(D, H) heads h in N over y, x:`; `axes` is empty for time, `counter` names the number of the head."""

    name: Name
    sizes: tuple[Parameter, ...]
    heads: Expr | None
    axes: tuple[Name, ...]
    doc: str | None
    body: tuple[Statement, ...]
    counter: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Import:
    """`import std.logic as l`: `path` dotted."""

    path: tuple[str, ...]
    alias: str | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class ImportedName:
    """`step as s` in a `from` import."""

    name: str
    alias: str | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class FromImport:
    """`from std.logic import step, ifelse`"""

    path: tuple[str, ...]
    names: tuple[ImportedName, ...]
    span: Span = _span()
    path_span: Span = _span()


Item = Union[Import, FromImport, Const, Function, Cell]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment with its place; `alone` when nothing else stands on the line."""

    text: str
    line: int
    column: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Program:
    """A file: docstring, items, and the comments for the formatter."""

    doc: str | None
    items: tuple[Item, ...]
    source: Source = field(default=NOWHERE.source, compare=False, repr=False)
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(item for item in self.items if isinstance(item, Cell))
