"""Source text, line by line: indentation, wrapping, and which line of the program a group of lines comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath

from lsrl.backends.wrapping import INDENT, wrapped
from lsrl.ir.cell import Cell
from lsrl.ir.span import Span
from lsrl.ir.value import Value

WIDTH = 110


class Writer:
    """Collects the lines of a Python module, or of a part of it that is `depth` levels inside."""

    def __init__(self, depth: int = 0) -> None:
        self._lines: list[str] = []
        self._depth = depth
        self._noted: set[str] = set()

    @property
    def depth(self) -> int:
        """How many levels inside the next line is."""
        return self._depth

    def line(self, code: str = "", remark: str = "") -> None:
        """One statement, wrapped where it is too long; `remark` becomes a comment at its end."""
        lines = wrapped(code, WIDTH - len(INDENT) * self._depth)
        if remark:
            lines[-1] += f"  # {remark}"
        self._lines += [INDENT * self._depth + each if each else "" for each in lines]

    def lines(self, codes: Iterable[str]) -> None:
        for code in codes:
            self.line(code)

    def append(self, part: Writer) -> None:
        """The lines of a part that was written apart."""
        self._lines += part._lines

    def text(self, text: str) -> None:
        """Lines that stand as they are written, indented to here."""
        self._lines += [INDENT * self._depth + each if each else "" for each in text.strip("\n").split("\n")]

    def blank(self, count: int = 1) -> None:
        """At least `count` empty lines, except at the start of a block."""
        if self._lines and self._lines[-1].endswith(":"):
            return
        have = next((n for n, line in enumerate(reversed(self._lines)) if line), len(self._lines))
        self._lines += [""] * (count - have)

    def docstring(self, text: str) -> None:
        """A docstring; closing quotes stand on their own line when there are several."""
        safe = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        end = '"""' if "\n" not in safe and not safe.endswith('"') else '\n"""'
        self.text(f'"""{safe}{end}')

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """`header` and, indented below it, what is written inside of the `with` statement."""
        outer, self._noted = self._noted, set()
        self.line(header)
        self._depth += 1
        yield
        self._depth -= 1
        self._noted = outer

    def origin(self, note: str) -> None:
        """A comment that names a line of the program, once in a block or after `forget_origins`."""
        if note and note not in self._noted:
            self._noted.add(note)
            self._lines.append(f"{INDENT * self._depth}# {note}")

    def forget_origins(self) -> None:
        """A new section begins: lines of the program are named anew."""
        self._noted = set()

    def __str__(self) -> str:
        return "\n".join(self._lines).rstrip() + "\n"


def origin(span: Span) -> str:
    """`mingru.lsrl:9  z = sigmoid(Wz @ x + bz)`: the line of the program at a place, without its comment."""
    code = span.source.line(span.line)
    if '"' not in code:
        code = code.partition("#")[0]
    name = PurePath(span.source.name)
    return f"{name.name if name.is_absolute() else name}:{span.line}  {code.strip()}".rstrip()


def origin_of(cell: Cell, value: Value, users: Iterable[Value] = ()) -> str:
    """The line of the program that a value comes from, empty where there is none.

    A value of the compiler's own comes from the line of its users, where that is one.
    """
    if value in cell.spans:
        return origin(cell.spans[value][0])
    lines = {origin(cell.spans[user][0]) for user in users if user in cell.spans}
    return lines.pop() if len(lines) == 1 else ""
