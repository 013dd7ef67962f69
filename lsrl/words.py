"""Tokens as a person would speak of them: their names and places."""

from __future__ import annotations

from collections.abc import Iterable

from lark import Token
from lark.tree import Meta

from lsrl.ir.span import Source, Span

_WORDS = {
    "_NL": "end of the line",
    "$END": "end of the file",
    "_INDENT": "indented block",
    "_DEDENT": "end of the block",
    "NAME": "a name",
    "PRIMED": "a name with a prime",
    "NUMBER": "a number",
    "STRING": "a string",
    "LONG_STRING": "a docstring",
    "COMPARISON": "a comparison",
    "SUM_SIGN": "`+` or `-`",
    "PRODUCT_SIGN": "`*`, `/`, `//`, `%` or `@`",
    "POWER": "`**`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUAL": "`=`",
    "DOT": "`.`",
    "TILDE": "`~`",
    "ELLIPSIS": "`...`",
}
# What is better said together: where the first words are all legal, the phrase stands for all words of the second list.
_PHRASES = tuple(
    (frozenset(wanted.split()), frozenset(covered.split()), text)
    for wanted, covered, text in (
        ("CELL DEF", "CELL DEF CONST IMPORT FROM", "a cell or a function"),
        (
            "INPUT OUTPUT",
            "INPUT PARAM STATE NOISE NODE EDGE TURN CONST OUTPUT RESET HOLD REPEAT NAME PRIMED",
            "a statement",
        ),
        (
            "NAME PRIMED NUMBER STRING TRUE FALSE LPAR LSQB",
            "NAME PRIMED NUMBER STRING TRUE FALSE LPAR LSQB SUM_SIGN REVERSE NOT",
            "an expression",
        ),
        (
            "SUM_SIGN PRODUCT_SIGN",
            "SUM_SIGN PRODUCT_SIGN POWER COMPARISON AND OR LPAR LSQB DOT",
            "an operator",
        ),
        ("INPUT PARAM", "INPUT PARAM STATE NOISE", "`input`, `param`, `state` or `noise`"),
    )
)
_MOST_WORDS = 6


def place(source: Source, at: Token | Meta) -> Span:
    """Where a token or a whole branch of the tree stands; the start of the text for an empty one."""
    if isinstance(at, Meta) and at.empty:
        return Span(source, 1, 1, 1, 1)
    line, column = at.line or 1, at.column or 1
    return Span(source, line, column, at.end_line or line, at.end_column or column)


def named(token_type: str) -> str:
    """`NAME` -> `a name`, `HEADS` -> `` `heads` ``."""
    return _WORDS.get(token_type, f"`{token_type.lower()}`")


def phrase(token_types: Iterable[str]) -> str | None:
    """The legal continuations as a person would list them; None where the list is too long to help."""
    left = set(token_types)
    words: list[str] = []
    for wanted, covered, text in _PHRASES:
        if wanted <= left:
            left -= covered
            words.append(text)
    words += sorted(named(token_type) for token_type in left)
    if len(words) > _MOST_WORDS or not words:
        return None
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
