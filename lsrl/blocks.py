"""Lines and blocks: line ends, indentation and brackets become the tokens that the grammar speaks of.

An open bracket joins lines.  One that is never closed would swallow the rest of the file, so a line that is not
indented like a continuation and begins with a word no expression contains ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lark import Token

from lsrl.ir.span import Diagnostic, Source
from lsrl.mistakes import bad_character
from lsrl.syntax import Comment
from lsrl.words import place

MOST_ERRORS = 20
MOST_TOKENS = 30_000
DEEPEST_BRACKETS = 100
DEEPEST_BLOCKS = 30

_OPENING = {"RPAR": "LPAR", "RSQB": "LSQB"}
_BEGINS_STATEMENT = frozenset(
    "CELL DEF IMPORT FROM CONST NODE EDGE TURN INPUT PARAM STATE NOISE OUTPUT RESET HOLD REPEAT RETURN".split()  # noqa: SIM905
)


@dataclass
class Lexed:
    """The tokens of a text as the grammar wants them; those of the lines in `faulty` are not to be trusted."""

    tokens: list[Token] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    faulty: set[int] = field(default_factory=set)


class _TooMuch(Exception):
    """A limit is passed, or the rest makes no sense."""


def arrange(tokens: Iterable[Token], source: Source) -> Lexed:
    """Sorts out the comments and marks lines and blocks.

    Problems are collected; behind one that passes a limit nothing is read, and there are no tokens at all.
    """
    arranger = _Arranger(source)
    try:
        for token in tokens:
            arranger.take(token)
        arranger.finish()
    except _TooMuch:
        arranger.lexed.tokens.clear()
    return arranger.lexed


class _Arranger:
    def __init__(self, source: Source) -> None:
        self.lexed = Lexed()
        self._source = source
        self._indents = [1]
        self._open: list[Token] = []
        # The last token of the line at hand, and the last one of all.
        self._line: Token | None = None
        self._last = Token("_NL", "", 0, 1, 1, 1, 1)

    def take(self, token: Token) -> None:
        match token.type:
            case "NEWLINE":
                if self._line is not None and not self._open:
                    self._end_line()
            case "COMMENT":
                alone = self._last.end_line != token.line or not self.lexed.tokens
                self.lexed.comments.append(Comment(token.rstrip(), token.line or 1, token.column or 1, alone))
            case "BAD":
                self._bad(token)
            case _:
                self._word(token)

    def finish(self) -> None:
        """Closes the last line and all blocks."""
        if self._open:
            self._unclosed()
        if self._line is not None:
            self._end_line()
        for _ in self._indents[1:]:
            self._mark("_DEDENT")

    def _word(self, token: Token) -> None:
        if len(self.lexed.tokens) >= MOST_TOKENS:
            self._report("E0110", "the program is too long", token, expected=f"at most {MOST_TOKENS:,} words and signs")
            raise _TooMuch
        begins_physical_line = self._last.end_line != token.line
        column = token.column or 1
        if self._open and begins_physical_line and token.type in _BEGINS_STATEMENT and column <= self._indents[-1]:
            self._unclosed()
            self._end_line()
        if self._line is None:
            self._indent(token, column)
        self._line = self._last = token
        if self._brackets(token):
            self.lexed.tokens.append(token)

    def _indent(self, token: Token, column: int) -> None:
        if column > self._indents[-1]:
            self._indents.append(column)
            self.lexed.tokens.append(Token("_INDENT", "", 0, token.line, 1, token.line, column))
            if len(self._indents) > DEEPEST_BLOCKS + 1:
                self._report("E0106", f"blocks nest deeper than {DEEPEST_BLOCKS}", token)
                raise _TooMuch
        while column < self._indents[-1]:
            if column > self._indents[-2]:
                remedy = "give all statements of a block the same indentation"
                self._report("E0208", "the indentation matches no open block", token, remedy=remedy)
                self._indents[-1] = column
                break
            self._indents.pop()
            self._mark("_DEDENT")

    def _brackets(self, token: Token) -> bool:
        """Follows the brackets; False for one that closes nothing."""
        if token.type in ("LPAR", "LSQB"):
            self._open.append(token)
            if len(self._open) > DEEPEST_BRACKETS:
                self._report("E0106", f"brackets nest deeper than {DEEPEST_BRACKETS}", token)
                raise _TooMuch
        elif token.type in _OPENING:
            if not self._open:
                self._report("E0107", f"`{token}` closes nothing", token)
                return False
            if self._open[-1].type != _OPENING[token.type]:
                self._report("E0107", f"`{token}` where `{self._open[-1]}` is open", token)
                while len(self._open) > 1 and self._open[-1].type != _OPENING[token.type]:
                    self._open.pop()
            self._open.pop()
        return True

    def _unclosed(self) -> None:
        opened = self._open[-1]
        self._report("E0107", f"`{opened}` is never closed", opened)
        self.lexed.faulty.update(range(opened.line or 1, (self._last.end_line or 1) + 1))
        self._open.clear()

    def _bad(self, token: Token) -> None:
        if token.line in self.lexed.faulty:
            return
        rest = self._source.line(token.line or 1)[(token.column or 1) - 1 :]
        code, message, remedy = bad_character(rest)
        self._report(code, message, token, remedy=remedy)
        if rest.startswith('"""'):
            raise _TooMuch

    def _report(
        self, code: str, message: str, token: Token, *, expected: str | None = None, remedy: str | None = None
    ) -> None:
        span = place(self._source, token)
        self.lexed.problems.append(Diagnostic(code, message, span, expected=expected, remedy=remedy))
        self.lexed.faulty.add(span.line)
        if len(self.lexed.problems) >= MOST_ERRORS:
            raise _TooMuch

    def _end_line(self) -> None:
        self._mark("_NL")
        self._line = None

    def _mark(self, type_: str) -> None:
        """A token without text, directly behind the last word."""
        line, column = self._last.end_line, self._last.end_column
        self.lexed.tokens.append(Token(type_, "", 0, line, column, line, column))
