"""What a syntax error means: the parser's complaint in the words of the language, with a remedy where one is likely."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lark import Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.indenter import DedentError

from lsrl.ir.span import Diagnostic, Source, Span
from lsrl.lexical import RESERVED

_WORDS = {
    "_NL": "the end of the line",
    "$END": "the end of the file",
    "_INDENT": "an indented block",
    "_DEDENT": "the end of the block",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "LONG_STRING": "a docstring",
    "ROLE": "`input`, `param`, `state` or `noise`",
    "DOMAIN": "`node`, `edge` or `turn`",
    "KIND": "a kind (`float`, `complex`, `int`, `bool`)",
    "COMPARISON": "a comparison",
    "SUM_SIGN": "`+` or `-`",
    "PRODUCT_SIGN": "`*`, `/`, `//`, `%` or `@`",
    "PRIME": "`'`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUAL": "`=`",
    "DOT": "`.`",
    "TILDE": "`~`",
}
_EXPRESSION = {"NAME", "NUMBER", "LPAR", "LSQB", "STRING", "NOT", "REVERSE", "TRUE", "FALSE", "SUM_SIGN"}
_OPERATORS = {"COMPARISON", "PRODUCT_SIGN", "OR", "AND", "PRIME", "LPAR", "LSQB", "DOT", "POWER"}
_CHARACTERS = {
    "^": "a power is written `x ** 2`",
    ";": "one statement to a line",
    "’": "the prime is the straight quote: `h'`",
    "‘": "the prime is the straight quote: `h'`",
    "′": "the prime is the straight quote: `h'`",
    "“": 'strings take straight double quotes: "..."',
    "”": 'strings take straight double quotes: "..."',
    "−": "the minus sign is `-`",
    "×": "a product is `*`, or `@` between matrices",
    "⊙": "the element-wise product is `*`",
    "·": "a product is `*`, a scalar product `dot(x, y)`",
    "&": "write `and`",
    "|": "write `or`; an absolute value is `abs(x)`",
    "!": "write `not`",
    "{": "arrays are written with `[ ]`",
    "?": "a choice is `where(condition, a, b)`",
    '"': "the string is not closed on its line",
    "\\": "inside brackets a line may simply go on",
}
_PYTHON = {
    "if": "a choice between values is `where(condition, a, b)`",
    "else": "a choice between values is `where(condition, a, b)`",
    "for": "the step is applied at every position by itself; to stack layers use `repeat L:`",
    "while": "the step is applied at every position by itself; to stack layers use `repeat L:`",
    "lambda": "name the function: `def f(x) = ...`",
    "class": "a program is a `cell`",
    "return": "a cell gives values out with `output`",
    "in": "there are no loops over elements; values are whole arrays",
    "is": "equality is `==`",
    "None": "there is no missing value",
    "True": "write `true`",
    "False": "write `false`",
}
_ASSIGNMENT = re.compile(r"[-+*/@%]=")


def explain(error: UnexpectedInput | DedentError, source: Source, lines: Sequence[str]) -> Diagnostic:
    """The diagnostic of a parser's error; `lines` is the text that was parsed."""
    match error:
        case UnexpectedToken():
            return _token(error, source, lines)
        case UnexpectedCharacters():
            return _character(error, source)
        case _:
            return _dedent(source, lines)


def _character(error: UnexpectedCharacters, source: Source) -> Diagnostic:
    character = error.char
    span = Span(source, error.line, error.column, error.line, error.column + 1)
    message = f"`{character}` has no meaning here"
    return Diagnostic("E0201", message, span, remedy=_CHARACTERS.get(character))


def _dedent(source: Source, lines: Sequence[str]) -> Diagnostic:
    indents = [0]
    for number, line in enumerate(lines, start=1):
        code = line.split("#")[0]
        if not code.strip():
            continue
        indent = len(line) - len(line.lstrip(" "))
        while indent < indents[-1]:
            indents.pop()
        if indent > indents[-1]:
            if number > 1 and indents[-1] != 0 and not _opens(lines, number):
                break
            indents.append(indent)
    span = Span(source, number, 1, number, indent + 1)
    remedy = "give all statements of a block the same indentation"
    return Diagnostic("E0208", "the indentation matches no open block", span, remedy=remedy)


