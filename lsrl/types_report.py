"""What the checker knows about each line of a program: the shapes and kinds of the values that have names there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lsrl.ir.cell import Cell
from lsrl.ir.dims import shape_text
from lsrl.ir.span import Source, Span
from lsrl.ir.value import Value, postorder


@dataclass(frozen=True, slots=True)
class TypedLine:
    """A line of source and the names that get a value on it."""

    line: int
    text: str
    names: tuple[TypedName, ...]


@dataclass(frozen=True, slots=True)
class TypedName:
    """A name with the type of its value; `shape` as it is written."""

    name: str
    shape: str
    kind: str

    def __str__(self) -> str:
        return f"{self.name}: {self.shape}{'' if self.kind == 'float' else f' {self.kind}'}"


def typed_lines(cell: Cell, source: Source) -> tuple[TypedLine, ...]:
    """The lines of `source` on which the cell's values get names, from the top."""
    found: dict[int, dict[TypedName, None]] = {}
    for name, value, span in _named(cell):
        if span.source == source:
            typed = TypedName(name, shape_text(value.shape), value.kind.value)
            found.setdefault(span.line, {}).setdefault(typed)
    return tuple(_line(source.line(line).strip(), line, found[line]) for line in sorted(found))


def text(lines: Iterable[TypedLine]) -> str:
    """A table: line number, source without its comment, names with types."""
    rows = [(str(line.line), _code(line.text), "   ".join(map(str, line.names))) for line in lines]
    number, code = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return "".join(f"{row[0]:>{number}} | {row[1]:<{code}}   {row[2]}\n" for row in rows)


def _named(cell: Cell) -> Iterator[tuple[str, Value, Span]]:
    """Declared arrays, states' next values and named values, with the places they are written at."""
    nexts = {state.next: f"{state.name}'" for state in cell.states if not state.hidden}
    for value in postorder(cell.all_roots()):
        leaf = value.op in ("input", "param", "noise", "state")
        name = str(value.attr("name")) if leaf else cell.names.get(value)
        for span in cell.spans.get(value, ())[:1]:
            if name is not None:
                yield _local(name), value, span
            if value in nexts:
                yield _local(nexts[value]), value, span


def _line(text: str, number: int, names: Iterable[TypedName]) -> TypedLine:
    """A line with its names in the order in which it has them."""

    def place(typed: TypedName) -> int:
        found = re.search(rf"(?<!\w){re.escape(typed.name)}(?!\w)", text)
        return found.start() if found else len(text)

    return TypedLine(number, text, tuple(sorted(names, key=place)))


def _local(name: str) -> str:
    """A name as the cell that defines it writes it: without the scopes of cells that use that cell."""
    return name.rpartition(".")[2]


def _code(line: str) -> str:
    """A line without its comment (a `#` inside a string, which only einsum has, never begins one)."""
    return line.split("#")[0].rstrip()
