"""Mistakes in programs: each has its code, its place and a remedy, and none hides another."""

from pathlib import Path

import pytest

from lsrl.codes_syntax import SYNTAX_CODES
from lsrl.codes_types import CodeEntry
from lsrl.ir.span import LsrlError
from lsrl.lexical import RESERVED
from lsrl.mistakes import bad_character
from lsrl.parser import grammar, parse, parse_file
from support.places import text_at


def mistakes(text: str) -> list[tuple[str, str]]:
    """Code and underlined text of all diagnostics."""
    with pytest.raises(LsrlError) as caught:
        parse(text)
    return [(d.code, text_at(text, d.span) if d.span else "") for d in caught.value.diagnostics]


CELL = "cell f(D, H):\n    input x: [D]\n    state h: [H] = 0\n"


@pytest.mark.parametrize(
    ("line", "code", "at", "remedy"),
    [
        ("y = x ^ 2", "E0201", "^", "x ** 2"),
        ("h’ = x", "E0201", "’", "`h'`"),
        ("y = x;", "E0201", ";", "one statement"),
        ("α = x", "E0201", "α", "`alpha`"),
        ("y = einsum('k', x)", "E0201", "'", "double quotes"),
        ("y = * x", "E0202", "*", None),
        ("y = ", "E0202", "", None),
        ("y = x +", "E0202", "", None),
        ("over = x", "E0203", "over", "over_"),
        ("y = x + over", "E0203", "over", "over_"),
        ("y = h.input", "E0203", "input", "input_"),
        ("input pad: [D]", "E0203", "pad", "pad_"),
        ("output' = x", "E0203", "output'", "output_"),
        ("input y [D]", "E0204", "[", "y: [...]"),
        ("input y: D", "E0204", "D", "[D]"),
        ("input y", "E0204", "y", "y: []"),
        ("input a: [D], y", "E0204", "y", "y: []"),
        ("input y = 3, z: [D]", "E0204", "y", "y: []"),
        ("state y: [D] along t along t", "E0205", "along t", None),
        ("input y: [D] bool float", "E0205", "float", None),
        ("y = 0 < x <= 1", "E0206", "<=", "a < b and b <= c"),
        ("y = f(a=1, x)", "E0207", "x", "before `a=`"),
        ("y = 2x", "E0212", "x", "2 * x"),
        ("y = f(x h)", "E0212", "h", None),
        ("y = x h", "E0212", "h", None),
        ("input y z: [D]", "E0212", "z", None),
        ('y = "abc', "E0209", '"', 'ends with `"`'),
        ("input y: [D] = 0", "E0210", "0", "comes from outside"),
        ("state y: [D] ~ normal(1)", "E0210", "normal(1)", "= 0"),
        ("noise y: [D] = 0", "E0210", "0", "~ normal(1)"),
        ("return x", "E0211", "return", "output"),
        ("cell g():", "E0211", "cell", "unindented"),
        ("input y: [D] flaot", "E0213", "flaot", "`float`"),
        ("input y: [D] uint8", "E0213", "uint8", None),
        ("input y: [D] bool(2)", "E0213", "bool(2)", "int(V)"),
        ("y = x if a else b", "E0214", "if", "where("),
        ("y = lambda z: z", "E0214", "lambda", "def f(x)"),
        ("for i in x:", "E0214", "for", "repeat L:"),
        ("h += x", "E0215", "+", "h' = h + ..."),
        ("h **= 2", "E0215", "**", "h' = h ** ..."),
        ("h := x", "E0215", ":", "takes `=`"),
        ("h' == x", "E0216", "==", "single `=`"),
        ("reset when x = 1", "E0216", "=", "`==`"),
        ("repeat 3", "E0217", "", "`:`"),
        ("f(x)", "E0218", "(", "name = ..."),
        ("x", "E0218", "", "name = ..."),
        ("h[0] = x", "E0218", "[", "concat"),
        ("output f(x)", "E0218", "(", "output name"),
        ("y = (x + h", "E0107", "(", None),
        ("y = x + h)", "E0107", ")", None),
        ("y = f(x, [h)", "E0107", ")", None),
        ("y = 1e999", "E0109", "1e999", None),
        ("  y = x", "E0208", "      ", None),
    ],
)
def test_mistakes(line: str, code: str, at: str, remedy: str | None) -> None:
    """One mistake gives one diagnostic, at its place, with a remedy; what follows it is read on."""
    text = f"{CELL}    {line}\n    output h'\n"
    with pytest.raises(LsrlError) as caught:
        parse(text)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert found.span is not None
    assert (found.span.line, text_at(text, found.span)) == (4, at)
    if remedy is not None:
        assert remedy in (found.remedy or "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cell f(D)\n    input x [D]\n    y = \n    output y\n", [("E0217", ""), ("E0204", "["), ("E0202", "")]),
        (
            "cell f(D H):\n    input x [D]\n\ncell g():\n    output y = 2x\n",
            [("E0212", "H"), ("E0204", "["), ("E0212", "x")],
        ),
        ("cell f():\n    while x:\n        y = 2x\n    z = 2z\n", [("E0214", "while"), ("E0212", "z")]),
        ("cell f():\n    if x:\n        y = 2x\n    z = 2z\n", [("E0212", "x"), ("E0212", "z")]),
        ("cell f():\n    if x\n        y = 2x\n    z = 2z\n", [("E0217", ""), ("E0212", "x"), ("E0212", "z")]),
        ("cell f():\n    repeat 3\n        y = 2x\n    z = 2z\n", [("E0217", ""), ("E0212", "x"), ("E0212", "z")]),
        ("cell f():\n    y = (2\n    output y\n    z = 2z\n", [("E0107", "("), ("E0212", "z")]),
        ("cell f():\n    y = 1\n  z = 2z\n    w = 3w\n", [("E0208", "z")]),
        ("cell f():\ncell g():\n    output y = 2x\n", [("E0208", ""), ("E0212", "x")]),
        ('cell f():\n    """Doc."""\n\ndef g(x):\n    y = x\n', [("E0208", ""), ("E0208", "")]),
        (
            "def g(x):\n    input y: []\n    return y +\n    z = 1\n",
            [("E0211", "input"), ("E0202", ""), ("E0211", "z")],
        ),
        ("x = 1\ninput y: []\n", [("E0211", "x"), ("E0211", "input")]),
        ("cell f():\n    y = $ ? $\n    output z = 2x\n", [("E0201", "$"), ("E0212", "x")]),
        ('cell f():\n    """Doc.\n    output y\n', [("E0209", '"')]),
        ("cell f():\n", [("E0208", "")]),
        ("  cell f():\n      output y\n", [("E0208", "  ")]),
    ],
)
def test_errors_are_collected(text: str, found: list[tuple[str, str]]) -> None:
    assert mistakes(text) == found


def test_at_most_twenty_errors() -> None:
    assert len(mistakes("cell f():\n" + "    y = 2x\n" * 50)) == 20
    assert len(mistakes("cell f():\n" + "    y = x ?\n" * 50)) == 20


@pytest.mark.parametrize("entry", SYNTAX_CODES, ids=lambda entry: entry.code)
def test_each_code_has_an_example(entry: CodeEntry, tmp_path: Path) -> None:
    path = tmp_path / "example.lsrl"
    path.write_bytes(entry.example.encode("utf-8", "surrogateescape"))
    with pytest.raises(LsrlError) as caught:
        parse_file(path)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [entry.code]


def test_reserved_words_are_those_of_the_grammar() -> None:
    words = {terminal.pattern.value for terminal in grammar().terminals if terminal.pattern.type == "str"}
    assert {word for word in words if word.isalpha()} == RESERVED


@pytest.mark.parametrize("character", ["é", "ß", "ℝ", "λ", "🙂", "日"])
def test_any_letter_is_explained(character: str) -> None:
    code, message, remedy = bad_character(character + "x")
    assert (code, character in message) == ("E0201", True)
    assert (remedy is not None) == character.isalpha()
