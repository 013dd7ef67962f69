"""Values of a cell as sentences of the language, with the user's names, for people to read.

What `heads` added to the graph is taken back: the axis of heads is not written in products, nor is the repetition of a
number along an axis, so that a step reads as it does for one head.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from lsrl.backends.naming import Names
from lsrl.format_expression import expression as document
from lsrl.ir.cell import Cell
from lsrl.ir.dims import shape_text
from lsrl.ir.infer import dim
from lsrl.ir.pieces import pieces
from lsrl.ir.span import Span
from lsrl.ir.value import Value
from lsrl.pretty import layout
from lsrl.spelling import spell
from lsrl.surface import Scope, declared_value, expression, written
from lsrl.syntax import Call, Expr, Name

WIDTH = 1000  # sentences are not wrapped
_MADE_UP = re.compile(r"v\d+")


class Sentences:
    """Writes the values of one cell."""

    def __init__(self, cell: Cell) -> None:
        self._names = Names(cell)
        self._named = dict(spell(cell, {}, exact=True).named)
        made_up = [v for v, name in self._named.items() if isinstance(name, Name) and _MADE_UP.fullmatch(name.id)]
        for value in made_up:
            self._named[value] = Name(self._names[value])
            if value.op == "expand":  # is not written
                del self._named[value]
        self._scope = Scope(self._named, heads=cell.heads)

    def _text(self, node: Expr) -> str:
        return layout(document(_once(node)), WIDTH)

    def expression(self, value: Value) -> str:
        """A value's name, or what it is."""
        return self._text(expression(value, self._scope))

    def declared(self, value: Value) -> str:
        """An initial value as its declaration has it."""
        return self._text(declared_value(value, self._scope))

    def definition(self, value: Value) -> str:
        """What a value is, in terms of the names of others."""
        return self._text(written(value, self._scope))

    def statements(self, values: Iterable[Value], wanted: Collection[Value]) -> Iterator[tuple[Value, str]]:
        """`name = definition` for those of the values that have a name, or are wanted and get one.

        The pieces that a value is cut into share a statement, `i, f = split(...)`.
        """
        chosen = list(values)
        for value in chosen:
            if value in wanted and value.args:
                self._named.setdefault(value, Name(self._names[value]))
        cut = self._cut(chosen, wanted)
        told: set[Value] = set()
        for value in chosen:
            parts = cut.get(value, (value,))
            if parts[0] not in told and value in self._named and value.args:
                told.update(parts)
                names = ", ".join(self._text(self._named[part]) for part in parts)
                yield value, f"{names} = {self._divided(parts) if len(parts) > 1 else self.definition(value)}"

    def _cut(self, chosen: list[Value], wanted: Collection[Value]) -> dict[Value, tuple[Value, ...]]:
        """For every piece of a value that is nothing else but cut, the pieces; that value then needs no name."""
        users: dict[Value, list[Value]] = {}
        for value in chosen:
            for arg in value.args:
                users.setdefault(arg, []).append(value)
        found: dict[Value, tuple[Value, ...]] = {}
        for whole in chosen:
            parts = pieces(whole, users.get(whole, ())) if whole not in wanted else ()
            if parts and all(part in self._named for part in parts):
                self._named.pop(whole, None)
                found |= dict.fromkeys(parts, parts)
        return found

    def _divided(self, parts: tuple[Value, ...]) -> str:
        """`split(x, 3)`, or with the sizes of the parts where they differ."""
        whole, sizes = self.expression(parts[0].args[0]), [dim(part.attr("size")) for part in parts]
        even = all(size == sizes[0] for size in sizes)
        return f"split({whole}, {len(parts) if even else shape_text(sizes)})"


def _once(node: Any) -> Any:
    """A syntax tree without repetition along new axes, in every part of it."""
    match node:
        case tuple():
            return tuple(map(_once, node))
        case Call(Name("expand"), (operand, *_)) | Call(Name("full"), (_, operand)):
            return _once(operand)
        case _ if is_dataclass(node) and not isinstance(node, Span):
            changed = {each.name: _once(getattr(node, each.name)) for each in fields(node)}
            return replace(node, **changed)  # type: ignore[type-var]
        case _:
            return node