def _opens(lines: Sequence[str], number: int) -> bool:
    before = [line.split("#")[0].rstrip() for line in lines[: number - 1]]
    return next((line.endswith(":") for line in reversed(before) if line), False)


def _token(error: UnexpectedToken, source: Source, lines: Sequence[str]) -> Diagnostic:
    token = error.token
    expected = set(error.accepts or error.expected)
    span = _span(token, source, lines)
    line = lines[span.line - 1] if span.line <= len(lines) else ""
    remedy = _remedy(token, expected, line)
    first = line.split()[0] if line.split() else ""
    if first in RESERVED and str(token) in ("=", "'"):
        start = line.index(first) + 1
        place = Span(source, span.line, start, span.line, start + len(first))
        return Diagnostic(
            "E0203", f"`{first}` is a reserved word, not a name", place, remedy=f"rename it, for instance `{first}_`"
        )
    if token.type in ("_INDENT", "_DEDENT") or "_INDENT" in expected:
        message = "an indented block is missing" if "_INDENT" in expected else "this line is indented without need"
        return Diagnostic("E0208", message, span, remedy=remedy)
    found = _WORDS.get(token.type, f"`{token}`") if token.type in ("_NL", "$END") else f"`{token}`"
    return Diagnostic("E0202", f"unexpected {found}", span, found=found, expected=_expected(expected), remedy=remedy)


def _span(token: Token, source: Source, lines: Sequence[str]) -> Span:
    line, column = token.line or 1, token.column or 1
    if token.type in ("_NL", "$END", "_DEDENT"):
        line = min(line, len(lines))
        while line > 1 and not lines[line - 1].strip():
            line -= 1
        column = len(lines[line - 1].split("#")[0].rstrip()) + 1
        return Span(source, line, column, line, column + 1)
    if token.type == "_INDENT":
        line = token.end_line or line
        while line < len(lines) and not lines[line - 1].strip():
            line += 1
        text = lines[line - 1]
        return Span(source, line, 1, line, max(2, len(text) - len(text.lstrip()) + 1))
    return Span(source, line, column, line, column + len(str(token).split("\n")[0]))


def _remedy(token: Token, expected: set[str], line: str) -> str | None:
    word = str(token)
    stripped = line.split("#")[0].strip()
    first = stripped.split(" ")[0] if stripped else ""
    if _ASSIGNMENT.search(line):
        return "there is no in-place assignment: write `h' = h + x`"
    for name in (word, first):
        if name in _PYTHON:
            return _PYTHON[name]
    if word == "=" and "==" in line and "COMPARISON" not in expected:
        return "a definition takes a single `=`"
    if word == "=" and "COMPARISON" in expected:
        return "equality is `==`"
    if "COLON" in expected and token.type in ("_NL", "_INDENT"):
        return "end the line with `:`" if first in ("cell", "def", "repeat") else "a shape follows the names: `x: [D]`"
    if "COLON" in expected and first in ("input", "param", "state", "noise"):
        return "a shape follows the names: `x: [D]`, and `x: []` for a scalar"
    if token.type == "PRIME":
        return "a name takes one prime"
    if token.type == "KIND" or word in ("float", "complex", "bool", "int"):
        return "the kind follows the shape: `x: [D] complex`"
    return None


def _expected(names: Iterable[str]) -> str | None:
    """The legal continuations as a person would list them; None when there are too many to help."""
    left = set(names)
    words: list[str] = []
    if left >= {"NAME", "NUMBER", "LPAR"}:
        left -= _EXPRESSION
        words.append("an expression")
    if left >= {"COMPARISON", "PRODUCT_SIGN"}:
        left -= _OPERATORS | {"SUM_SIGN"}
        words.append("an operator")
    words += sorted({_WORDS.get(name, f"`{name.lower()}`") for name in left if not name.startswith("__")})
    return (
        ", ".join(words[:-1]) + " or " + words[-1] if 1 < len(words) <= 7 else (words[0] if len(words) == 1 else None)
    )
