"""The C functions that native loops call: only what a text uses, from the files in `c/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "c"
_FILES = ("memory", "whole", "{real}", "plain", "numbers", "product")
"""In the order of definition: a file uses itself, those before it, and `inline` and `half`."""

_INCLUDES = "\n".join(f"#include <{name}.h>" for name in ("math", "stdbool", "stdint", "stdlib"))
_COMMENTS = re.compile(r"//[^\n]*")
_NAMES = re.compile(r"[A-Za-z_]\w*")
_DEFINED = re.compile(
    r"^\s*# *define (?P<macro>\w+)"
    r"|^typedef [^;]*?(?P<type>\w+)(?: __attribute__\(\(.*\)\))?;"
    r"|^(?:\w+ )+\*?(?P<function>\w+)\(",
    re.MULTILINE,
)
_STORED = {
    "float": ("float", "value"),
    "double": ("double", "value"),
    "bfloat16": ("uint16_t", "from_bfloat16(value)"),
    "float16": ("uint16_t", "from_float16(value)"),
}
"""How numbers lie in memory: their type in C, and one of them as a `real`."""


def needed(code: str, real: str, stored: str = "") -> str:
    """What has to stand before `code`: includes, the types it computes in and the functions that it uses.

    Args:
        code: C text.
        real: "float" or "double", the type `real` of all functions.
        stored: how the matrices that `pack` reads lie in memory: "float", "double", "bfloat16" or "float16".
    """
    known = _definitions(real, stored or real)
    wanted = _reached(code, known)
    used = dict.fromkeys(block for name, block in known.items() if name in wanted)
    return "\n\n".join([_INCLUDES, *used]) + "\n"


def matrix_product() -> str:
    """The C function for products of whole sequences with matrices."""
    return (_DIRECTORY / "matrix_product.c").read_text(encoding="utf-8")


def known_names() -> frozenset[str]:
    """Every name that may be defined in front of a text."""
    return frozenset(name for real in ("float", "double") for name in _definitions(real, real))


def _reached(code: str, known: Mapping[str, str]) -> frozenset[str]:
    """The names among `known` that a text uses, and those that their definitions use."""
    wanted: set[str] = set()
    found = set(_names(code) & known.keys())
    while found:
        wanted |= found
        found = {name for each in found for name in _names(known[each]) & known.keys()} - wanted
    return frozenset(wanted)


def _names(code: str) -> frozenset[str]:
    """The identifiers of a C text, its comments aside."""
    return frozenset(_NAMES.findall(_COMMENTS.sub("", code)))


@cache
def _definitions(real: str, stored: str) -> Mapping[str, str]:
    """Every definition by the names that it defines, in an order in which a compiler can read them."""
    of_memory, loaded = _STORED[stored]
    types = [f"typedef {real} real;", f"typedef {of_memory} data;"]
    load = f"// A number of a matrix in memory.\nINLINE real load_data(data value) {{ return {loaded}; }}"
    functions = (block for file in _FILES for block in _blocks(file.format(real=real)))
    blocks = [*types, *_blocks("inline"), *_blocks("half"), load, *functions]
    return {name: block for block in blocks for name in _defined(block)}


def _blocks(file: str) -> list[str]:
    """The definitions of a file, each with the comment above it; blank lines stand between them, and nowhere else."""
    return (_DIRECTORY / f"{file}.c").read_text(encoding="utf-8").strip().split("\n\n")


def _defined(block: str) -> list[str]:
    """The names of the macros, types and functions that a definition defines."""
    return [next(filter(None, match.groups())) for match in _DEFINED.finditer(block)]
