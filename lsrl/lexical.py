"""What can be said about a text before it is parsed: limits, characters, and its comments.

One linear pass, so that a hostile file is refused in milliseconds and the parser never sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lsrl.ir.span import Diagnostic, Source, Span
from lsrl.syntax import Comment

LARGEST_FILE = 1_000_000
LONGEST_LINE = 10_000
DEEPEST_NESTING = 50
DEEPEST_BLOCKS = 20

RESERVED = frozenset(
    (
        "cell", "def", "input", "param", "const", "state", "noise", "output", "repeat", "reverse", "reset",
        "when", "heads", "over", "along", "shared", "import", "from", "as", "node", "edge", "turn", "pad", "and",
        "or", "not", "true", "false", "return",
    )
)
_LEXEME = re.compile(r'"""(?:.|\n)*?"""|"[^"\n]*"|#[^\n]*|[()\[\]]|\n', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u2028-\u202e\ufeff]")
_OPENING = {")": "(", "]": "["}


def decode(data: bytes, name: str) -> tuple[str, tuple[Diagnostic, ...]]:
    """The text of a file, or why it is none."""
    source = Source(name, "")
    if len(data) > LARGEST_FILE:
        found = f"{len(data):,} bytes"
        return "", (_at(source, 1, 1, "E0102", "the file is too large", found, f"at most {LARGEST_FILE:,}"),)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n"), ()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        found = f"byte 0x{data[error.start]:02x}"
        return "", (_at(source, line, column, "E0101", "the file is not UTF-8 text", found),)


def limits(source: Source) -> tuple[Diagnostic, ...]:
    """The first thing, if any, that makes a text unfit for parsing."""
    text = source.text
    if len(text) > LARGEST_FILE:
        return (_at(source, 1, 1, "E0102", "the text is too large", f"{len(text):,}", f"at most {LARGEST_FILE:,}"),)
    control = _CONTROL.search(text)
    if control:
        line, column = _place(text, control.start())
        return (_at(source, line, column, "E0103", "a control character", f"U+{ord(control.group()):04X}"),)
    for number, line_text in enumerate(text.split("\n"), start=1):
        if len(line_text) > LONGEST_LINE:
            found, allowed = f"{len(line_text):,} characters", f"at most {LONGEST_LINE:,}"
            return (_at(source, number, LONGEST_LINE + 1, "E0104", "the line is too long", found, allowed),)
        if "\t" in line_text:
            column = line_text.index("\t") + 1
            return (_at(source, number, column, "E0105", "a tab", remedy="indent with spaces"),)
    return _nesting(source)


def comments(source: Source) -> tuple[Comment, ...]:
    """Every comment, in order."""
    return tuple(_comments(source.text))


def _comments(text: str) -> Iterator[Comment]:
    line, start = 1, 0
    for match in _LEXEME.finditer(text):
        lexeme = match.group()
        if lexeme.startswith("#"):
            alone = not text[start : match.start()].strip()
            yield Comment(lexeme.rstrip(), line, match.start() - start + 1, alone)
        newlines = lexeme.count("\n")
        if newlines:
            line += newlines
            start = match.start() + lexeme.rfind("\n") + 1


def _nesting(source: Source) -> tuple[Diagnostic, ...]:
    """Brackets that do not match or go too deep, and blocks that do."""
    text = source.text
    stack: list[tuple[str, int]] = []
    for match in _LEXEME.finditer(text):
        lexeme, at = match.group(), match.start()
        if lexeme in ("(", "["):
            stack.append((lexeme, at))
            if len(stack) > DEEPEST_NESTING:
                return (_at(source, *_place(text, at), "E0106", f"brackets nest deeper than {DEEPEST_NESTING}"),)
        elif lexeme in _OPENING:
            if not stack or stack[-1][0] != _OPENING[lexeme]:
                message = f"`{lexeme}` closes nothing" if not stack else f"`{lexeme}` where `{stack[-1][0]}` is open"
                return (_at(source, *_place(text, at), "E0107", message),)
            stack.pop()
    if stack:
        return (_at(source, *_place(text, stack[-1][1]), "E0107", f"`{stack[-1][0]}` is never closed"),)
    return _blocks(source)


def _blocks(source: Source) -> tuple[Diagnostic, ...]:
    indents = [0]
    for number, line in enumerate(source.text.split("\n"), start=1):
        stripped = line.lstrip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        indent = len(line) - len(stripped)
        while indent < indents[-1]:
            indents.pop()
        if indent > indents[-1]:
            indents.append(indent)
        if len(indents) > DEEPEST_BLOCKS:
            return (_at(source, number, indent + 1, "E0106", f"blocks nest deeper than {DEEPEST_BLOCKS}"),)
    return ()


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _at(
    source: Source,
    line: int,
    column: int,
    code: str,
    message: str,
    found: str | None = None,
    expected: str | None = None,
    remedy: str | None = None,
) -> Diagnostic:
    span = Span(source, line, column, line, column + 1)
    return Diagnostic(code, message, span, found=found, expected=expected, remedy=remedy)
