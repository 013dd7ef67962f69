"""Long lines of emitted Python, broken as a formatter would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

INDENT = "    "
_HEAD = re.compile(r"return |yield |\w+=(?!=)|\"[^\"]*\": ")
_OPERATORS = (
    (" if ", " else "),
    (" or ",),
    (" and ",),
    (" == ", " != ", " < ", " <= ", " > ", " >= "),
    (" | ",),
    (" ^ ",),
    (" & ",),
    (" + ", " - "),
    (" * ", " / ", " // ", " % ", " @ "),
)


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
    for position in _outside(code):
        if code.startswith(" = ", position):
            return code[: position + 3]
    match = _HEAD.match(code)
    return match.group() if match else ""


def _terms(expression: str) -> list[str]:
    """The expression cut before its loosest operators outside of brackets."""
    outside = list(_outside(expression))
    for group in _OPERATORS:
        cuts = [p + 1 for p in outside if p and any(expression.startswith(operator, p) for operator in group)]
        if cuts:
            ends = [*cuts, len(expression)]
            return [expression[a:b].strip() for a, b in zip([0, *cuts], ends, strict=True)]
    return [expression]


def _items(inside: str) -> list[str]:
    """The parts between commas outside of brackets."""
    cuts = [p for p in _outside(inside) if inside[p] == ","]
    parts = [inside[a:b].strip(", ") for a, b in zip([0, *cuts], [*cuts, len(inside)], strict=True)]
    return [part for part in parts if part]


def _brackets(code: str) -> list[_Bracket]:
    """The outermost pairs with something inside that are no subscripts."""
    found: list[_Bracket] = []
    start, outside = 0, set(_outside(code))
    for position, letter in enumerate(code):
        if position not in outside:
            continue
        if letter in "([{":
            start = position
        elif letter in ")]}" and position > start + 1:
            subscript = code[start] == "[" and start > 0 and (code[start - 1].isalnum() or code[start - 1] in "_)]")
            found += [] if subscript else [_Bracket(start, position)]
    return found


def _outside(code: str) -> Iterator[int]:
    """Positions outside of brackets and quotes; outermost brackets themselves count as outside."""
    depth, quote = 0, ""
    for position, letter in enumerate(code):
        if quote:
            quote = "" if letter == quote and code[position - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            if depth == 0:
                yield position
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                yield position
        elif depth == 0:
            yield position
