"""What formulas must know of the names in them: where they are read, and how many axes they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.syntax import Binary, Bool, Call, Ellipsis, Expr, Index, Name, Num, Prime, Slice, Str, Unary

# Functions of one value whose result is a number whatever they are given.
REDUCTIONS = frozenset({"dot", "sum", "mean", "norm", "var", "logsumexp", "prod", "trace"})
RANKS = {"outer": 2, "diag": 2, "one_hot": 1, "iota": 1, "eye": 2}
PRODUCTS = {(2, 1): 1, (1, 2): 1, (1, 1): 0, (2, 2): 2}


@dataclass(frozen=True)
class Scope:
    """What is known about the names of a cell.

    Attributes:
        axes: the letters of the position, `t`, or `y` and `x`; empty where nothing has a position.
        arriving: for each state, the position at which the value that arrives was passed on.
        moving: the other names that differ from position to position.
        ranks: how many axes a name has, where that is known.
    """

    axes: tuple[str, ...]
    arriving: Mapping[str, tuple[str, ...]]
    moving: frozenset[str]
    ranks: Mapping[str, int]


def rank(node: Expr, scope: Scope) -> int | None:
    """How many axes an expression has; None where the text alone does not tell."""
    match node:
        case Num() | Bool():
            return 0
        case Name(id=text) | Prime(id=text):
            return 0 if text in ("pi", "inf") else scope.ranks.get(text)
        case Unary(operand=operand):
            return rank(operand, scope)
        case Binary(op="@", left=left, right=right):
            return PRODUCTS.get((rank(left, scope) or 0, rank(right, scope) or 0))
        case Binary(left=left, right=right):
            return _common(rank(left, scope), rank(right, scope))
        case Index(base=base, items=(item,)) if lag(item, scope) is not None:
            return rank(base, scope)
        case Index(base=base, items=items):
            whole, taken = rank(base, scope), sum(not isinstance(item, Slice | Ellipsis) for item in items)
            return whole - taken if whole else None
        case Call():
            return _result(node, scope)
        case _:
            return None


def _common(left: int | None, right: int | None) -> int | None:
    """Of operands element by element: equal, or one is a number."""
    known = [each for each in (left, right) if each]
    return known[0] if known else 0 if left == right == 0 else None


def _result(node: Call, scope: Scope) -> int | None:
    match node:
        case Call(function=Name(id="einsum"), args=(Str(value=spec), *_)):
            result = spec.rpartition("->")[2]
            return len(result.split()) if " " in spec.partition(",")[0] else len(result.strip())
        case Call(function=Name(id=text)) if text in RANKS:
            return RANKS[text]
        case Call(function=Name(id=text), args=args) if text in REDUCTIONS:
            return None if node.keywords or (len(args) > 1 and text != "dot") else 0
        case Call(function=Name(), args=(only,), keywords=()):
            return rank(only, scope)
        case Call(function=Name(id="max" | "min" | "where" | "logaddexp"), args=args):
            ranks = [rank(each, scope) for each in args]
            return max((each for each in ranks if each is not None), default=None) if any(ranks) else None
        case _:
            return None


def lag(item: Expr | Slice | Ellipsis, scope: Scope) -> tuple[str, Expr] | None:
    """The axis and the distance of `t-1`; None for an index into an array."""
    match item:
        case Binary(op="-", left=Name(id=axis), right=distance) if axis in scope.axes:
            return axis, distance
        case _:
            return None
