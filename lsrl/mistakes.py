"""What a syntax error means: where the parser stopped, in the words of the language, with a remedy where one is likely.

Each rule looks at the line and says what the author probably meant, or passes; the first that speaks is believed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from lark import Token

from lsrl.ir.span import Diagnostic, Source
from lsrl.lexical import RESERVED
from lsrl.words import named, phrase, place

_CHARACTERS = {
    "^": "a power is written `x ** 2`",
    ";": "write one statement to a line",
    "’": "the prime is the straight quote: `h'`",
    "‘": "the prime is the straight quote: `h'`",
    "′": "the prime is the straight quote: `h'`",
    "´": "the prime is the straight quote: `h'`",
    "`": "the prime is the straight quote: `h'`",
    "“": 'strings take straight double quotes: "..."',
    "”": 'strings take straight double quotes: "..."',
    "'": 'a prime directly follows its name, as in `h\'`; strings take double quotes: "..."',
    "−": "the minus sign is `-`",
    "–": "the minus sign is `-`",
    "×": "a product is `*`, or `@` between matrices",
    "⊙": "the element-wise product is `*`",
    "∘": "the element-wise product is `*`",
    "⊗": "the outer product is `outer(a, b)`",
    "·": "a product is `*`, a scalar product `dot(x, y)`",
    "≤": "write `<=`",
    "≥": "write `>=`",
    "≠": "write `!=`",
    "&": "write `and`",
    "|": "write `or`; an absolute value is `abs(x)`",
    "!": "write `not`",
    "{": "arrays are written with `[ ]`",
    "}": "arrays are written with `[ ]`",
    "?": "a choice is `where(condition, a, b)`",
    "\\": "inside brackets a line may simply go on",
    "$": "names consist of letters, digits and `_`",
}
_PYTHON = {
    "if": "a choice between values is `where(condition, a, b)`",
    "else": "a choice between values is `where(condition, a, b)`",
    "elif": "a choice between values is `where(condition, a, b)`",
    "for": "the step is applied at every position by itself; to stack layers use `repeat L:` or `repeat i in L:`",
    "while": "the step is applied at every position by itself; to stack layers use `repeat L:`",
    "lambda": "name the function: `def f(x) = ...`",
    "class": "a program is a `cell`",
    "in": "there are no loops over elements; values are whole arrays",
    "is": "equality is `==`",
    "let": "a definition needs no word before it: `name = ...`",
}
_ENDS_OPERAND = frozenset(("NAME", "PRIMED", "NUMBER", "STRING", "RPAR", "RSQB", "TRUE", "FALSE"))
_BEGINS_OPERAND = frozenset(("NAME", "PRIMED", "NUMBER", "STRING"))
_SIGNS = frozenset(("SUM_SIGN", "PRODUCT_SIGN", "POWER"))
_ROLES = frozenset(("INPUT", "PARAM", "STATE", "NOISE", "NODE", "EDGE", "TURN"))


@dataclass(frozen=True)
class Stuck:
    """The tokens of a line, the one at which the parser stopped, and what it would have taken there."""

    source: Source
    line: tuple[Token, ...]
    at: int
    accepts: frozenset[str]

    @property
    def token(self) -> Token:
        return self.line[self.at]

    @property
    def first(self) -> Token:
        return self.line[0]

    def near(self, offset: int) -> Token | None:
        """The token so many places behind (or before) the one at fault, if there is one."""
        place = self.at + offset
        return self.line[place] if 0 <= place < len(self.line) else None

    def say(self, code: str, message: str, remedy: str | None = None, *, at: Token | None = None) -> Diagnostic:
        return Diagnostic(code, message, place(self.source, self.token if at is None else at), remedy=remedy)


def renamed(word: str) -> str:
    return f"rename it, for instance `{word}_`"


def bad_character(rest: str) -> tuple[str, str, str | None]:
    """Code, message and remedy for the character that `rest` begins with and that begins no word."""
    character = rest[0]
    if rest.startswith('"""'):
        return "E0209", "the docstring is never closed", 'a docstring ends with `"""`'
    if character == '"':
        return "E0209", "the string is not closed on its line", 'a string ends with `"`'
    remedy = _CHARACTERS.get(character)
    if remedy is None and character.isalpha():
        letter = unicodedata.name(character, "").split(" WITH ")[0].split()
        example = f", for instance `{letter[-1].lower()}`" if letter and letter[0] == "GREEK" else ""
        remedy = f"names are written with the letters A to Z and a to z{example}"
    return "E0201", f"`{character}` has no meaning here", remedy


