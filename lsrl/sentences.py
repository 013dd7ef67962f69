"""Values of a cell as sentences of the language, with the user's names, for people to read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from lsrl.backends.naming import Names
from lsrl.format_expression import expression as document
from lsrl.ir.cell import Cell
from lsrl.ir.value import Value
from lsrl.pretty import layout
from lsrl.spelling import spell
from lsrl.surface import Scope, expression, written
from lsrl.syntax import Expr, Name

WIDTH = 1000  # sentences are not wrapped
_MADE_UP = re.compile(r"v\d+")


class Sentences:
    """Writes the values of one cell."""

    def __init__(self, cell: Cell) -> None:
        self._names = Names(cell)
        self._named = dict(spell(cell, exact=True).named)
        for value, name in self._named.items():
            if isinstance(name, Name) and _MADE_UP.fullmatch(name.id):
                self._named[value] = Name(self._names[value])
        self._scope = Scope(self._named)

    def expression(self, value: Value) -> str:
        """A value's name, or what it is."""
        return _text(expression(value, self._scope))

    def definition(self, value: Value) -> str:
        """What a value is, in terms of the names of others."""
        return _text(written(value, self._scope))

    def statements(self, values: Iterable[Value], wanted: Collection[Value]) -> Iterator[tuple[Value, str]]:
        """`name = definition` for those of the values that have a name, or are wanted and get one."""
        chosen = list(values)
        for value in chosen:
            if value in wanted and value.args:
                self._named.setdefault(value, Name(self._names[value]))
        for value in chosen:
            if value in self._named and value.args:
                yield value, f"{_text(self._named[value])} = {self.definition(value)}"


def _text(node: Expr) -> str:
    return layout(document(node), WIDTH)
