"""Diagnostics of reading and parsing: limits (E01xx) and syntax (E02xx)."""

from __future__ import annotations

from lsrl.codes_types import CodeEntry

_CELL = "cell f(D):\n    input x: [D]\n"

SYNTAX_CODES: tuple[CodeEntry, ...] = (
    CodeEntry(
        "E0101",
        "not UTF-8 text",
        "A program is UTF-8 text. The place is that of the first byte that is none.",
        "cell f(D):\n    # \udcff\n    input x: [D]\n    output x\n",
    ),
    CodeEntry(
        "E0102",
        "the text is too large",
        "A program has at most one million characters. Move what it holds as data into a parameter.",
        "#" + " " * 9_999 + ("\n#" + " " * 9_998) * 110 + "\n",
    ),
    CodeEntry(
        "E0103",
        "a control character",
        "Control and invisible characters are refused, since a reader could not see them.",
        "cell f(D):\n    input x: [D]\x00\n    output x\n",
    ),
    CodeEntry("E0104", "the line is too long", "A line has at most ten thousand characters.", "# " + "x" * 10_000 + "\n"),
    CodeEntry("E0105", "a tab", "Blocks are indented with spaces.", "cell f(D):\n\tinput x: [D]\n\toutput x\n"),
    CodeEntry(
        "E0106",
        "nesting is too deep",
        "Brackets nest at most fifty deep, blocks at most twenty. Name the inner parts.",
        _CELL + "    output y = " + "(" * 51 + "x" + ")" * 51 + "\n",
    ),
    CodeEntry(
        "E0107",
        "brackets do not match",
        "Every bracket is closed by its own kind. The place is that of the bracket without a partner.",
        _CELL + "    output y = (x + 1\n",
    ),
    CodeEntry(
        "E0108",
        "the expression is too deep",
        "An expression nests at most one hundred operations. Give names to its parts.",
        _CELL + "    output y = " + "-" * 101 + "x\n",
    ),
    CodeEntry(
        "E0109",
        "the number is too long",
        "A number has at most 400 digits, and an exponent between -400 and 400.",
        _CELL + "    output y = x * 1e999\n",
    ),
    CodeEntry("E0201", "a character without meaning", "The character is no part of the language here.", _CELL + "    output y = x ^ 2\n"),
    CodeEntry(
        "E0202",
        "unexpected word or sign",
        "The statement cannot go on like this. What could have followed is listed where that helps.",
        "cell f(D):\n    input x [D]\n    output x\n",
    ),
    CodeEntry(
        "E0203",
        "a reserved word as a name",
        "Words that begin statements or join expressions cannot be names.",
        _CELL + "    state = 2 * x\n    output y = x\n",
    ),
    CodeEntry(
        "E0204",
        "a declaration without a shape",
        "Every input, param, state and noise has a shape; a scalar's is `[]`. Names without one take the next.",
        "cell f(D):\n    input x: [D], a\n    output x\n",
    ),
    CodeEntry(
        "E0205",
        "a modifier given twice",
        "Kind, `shared` and `pad` stand at most once behind a shape.",
        "cell f(D):\n    input x: [D] shared shared\n    output x\n",
    ),
    CodeEntry(
        "E0206",
        "comparisons chained",
        "A comparison has two sides. Join two comparisons with `and`.",
        _CELL + "    output y = float(0 < x < 1)\n",
    ),
    CodeEntry(
        "E0207",
        "a positional argument behind a named one",
        "Positional arguments come first.",
        _CELL + "    output y = sum(axis=0, x)\n",
    ),
    CodeEntry(
        "E0208",
        "indentation",
        "A block is indented deeper than its header, and all of its statements alike.",
        "cell f(D):\n    input x: [D]\n   output x\n",
    ),
)