def explain(stuck: Stuck) -> Diagnostic:
    """The diagnostic for a line that cannot go on."""
    for rule in _RULES:
        diagnostic = rule(stuck)
        if diagnostic is not None:
            return diagnostic
    found = named(stuck.token.type) if stuck.token.type == "_NL" else f"`{stuck.token}`"
    span = place(stuck.source, stuck.token)
    return Diagnostic("E0202", f"unexpected {found}", span, expected=phrase(stuck.accepts))


def _reserved(stuck: Stuck) -> Diagnostic | None:
    """`state = 2 * x`, `input over: []`"""
    token, first = stuck.token, stuck.first
    if first in RESERVED and (stuck.line[1].type == "EQUAL" or (stuck.at == 1 and token.type == "COMMA")):
        return stuck.say("E0203", f"`{first}` is a reserved word, not a name", renamed(first), at=first)
    if stuck.at > 0 and token in RESERVED and "NAME" in stuck.accepts:
        return stuck.say("E0203", f"`{token}` is a reserved word, not a name", renamed(token))
    return None


def _misplaced(stuck: Stuck) -> Diagnostic | None:
    """A statement where no statement of its kind may stand."""
    token = stuck.token
    if stuck.at > 0 or token in _PYTHON:
        return None
    if "CELL" in stuck.accepts:
        remedy = "indent it if it belongs to the cell above"
        if token.type == "NAME":
            remedy += "; a constant is `const name = ...`"
        return stuck.say("E0211", "outside of cells there are only import, const, def and cell", remedy)
    if token.type in ("CELL", "DEF", "IMPORT", "FROM"):
        return stuck.say("E0211", f"`{token}` stands at the top level of a file", "move it before the cell, unindented")
    if token.type == "RETURN" and "OUTPUT" in stuck.accepts:
        return stuck.say("E0211", "only functions return", "a cell gives values out with `output`")
    if stuck.accepts == {"_DEDENT"}:
        return stuck.say("E0211", "nothing may follow `return`", "make `return` the last line of the function")
    if "RETURN" in stuck.accepts:
        return stuck.say("E0211", "a function has assignments and a `return` only", "states and parameters need a cell")
    return None


def _python(stuck: Stuck) -> Diagnostic | None:
    """`while x > 0:`, `y = lambda x: x`, `a if b else c`"""
    for token in (stuck.first, stuck.near(-1), stuck.token):
        if token is not None and token.type in ("NAME", "IN") and token in _PYTHON:
            return stuck.say("E0214", f"there is no `{token}`", _PYTHON[token], at=token)
    if stuck.at > 0 and stuck.token.type in ("IF", "ELSE"):
        return stuck.say("E0214", f"there is no `{stuck.token}` inside of an expression", _PYTHON[stuck.token])
    return None


def _in_place(stuck: Stuck) -> Diagnostic | None:
    """`h += x`, `h := x`"""
    after = stuck.near(1)
    if after is None or after.type != "EQUAL" or after.column != stuck.token.end_column or "EQUAL" not in stuck.accepts:
        return None
    name, sign = stuck.first, stuck.token
    if sign.type == "COLON":
        return stuck.say("E0215", "there is no `:=`", "a definition takes `=`")
    if sign.type in _SIGNS:
        return stuck.say("E0215", f"there is no `{sign}=`", f"write `{name}' = {name} {sign} ...` for a state")
    return None


