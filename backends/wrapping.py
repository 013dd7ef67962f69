"""Long lines of emitted Python, broken as a formatter would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

INDENT = "    "
_HEAD = re.compile(r"return |yield |\w+=(?!=)|\"[^\"]*\": ")
_OPERATORS = tuple(
    re.compile(" (?=" + "|".join(map(re.escape, group)) + ")")
    for group in (
        ("if ", "else "),
        ("or ",),
        ("and ",),
        ("== ", "!= ", "< ", "<= ", "> ", ">= "),
        ("| ",),
        ("^ ",),
        ("& ",),
        ("+ ", "- "),
        ("* ", "/ ", "// ", "% ", "@ "),
    )
)
_MARKS = re.compile(r"\"(?:\\.|[^\"\\])*\"?|'(?:\\.|[^'\\])*'?|[()\[\]{}]")


def wrapped(code: str, room: int) -> list[str]:
    """The lines of one statement or expression, each of at most `room` characters where its brackets allow.

    A right side with operators outside of brackets is put in brackets and broken before them; otherwise the last
    bracket is opened and its content goes on one line, or on one line for each item.
    """
    if len(code) <= room:
        return [code]
    bracketed = _bracketed(code, room)
    if bracketed:
        return wrapped(bracketed, room)
    head = _head(code)
    parts = _terms(code[len(head) :])
    if len(parts) > 1 and not code.endswith(":"):
        return [head + "(", *_indented(line for part in parts for line in wrapped(part, room - len(INDENT))), ")"]
    brackets = _brackets(code)
    if not brackets:
        return [code]
    pair = next((each for each in reversed(brackets) if each.start < room), brackets[0])
    before, inside, after = code[: pair.start + 1], code[pair.start + 1 : pair.end].strip(), code[pair.end :]
    rest, *more = wrapped(f"_{after[1:]}", room)  # what follows the bracket may be too long as well
    end = [after[0] + rest[1:], *more]
    if len(inside) + len(INDENT) <= room and not inside.endswith(","):
        return [before, INDENT + inside, *end]
    return [before, *_indented(_item_lines(inside, room - len(INDENT))), *end]


def _bracketed(code: str, room: int) -> str:
    """The statement with brackets around several targets that fill the line, or around several results; else empty."""
    head = _head(code)
    targets = head.removesuffix(" = ")
    if targets != head and len(head) + len(INDENT) > room and len(_items(targets)) > 1:
        return f"({targets}) = {code[len(head) :]}"
    results = _items(code.removeprefix("return "))
    return f"return ({', '.join(results)})" if code.startswith("return ") and len(results) > 2 else ""


@dataclass(frozen=True, slots=True)
class _Bracket:
    start: int
    end: int


def _item_lines(inside: str, room: int) -> Iterator[str]:
    items = _items(inside)
    if len(items) == 1 and not inside.endswith(","):
        parts = _terms(inside) if not _head(inside) else [inside]
        yield from (line for part in parts for line in wrapped(part, room))
        return
    for item in items:
        *first, last = wrapped(item, room - 1)
        yield from first
        yield f"{last},"


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (INDENT + line for line in lines)


def _head(code: str) -> str:
    """What stands before the expression: targets of an assignment, `return`, a keyword or a key."""
    position, outside = code.find(" = "), _outside(code)
    while position >= 0:
        if outside[position]:
            return code[: position + 3]
        position = code.find(" = ", position + 1)
    match = _HEAD.match(code)
    return match.group() if match else ""


def _terms(expression: str) -> list[str]:
    """The expression cut before its loosest operators outside of brackets."""
    outside = _outside(expression)
    for operators in _OPERATORS:
        cuts = [p + 1 for match in operators.finditer(expression) if outside[p := match.start()] and p]
        if cuts:
            ends = [*cuts, len(expression)]
            return [expression[a:b].strip() for a, b in zip([0, *cuts], ends, strict=True)]
    return [expression]


def _items(inside: str) -> list[str]:
    """The parts between commas outside of brackets."""
    outside = _outside(inside)
    cuts = [position for position, letter in enumerate(inside) if letter == "," and outside[position]]
    parts = [inside[a:b].strip(", ") for a, b in zip([0, *cuts], [*cuts, len(inside)], strict=True)]
    return [part for part in parts if part]


def _brackets(code: str) -> list[_Bracket]:
    """The outermost pairs with something inside that are no subscripts."""
    found: list[_Bracket] = []
    start, outside = 0, _outside(code)
    for match in _MARKS.finditer(code):
        position, letter = match.start(), match.group()
        if not outside[position]:
            continue
        if letter in "([{":
            start = position
        elif letter in ")]}" and position > start + 1:
            subscript = code[start] == "[" and start > 0 and (code[start - 1].isalnum() or code[start - 1] in "_)]")
            found += [] if subscript else [_Bracket(start, position)]
    return found


@lru_cache(maxsize=64)
def _outside(code: str) -> bytes:
    """For each position whether it is outside of brackets and quotes; outermost brackets themselves are outside."""
    flags = bytearray(len(code))
    depth = before = 0
    for match in _MARKS.finditer(code):
        start, end = match.span()
        if depth == 0:
            flags[before:start] = b"\1" * (start - before)
        before = end
        if match.group() in "([{":
            flags[start] = depth == 0
            depth += 1
        elif match.group() in ")]}":
            depth -= 1
            flags[start] = depth == 0
    if depth == 0:
        flags[before:] = b"\1" * (len(code) - before)
    return bytes(flags)
