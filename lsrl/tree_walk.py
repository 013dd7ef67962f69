"""Walking over expressions of the syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from lsrl.ir.span import Span
from lsrl.syntax import Expr, Keyword, Name, Prime, Slice


def parts(node: Expr | Slice | Keyword) -> Iterator[Expr | Slice | Keyword]:
    """What an expression is directly made of."""
    for each in fields(node):
        value = getattr(node, each.name)
        for item in value if isinstance(value, tuple) else (value,):
            if hasattr(item, "span") and not isinstance(item, Span):
                yield item


def names_read(node: Expr | Slice | Keyword) -> Iterator[str]:
    """Every name that an expression reads, primed or not, as often as it does."""
    if isinstance(node, Name | Prime):
        yield node.id
    for part in parts(node):
        yield from names_read(part)
