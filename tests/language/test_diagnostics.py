"""Diagnostics as people and editors see them."""

import json
import pickle
import re

import pytest

from lsrl.diagnostics import render, summary, to_json
from lsrl.ir.span import Diagnostic, LsrlError, Source, Span

TEXT = "cell f(D, H):\n    z = sigmoid(Wz @ x)\n" + "    y = " + "x + " * 100 + "!\n    \x1b[2J\n"
SOURCE = Source("cells/f.lsrl", TEXT)
PRODUCT = Diagnostic(
    "E0401",
    "the operands of `@` do not fit",
    Span(SOURCE, 2, 17, 2, 23),
    found="[D, H] @ [D]",
    expected="[H, D] @ [D]",
    remedy="did you mean `Wz.T @ x`?",
    notes=("Wz is declared on line 1",),
)
UNUSED = Diagnostic("W0301", "unused", Span(SOURCE, 1, 11, 1, 12), severity="warning")
NOWHERE = Diagnostic("E0302", "there is no cell", None)

RENDERED = """\
error[E0401]: the operands of `@` do not fit
 --> cells/f.lsrl:2:17
  |
2 |     z = sigmoid(Wz @ x)
  |                 ^^^^^^
  = found: [D, H] @ [D]
  = expected: [H, D] @ [D]
  = help: did you mean `Wz.T @ x`?
  = note: Wz is declared on line 1

warning[W0301]: unused
 --> cells/f.lsrl:1:11
  |
1 | cell f(D, H):
  |           ^

error[E0302]: there is no cell

2 errors, 1 warning
"""


def test_text() -> None:
    assert render([PRODUCT, UNUSED, NOWHERE]) == RENDERED
    assert render([]) == ""


def test_colours_change_nothing_but_colours() -> None:
    coloured = render([PRODUCT, UNUSED, NOWHERE], colour=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == RENDERED
    assert "\x1b[1;31merror[E0401]" in coloured
    assert "\x1b[1;33mwarning[W0301]" in coloured
    for line in coloured.splitlines():
        codes = re.findall(r"\x1b\[([\d;]+)m", line)
        assert codes[-1:] in ([], ["0"])  # no colour runs on into the next line


@pytest.mark.parametrize(
    ("severities", "text"),
    [
        ([], ""),
        (["error"], "1 error"),
        (["warning", "warning"], "2 warnings"),
        (["warning", "error"], "1 error, 1 warning"),
    ],
)
def test_summary(severities: list[str], text: str) -> None:
    assert summary(Diagnostic("E0000", "", None, severity=severity) for severity in severities) == text


def test_a_long_line_is_cut_around_the_place() -> None:
    at = TEXT.split("\n")[2].index("!") + 1
    *_, bar, line, carets = Span(SOURCE, 3, at, 3, at + 1).excerpt()
    assert (bar, line[:5]) == ("  |", "3 | …")
    assert len(line) < 130
    assert line[carets.index("^")] == "!"
    assert carets.count("^") == 1


def test_a_span_of_several_lines_shows_its_first() -> None:
    *_, line, carets = Span(SOURCE, 1, 6, 2, 8).excerpt()
    assert line == "1 | cell f(D, H):"
    assert carets == "  |      ^^^^^^^^"


def test_an_empty_span_has_a_caret() -> None:
    assert list(Span(SOURCE, 1, 14, 1, 14).excerpt())[-1] == "  |              ^"


def test_what_steers_terminals_is_not_printed() -> None:
    assert "\x1b" not in "".join(Span(SOURCE, 4, 5, 4, 6).excerpt())


def test_json() -> None:
    first, _, last = json.loads(to_json([PRODUCT, UNUSED, NOWHERE]))
    assert first == {
        "code": "E0401",
        "severity": "error",
        "message": "the operands of `@` do not fit",
        "file": "cells/f.lsrl",
        "line": 2,
        "column": 17,
        "end_line": 2,
        "end_column": 23,
        "found": "[D, H] @ [D]",
        "expected": "[H, D] @ [D]",
        "remedy": "did you mean `Wz.T @ x`?",
        "notes": ["Wz is declared on line 1"],
    }
    assert (last["file"], last["line"], last["remedy"]) == (None, None, None)


def test_an_error_shows_its_diagnostics() -> None:
    error = LsrlError([PRODUCT, NOWHERE])
    assert str(error) == f"{PRODUCT}\n\n{NOWHERE}"
    assert str(PRODUCT) == RENDERED.split("\n\n")[0]


def test_an_error_survives_pickling() -> None:
    """Worker processes hand their errors over."""
    error = LsrlError([PRODUCT, NOWHERE])
    assert pickle.loads(pickle.dumps(error)).diagnostics == error.diagnostics
