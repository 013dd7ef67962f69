"""Reading one line of the text of a cell: its tokens, and the sizes in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lsrl.ir.dims import Dim

T = TypeVar("T")
TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
          |(?P<label>%[\w.']+)
          |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
          |(?P<word>[^\W\d][\w.']*)
          |(?P<sign>\*\*|//|->|[-+*/%()\[\]<>,:=~])
          |(?P<end>$))""",
    re.VERBOSE,
)


class TextError(ValueError):
    """Text that is no cell; says the line and what was expected there."""


@dataclass
class Line:
    """The tokens of one line and how far they have been read."""

    number: int
    tokens: list[tuple[str, str]]
    at: int = 0

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def text(self) -> str:
        return self.tokens[self.at][1]

    def fail(self, expected: str) -> TextError:
        return TextError(f"line {self.number}: expected {expected}, found {self.text or 'the end of the line'!r}")

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1][1]

    def accept(self, *texts: str) -> str | None:
        """The next token if it is one of `texts`, which is then read."""
        return self.next() if self.kind in ("sign", "word") and self.text in texts else None

    def need(self, text: str) -> None:
        if self.accept(text) is None:
            raise self.fail(f"`{text}`")

    def take(self, kind: str) -> str:
        if self.kind != kind:
            raise self.fail(f"a {kind}")
        return self.next()

    def string(self) -> str:
        return str(json.loads(self.take("string")))

    def name(self) -> str:
        return self.string() if self.kind == "string" else self.take("word")

    def integer(self) -> int:
        text = self.take("number")
        if not text.isdigit():
            raise TextError(f"line {self.number}: expected a whole number, found {text}")
        return int(text)

    def listed(self, item: Callable[[Line], T], close: str | None = None) -> tuple[T, ...]:
        """Items separated by commas, up to the sign `close` where one is given (a comma before it is allowed)."""
        items: list[T] = []
        while close is None or self.accept(close) is None:
            items.append(item(self))
            if self.accept(",") is None:
                if close is not None:
                    self.need(close)
                break
        return tuple(items)


def parse_dim(text: str) -> Dim:
    """The dim that prints as `text`; TextError when there is none."""
    line = line_of(1, text)
    dim = size_of(line)
    if line.kind != "end":
        raise line.fail("the end of the size")
    return dim


def line_of(number: int, content: str) -> Line:
    """The tokens of `content`, which stands at line `number`."""
    tokens: list[tuple[str, str]] = []
    place = 0
    while not tokens or tokens[-1][0] != "end":
        match = TOKEN.match(content, place)
        if match is None:
            raise TextError(f"line {number}: `{content[place:].strip()[:20]}` is no part of a cell's text")
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind]))
        place = match.end()
    return Line(number, tokens)


def size_of(line: Line) -> Dim:
    """The size that begins here: a sum of products."""
    total = _product(line)
    while sign := line.accept("+", "-"):
        term = _product(line)
        total = total + term if sign == "+" else total - term
    return total


def _product(line: Line) -> Dim:
    if line.accept("-"):
        return -_product(line)
    total = _power(line)
    while sign := line.accept("*", "//", "/", "%"):
        factor = _power(line)
        match sign:
            case "*":
                total = total * factor
            case "//":
                total = total // factor
            case "/":
                total = total / factor
            case _:
                total = total % factor
    return total


def _power(line: Line) -> Dim:
    if line.accept("("):
        base = size_of(line)
        line.need(")")
    elif line.kind == "number":
        base = Dim.of(line.integer())
    else:
        base = Dim.of(line.take("word"))
    return base ** line.integer() if line.accept("**") else base
