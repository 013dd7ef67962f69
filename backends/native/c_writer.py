"""Lines of C: braces, comments and wrapping of C over the shared writer of text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lsrl.backends.wrapping import INDENT
from lsrl.backends.writer import Writer

WIDTH = 110
_BREAKS = (", ", " + ", " - ", " ? ", " : ", " * ", " / ", " & ", " | ", " = ", " == ", " < ", " > ")


class CWriter(Writer):
    """Collects lines of C."""

    def line(self, code: str = "", remark: str = "") -> None:
        """One statement, wrapped where it is too long; `remark` becomes a comment at its end."""
        lines = _wrapped(code, WIDTH - len(INDENT) * self.depth)
        if remark:
            lines[-1] += f"  // {remark}"
        self.text("\n".join(lines))

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """`header {`, what is written inside of the `with` statement, and `}`."""
        with super().block(f"{header} {{".lstrip()):
            yield
        self.text("}")

    def origin(self, note: str) -> None:
        if note and note not in self._noted:
            self._noted.add(note)
            self.text(f"// {note}")


def _wrapped(code: str, room: int) -> list[str]:
    """The statement in lines that fit, cut behind commas and before operators."""
    lines: list[str] = []
    while len(code) > room:
        cut = max((code.rfind(each, len(INDENT) * 2, room) + (each == ", ") for each in _BREAKS), default=-1)
        if cut <= len(INDENT) * 2:
            break
        lines.append(code[:cut])
        code = 2 * INDENT + code[cut:].lstrip()
    return [*lines, code]