def _equals(stuck: Stuck) -> Diagnostic | None:
    """`y == 3`, `where(a = b, ...)`"""
    if stuck.token == "==" and "EQUAL" in stuck.accepts:
        return stuck.say("E0216", "`==` compares", "a definition takes a single `=`")
    if stuck.token.type == "EQUAL" and stuck.at > 1 and {"COMPARISON", "SUM_SIGN"} & stuck.accepts:
        return stuck.say("E0216", "`=` defines", "equality is `==`")
    return None


def _chained(stuck: Stuck) -> Diagnostic | None:
    """`0 < x < 1`"""
    before = [token for token in stuck.line[: stuck.at] if token.type == "COMPARISON"]
    if stuck.token.type == "COMPARISON" and before and "AND" in stuck.accepts:
        return stuck.say("E0206", "comparisons do not chain", f"write `a {before[-1]} b and b {stuck.token} c`")
    return None


def _colon(stuck: Stuck) -> Diagnostic | None:
    """A header without its colon, or with the block on the same line."""
    token, before = stuck.token, stuck.near(-1)
    if stuck.first.type in ("CELL", "DEF", "REPEAT", "IF", "ELSE"):
        if token.type == "_NL" and "COLON" in stuck.accepts:
            return stuck.say("E0217", "a `:` is missing", "end the line with `:`, which begins the block")
        if before is not None and before.type == "COLON" and stuck.accepts == {"_NL"}:
            remedy = "a function on one line is `def f(x) = ...`" if stuck.first.type == "DEF" else None
            return stuck.say("E0217", "a block begins on the next line", remedy)
    return None


def _shape(stuck: Stuck) -> Diagnostic | None:
    """`input x [D]`, `input x: D`"""
    token, before = stuck.token, stuck.near(-1)
    if stuck.first.type not in _ROLES or before is None:
        return None
    if token.type == "LSQB" and before.type == "NAME" and "COLON" in stuck.accepts:
        return stuck.say("E0204", "a `:` is missing before the shape", f"write `{before}: [...]`")
    if before.type == "COLON" and stuck.accepts == {"LSQB"}:
        shape = f"[{token}]" if token.type in ("NAME", "NUMBER") else "[]"
        return stuck.say("E0204", "a shape is written in brackets", f"write `{shape}`; a scalar is `[]`")
    return None


def _unassigned(stuck: Stuck) -> Diagnostic | None:
    """`f(x)`, `h[0] = 1` and `x` as statements, `output f(x)`"""
    if stuck.first.type not in ("NAME", "PRIMED", "OUTPUT") or not stuck.accepts <= {"EQUAL", "COMMA", "_NL"}:
        return None
    assigned = any(token.type == "EQUAL" for token in stuck.line[stuck.at :])
    if stuck.token.type == "LSQB" and assigned:
        return stuck.say("E0218", "a part of an array cannot be assigned", "build the whole with `concat` or `where`")
    if stuck.token.type in ("_NL", "LPAR", "LSQB", "DOT") or stuck.token.type in _SIGNS:
        remedy = "write `output name = ...`" if stuck.first.type == "OUTPUT" else "write `name = ...`"
        return stuck.say("E0218", "a value without a name", remedy)
    return None


def _adjacent(stuck: Stuck) -> Diagnostic | None:
    """`f(a b)`, `2x`, `input x y: [D]`"""
    token, before = stuck.token, stuck.near(-1)
    if before is None or before.type not in _ENDS_OPERAND or token.type not in _BEGINS_OPERAND:
        return None
    if before.type == "NUMBER" and "PRODUCT_SIGN" in stuck.accepts:
        return stuck.say("E0212", "an operator is missing", f"a product is written `{before} * {token}`")
    if "COMMA" in stuck.accepts:
        return stuck.say("E0212", f"a `,` or an operator is missing before `{token}`")
    if "PRODUCT_SIGN" in stuck.accepts:
        return stuck.say("E0212", f"an operator is missing before `{token}`")
    return None


_RULES: tuple[Callable[[Stuck], Diagnostic | None], ...] = (
    _reserved,
    _python,
    _misplaced,
    _in_place,
    _equals,
    _chained,
    _colon,
    _shape,
    _unassigned,
    _adjacent,
)
