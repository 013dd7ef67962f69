"""The names that emitted text mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from symtable import SymbolTable, symtable

# Strings and comments are matched, so that they are passed over; a name behind a dot is an attribute.
_WORDS = re.compile(
    r"(?:\b[rRbBfFuU]{1,2})?"
    r"(?:\"\"\"(?s:\\.|[^\\])*?\"\"\"|'''(?s:\\.|[^\\])*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|#[^\n]*"
    r"|(?<![\w.])(?P<name>[^\W\d]\w*)"
)


@lru_cache(maxsize=1024)  # the functions that modules share are asked about again and again
def identifiers(text: str) -> frozenset[str]:
    """The names that Python text mentions, attributes, comments and strings aside."""
    return frozenset(found for match in _WORDS.finditer(text) if (found := match["name"]) is not None)


@lru_cache(maxsize=4096)
def free_names(text: str) -> frozenset[str]:
    """The names that a piece of a module takes from around its functions; what is local in them may be named alike."""
    return frozenset(_read_from_around(symtable(text, "module", "exec")))


def _read_from_around(scope: SymbolTable) -> Iterator[str]:
    outermost = scope.get_type() == "module"
    for symbol in scope.get_symbols():
        if symbol.is_referenced() and (outermost or symbol.is_global()):
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from _read_from_around(inner)


def reached(text: str, known: Mapping[str, str]) -> list[str]:
    """The definitions among `known` that the text of a module uses, and those that these use in turn."""
    wanted: set[str] = set()
    found = set(free_names(text) & known.keys())
    while found:
        wanted |= found
        found = {name for each in found for name in free_names(known[each].strip()) & known.keys()} - wanted
    return [known[name].strip() for name in known if name in wanted]
