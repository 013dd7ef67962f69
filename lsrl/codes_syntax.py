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
    CodeEntry(
        "E0104",
        "the line is too long",
        "A line has at most ten thousand characters. Inside brackets it can be broken anywhere.",
        "# " + "x" * 10_000 + "\n",
    ),
    CodeEntry("E0105", "a tab", "Blocks are indented with spaces.", "cell f(D):\n\tinput x: [D]\n\toutput x\n"),
    CodeEntry(
        "E0106",
        "nesting is too deep",
        "Brackets nest at most one hundred deep, blocks at most thirty. Name the inner parts.",
        _CELL + "    output y = " + "(" * 101 + "x" + ")" * 101 + "\n",
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
        "An expression nests at most one hundred operations, and a sum has as many terms. Give names to its parts.",
        _CELL + "    output y = " + "-" * 101 + "x\n",
    ),
    CodeEntry(
        "E0109",
        "the number is too long",
        "A number has at most 400 digits, and an exponent between -400 and 400.",
        _CELL + "    output y = x * 1e999\n",
    ),
    CodeEntry(
        "E0110",
        "the program is too long",
        "A program has at most 30,000 words and signs. Move what it holds as data into a parameter.",
        "const table = [\n" + "    1, 1, 1, 1, 1, 1, 1, 1, 1, 1,\n" * 1_600 + "]\n",
    ),
    CodeEntry(
        "E0201",
        "a character without meaning",
        "The character is no part of the language here. Names consist of ASCII letters, digits and `_`.",
        _CELL + "    output y = x ^ 2\n",
    ),
    CodeEntry(
        "E0202",
        "unexpected word or sign",
        "The statement cannot go on like this. What could have followed is listed where that helps.",
        _CELL + "    output y = * x\n",
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
        "Kind, `shared`, `pad` and `along` stand at most once behind a shape.",
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
        "Positional arguments come first. A comparison is written `==`.",
        _CELL + "    output y = sum(axis=0, x)\n",
    ),
    CodeEntry(
        "E0208",
        "indentation",
        "A block is indented deeper than its header, and all of its statements alike; no block is empty.",
        "cell f(D):\n    input x: [D]\n   output x\n",
    ),
    CodeEntry(
        "E0209",
        "a string that does not end",
        'A string ends with `"` on the line where it begins, a docstring with `"""`.',
        _CELL + '    output y = einsum("i, i -> i, x, x)\n',
    ),
    CodeEntry(
        "E0210",
        "an initial value that does not go with the declaration",
        "A state starts at a value (`=`), noise is drawn (`~`), a parameter is given by either, an input by neither.",
        "cell f(D):\n    input x: [D] = 0\n    output x\n",
    ),
    CodeEntry(
        "E0211",
        "a statement out of place",
        "Outside of cells there are only import, const, def and cell. Functions hold assignments and end in `return`.",
        "def f(x):\n    state h: [] = 0\n    return x + h\n\n" + _CELL + "    output x\n",
    ),
    CodeEntry(
        "E0212",
        "an operator is missing",
        "Two values stand side by side. A product is written `2 * x`, arguments are separated by commas.",
        _CELL + "    output y = 2x\n",
    ),
    CodeEntry(
        "E0213",
        "a kind that does not exist",
        "The kinds are float (which is not written), complex, int, int(N) for whole numbers below N, and bool.",
        "cell f(D):\n    input x: [D] flaot\n    output x\n",
    ),
    CodeEntry(
        "E0214",
        "a construct of Python",
        "The word belongs to Python. Values are whole arrays, and the step has no control flow.",
        _CELL + "    while x > 0:\n        y = x\n    output y = x\n",
    ),
    CodeEntry(
        "E0215",
        "an assignment in place",
        "Values do not change. A state's next value is defined as `h' = ...`, any other name can be bound anew.",
        _CELL + "    state h: [D] = 0\n    h += x\n    output h'\n",
    ),
    CodeEntry(
        "E0216",
        "`=` and `==` mixed up",
        "A definition takes a single `=`, a comparison two.",
        _CELL + "    output y = where(x[0] = 0, x, 1)\n",
    ),
    CodeEntry(
        "E0217",
        "a header and its block run together",
        "The header of a cell, a function's block or a repeat ends with `:`, and the block begins on the next line.",
        "cell f(D)\n    input x: [D]\n    output x\n",
    ),
    CodeEntry(
        "E0218",
        "a value without a name",
        "A statement gives a name to a value. Parts of an array cannot be assigned.",
        _CELL + "    y[0] = x\n    output x\n",
    ),
)
