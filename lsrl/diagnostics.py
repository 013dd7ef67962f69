"""Diagnostics for people (text, coloured on a terminal) and for editors (JSON)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from lsrl.ir.span import Diagnostic

JsonField = str | int | None

_BOLD: Final = "\x1b[1m"
_BLUE: Final = "\x1b[1;34m"
_SEVERITY: Final = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}
_OFF: Final = "\x1b[0m"
_HEADLINE = re.compile(r"(?P<label>\w+\[\w+\])(?P<message>: .*)", re.DOTALL)
_GUTTER = re.compile(r"(?P<gutter> *-->| *\d* \| ?| * = \w+:)(?P<rest>.*)", re.DOTALL)
_CARETS = re.compile(r" *\^+")


def render(diagnostics: Iterable[Diagnostic], *, colour: bool = False) -> str:
    """All diagnostics, a blank line between two, and how many there are."""
    reports = tuple(diagnostics)
    texts = ["\n".join(_coloured(d) if colour else d.lines()) for d in reports]
    return "\n\n".join([*texts, summary(reports)]) + "\n" if reports else ""


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`; empty when there is nothing to count."""
    severities = [diagnostic.severity for diagnostic in diagnostics]
    counts = ((severities.count(severity), severity) for severity in _SEVERITY)
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)


def to_json(diagnostics: Iterable[Diagnostic]) -> str:
    """A JSON list with one object per diagnostic; lines and columns count from 1, the end is exclusive."""
    return json.dumps([as_fields(diagnostic) for diagnostic in diagnostics], indent=2, ensure_ascii=False)


def as_fields(diagnostic: Diagnostic) -> dict[str, JsonField | list[str]]:
    """What `to_json` writes for one diagnostic; places are null where there is none."""
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "file": span.file if span else None,
        "line": span.line if span else None,
        "column": span.column if span else None,
        "end_line": span.end_line if span else None,
        "end_column": span.end_column if span else None,
        "found": diagnostic.found,
        "expected": diagnostic.expected,
        "remedy": diagnostic.remedy,
        "notes": list(diagnostic.notes),
    }


def _coloured(diagnostic: Diagnostic) -> Iterator[str]:
    loud = _SEVERITY[diagnostic.severity]
    headline, *lines = diagnostic.lines()
    if found := _HEADLINE.fullmatch(headline):
        yield f"{loud}{found['label']}{_OFF}{_BOLD}{found['message']}{_OFF}"
    for line in lines:
        if found := _GUTTER.fullmatch(line):
            rest = found["rest"]
            rest = f"{loud}{rest}{_OFF}" if _CARETS.fullmatch(rest) else rest
            yield f"{_BLUE}{found['gutter']}{_OFF}{rest}"
        else:
            yield line
