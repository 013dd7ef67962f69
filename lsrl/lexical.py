"""What can be said about a text before it is parsed: encoding, size, and the characters in it.

One linear pass, so that a hostile file is refused in milliseconds and the parser never sees it.
"""

from __future__ import annotations

import re

from lsrl.ir.span import Diagnostic, Source, Span

LARGEST_FILE = 1_000_000
LONGEST_LINE = 10_000

RESERVED = frozenset(
    (
        "cell",
        "def",
        "input",
        "param",
        "const",
        "state",
        "noise",
        "output",
        "repeat",
        "reverse",
        "reset",
        "hold",
        "when",
        "heads",
        "over",
        "along",
        "shared",
        "import",
        "from",
        "as",
        "node",
        "edge",
        "turn",
        "pad",
        "and",
        "or",
        "not",
        "true",
        "false",
        "return",
        "in",
        "if",
        "else",
    )
)
# Controls, and characters that are invisible or change the direction of the text around them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def decode(data: bytes, name: str) -> tuple[str, tuple[Diagnostic, ...]]:
    """The text of a file, or why it is none."""
    start = Span(Source(name, ""), 1, 1, 1, 2)
    if len(data) > LARGEST_FILE:
        return "", (_too_large(start, f"more than {LARGEST_FILE:,} bytes"),)
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        source = Source(name, data.decode("utf-8", "replace"))
        before = data[: error.start].decode("utf-8")
        span = _place(source, before, 0, len(before))
        found = f"byte 0x{data[error.start]:02x}"
        return "", (Diagnostic("E0101", "the file is not UTF-8 text", span, found=found),)


def limits(source: Source) -> tuple[Diagnostic, ...]:
    """The first thing, if any, that makes a text unfit for parsing."""
    text = source.text
    if len(text) > LARGEST_FILE:
        return (_too_large(Span(source, 1, 1, 1, 2), f"{len(text):,} characters"),)
    control = _CONTROL.search(text)
    if control:
        found = f"U+{ord(control.group()):04X}"
        return (Diagnostic("E0103", "a control character", _place(source, text, 0, control.start()), found=found),)
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LONGEST_LINE:
            span = Span(source, number, LONGEST_LINE + 1, number, len(line) + 1)
            found, expected = f"{len(line):,} characters", f"at most {LONGEST_LINE:,}"
            return (Diagnostic("E0104", "the line is too long", span, found=found, expected=expected),)
        if "\t" in line:
            column = line.index("\t") + 1
            span = Span(source, number, column, number, column + 1)
            return (Diagnostic("E0105", "a tab", span, remedy="indent and separate with spaces"),)
    return ()


def _too_large(span: Span, found: str) -> Diagnostic:
    return Diagnostic("E0102", "the text is too large", span, found=found, expected=f"at most {LARGEST_FILE:,}")


def _place(source: Source, text: str, start: int, at: int) -> Span:
    line = text.count("\n", start, at) + 1
    column = at - (text.rfind("\n", start, at) + 1) + 1
    return Span(source, line, column, line, column + 1)
