"""Laying out text in a given width (Wadler, "A prettier printer", 2003, in its strict form).

A document is a string, a tuple of documents one after the other, or one of the nodes below.  A group is written on
one line when it fits there; otherwise each `Line` directly inside of it becomes a line end.
"""

from __future__ import annotations

from dataclasses import dataclass

STEP = 4


@dataclass(frozen=True, slots=True)
class Line:
    """`flat` while its group fits on one line, a line end otherwise."""

    flat: str = " "


@dataclass(frozen=True, slots=True)
class Broken:
    """Text that is only there when its group does not fit on one line."""

    text: str


@dataclass(frozen=True, slots=True)
class Nest:
    """Line ends inside are indented by one more step."""

    content: Document


@dataclass(frozen=True, slots=True)
class Group:
    """Written on one line if possible."""

    content: Document


Document = str | Line | Broken | Nest | Group | tuple["Document", ...]
# What is still to be written: indentation, whether flat, document.
Pending = tuple[int, bool, Document]


def join(separator: Document, documents: list[Document]) -> Document:
    """The documents with the separator between any two."""
    parts: list[Document] = []
    for document in documents:
        parts += [separator, document] if parts else [document]
    return tuple(parts)


def brackets(opening: str, content: Document, closing: str) -> Document:
    """The content on its own indented lines when it does not fit between the brackets."""
    return Group((opening, Nest((Line(""), content)), Line(""), closing))


def layout(document: Document, width: int, indent: int = 0) -> str:
    """The text of a document that starts in column `indent`; only the first line is left unindented."""
    written: list[str] = []
    column = indent
    stack: list[Pending] = [(indent, False, document)]
    while stack:
        indentation, flat, current = stack.pop()
        match current:
            case str():
                written.append(current)
                column += len(current)
            case Line() if not flat:
                written.append("\n" + " " * indentation)
                column = indentation
            case Group(content=content):
                fits = _fits([(indentation, True, content)], stack, width - column)
                stack.append((indentation, flat or fits, content))
            case _:
                stack.extend(_unfolded(indentation, flat, current))
    return "".join(written)


def _unfolded(indentation: int, flat: bool, document: Document) -> list[Pending]:
    """The parts of a document that is no mere text, the first one last."""
    match document:
        case Line(flat=text):
            return [(indentation, flat, text)]
        case Broken(text=text):
            return [] if flat else [(indentation, flat, text)]
        case Nest(content=content):
            return [(indentation + STEP, flat, content)]
        case Group(content=content):
            return [(indentation, flat, content)]
        case str():
            return [(indentation, flat, document)]
        case parts:
            return [(indentation, flat, part) for part in reversed(parts)]


def _fits(first: list[Pending], rest: list[Pending], room: int) -> bool:
    """Whether the text up to the next line end that must or may follow stays within the room."""
    waiting = len(rest)
    while room >= 0:
        if not first:
            if waiting == 0:
                return True
            waiting -= 1
            first.append(rest[waiting])
        indentation, flat, current = first.pop()
        match current:
            case str():
                room -= len(current)
            case Line() if not flat:
                return True
            case _:
                first.extend(_unfolded(indentation, flat, current))
    return False
