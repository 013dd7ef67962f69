"""The text of runtime functions, read from their files without importing what they import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "runtime"
_DOCSTRING = re.compile(r'"""(?s:.*?)"""\n')
_CONTINUES = (" ", ")", "]", "}")
_OWNED = re.compile(r"(?:def|class) (?P<defined>\w+)|(?P<assigned>\w+)(?:: [^=]+)? = |(?P<called>\w+)(?:\.\w+)*\(")


@cache
def runtime(file: str) -> Mapping[str, str]:
    """The definitions of `backends/runtime/FILE.py` by name, in an order in which they can be executed.

    What is done to a definition afterwards belongs to it: `name.defvjp(forward, backward)`, or a function `_` that
    one of its methods decorates (`@name.register_fake`).  Imports and the file's docstring are left out.
    """
    text = _DOCSTRING.sub("", (_DIRECTORY / f"{file}.py").read_text(encoding="utf-8"), count=1)
    found: dict[str, str] = {}
    for lines in _statements(text.splitlines()):
        name = _owner(lines)
        if name:
            before = f"{found.pop(name)}\n\n\n" if name in found else ""
            found[name] = before + "\n".join(lines)
    return found


def _statements(lines: Sequence[str]) -> Iterator[list[str]]:
    """The statements of a file, each with its decorators and the comment right above it.

    They are told by what stands at the margin: reading the syntax of the files would take longer than all else that is
    loaded to compile a program.
    """
    block: list[str] = []
    blank: list[str] = []
    begun = False
    for line in lines:
        if not line:
            blank.append(line)
            continue
        new = not line.startswith(_CONTINUES)
        if new and begun:
            yield block
            block, begun = [], False
        block = [*block, *blank, line] if block and begun else [*(block if not blank else []), line]
        blank = []
        begun = begun or (new and not line.startswith(("#", "@")))
    if begun:
        yield block


def _owner(lines: Sequence[str]) -> str:
    """The name that a statement defines, or belongs to; empty for imports."""
    decorators = [line.removeprefix("@") + "(" for line in lines if line.startswith("@")]
    head = next(line for line in lines if not line.startswith(("#", "@")))
    match = _OWNED.match(head)
    if head.startswith(("import ", "from ")) or match is None:
        return ""
    if match["defined"] == "_" and decorators:
        match = _OWNED.match(decorators[0])
    return next(filter(None, match.groups()), "") if match is not None else ""
