"""What keeps a program out of a network, with the place it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.value import Value


class NotExact(Refusal):
    """A program that no network of affine maps, ReLUs, products and linear states holds."""


class ArchitectureError(Refusal):
    """An architecture that there is not, or that does not hold the program."""


class MissingLibrary(Refusal, ImportError):
    """A library that is needed and not installed; an ImportError too, for those who catch that."""


@contextmanager
def needed(purpose: str, requirement: str) -> Iterator[None]:
    """Around imports of libraries that an installation may lack; `requirement` is what pip would install.

    Raises:
        MissingLibrary: one of them is not there.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        library = str(missing.name).partition(".")[0]
        message = f"{purpose} needs {library}, which is not installed: pip install '{requirement}'"
        raise MissingLibrary(message) from missing


def at_line(cell: Cell, value: Value, owner: Value | None = None) -> str:
    """The value's name or operation, and its first line; where that is in another file, also what it is part of."""
    name = cell.names.get(value)
    spans = cell.spans.get(value, ())
    outer = cell.spans.get(owner, ()) if owner is not None else ()
    if owner is not None and spans and outer and spans[0].file != outer[-1].file:  # what is inlined ends with its call
        whole = "" if owner is value else f"`{cell.names.get(owner, outer[-1].text)}` at "
        return f"{at_line(cell, value)}, in {whole}{outer[-1].file}:{outer[-1].line}"
    text = f"`{name}`" if name else f"`{spans[0].text}`" if spans else f"`{value.op}`"
    return f"{text} ({spans[0].file}:{spans[0].line})" if spans else text
