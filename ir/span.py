"""Places in program text, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

WIDEST_EXCERPT = 120


@dataclass(frozen=True, slots=True)
class Source:
    """A program's text; two sources are equal when their names are."""

    name: str
    text: str = field(compare=False, repr=False)

    def line(self, number: int) -> str:
        """Line `number` (from 1) without its newline; empty beyond the end."""
        lines = self.text.split("\n", number)
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text: lines and columns from 1, the end exclusive."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    @property
    def file(self) -> str:
        return self.source.name

    @property
    def text(self) -> str:
        """What stands there; of several lines, what stands on the first."""
        end = self.end_column - 1 if self.end_line == self.line else None
        return self.source.line(self.line)[self.column - 1 : end]

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of the other."""
        return Span(self.source, self.line, self.column, other.end_line, other.end_column)

    def excerpt(self) -> Iterator[str]:
        """The first line of the span between bars, and carets below the span; a long line is cut around them."""
        line = _printable(self.source.line(self.line))
        if not line.strip():
            return
        first = self.column - 1
        end = self.end_column - 1 if self.end_line == self.line else len(line)
        start = max(0, first - WIDEST_EXCERPT // 2) if len(line) > WIDEST_EXCERPT else 0
        shown = line[start : start + WIDEST_EXCERPT]
        left, right = "…" if start else "", "…" if start + len(shown) < len(line) else ""
        carets = max(1, min(end, start + len(shown)) - first)
        number = str(self.line)
        margin = " " * len(number)
        yield f"{margin} |"
        yield f"{number} | {left}{shown}{right}"
        yield f"{margin} | {' ' * (len(left) + first - start)}{'^' * carets}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def _printable(line: str) -> str:
    """A line that is safe to print: what has no picture becomes U+FFFD, one for one, so that columns still count."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to say about a program: code, message, place, and where they help what was found, expected, advised."""

    code: str
    message: str
    span: Span | None
    found: str | None = None
    expected: str | None = None
    remedy: str | None = None
    severity: str = "error"
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """What a person reads: the message, the place, the line with the span underlined, and what there is to add."""
        yield f"{self.severity}[{self.code}]: {self.message}"
        margin = ""
        if self.span:
            margin = " " * len(str(self.span.line))
            yield f"{margin}--> {self.span}"
            yield from self.span.excerpt()
        parts = [("found", self.found), ("expected", self.expected), ("help", self.remedy)]
        parts += [("note", note) for note in self.notes]
        yield from (f"{margin} = {name}: {text}" for name, text in parts if text)


class LsrlError(Exception):
    """A program is at fault; `diagnostics` says where and why."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n\n".join(str(diagnostic) for diagnostic in self.diagnostics)
