"""Parsing that goes on after an error, so that one missing colon does not hide the next mistake.

The parser is fed token by token.  At the start of every line its state is kept; when a line cannot go on, the state is
taken back, the line skipped, and something harmless fed in its place: `_ = 0`, or a bare header when a block follows.
"""

from __future__ import annotations

from lark import Lark, Token, Tree, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from lsrl.blocks import MOST_ERRORS, Lexed
from lsrl.ir.span import Diagnostic, Source
from lsrl.mistakes import Stuck, explain

Words = tuple[tuple[str, str], ...]

_STATEMENT: Words = (("NAME", "_"), ("EQUAL", "="), ("NUMBER", "0"), ("_NL", ""))
_RETURN: Words = (("RETURN", "return"), ("NUMBER", "0"), ("_NL", ""))
_INDENT: Words = (("_INDENT", ""),)
_DEDENT: Words = (("_DEDENT", ""),)
_BRACKETS: Words = (("NAME", "_"), ("LPAR", "("), ("RPAR", ")"))
_BLOCK: Words = (("COLON", ":"), ("_NL", ""))
_HEADERS: dict[str, Words] = {
    "CELL": (("CELL", "cell"), *_BRACKETS, *_BLOCK),
    "DEF": (("DEF", "def"), *_BRACKETS, *_BLOCK),
    "IF": (("IF", "if"), ("NUMBER", "0"), *_BLOCK),
    "ELSE": (("ELSE", "else"), *_BLOCK),
    "REPEAT": (("REPEAT", "repeat"), ("NUMBER", "0"), *_BLOCK),
}


def read(lark: Lark, lexed: Lexed, source: Source) -> tuple[Tree[Token] | None, list[Diagnostic]]:
    """The tree of the tokens, without the lines at fault, and a diagnostic for each of those."""
    reader = _Reader(lark, lexed, source)
    return reader.tree(), reader.errors


def _copy(parser: InteractiveParser) -> InteractiveParser:
    copied: InteractiveParser = parser.copy(deepcopy_values=False)  # type: ignore[no-untyped-call]
    return copied


class _Reader:
    def __init__(self, lark: Lark, lexed: Lexed, source: Source) -> None:
        self.errors: list[Diagnostic] = []
        self._source = source
        self._faulty = lexed.faulty
        self._parser = lark.parse_interactive("")
        last = lexed.tokens[-1:] or [Token("_NL", "", 0, 1, 1, 1, 1)]
        self._tokens = [*lexed.tokens, Token.new_borrow_pos("$END", "", last[0])]
        self._dropped: set[int] = set()

    def tree(self) -> Tree[Token] | None:
        at, result = 0, None
        while at < len(self._tokens) and len(self.errors) < MOST_ERRORS:
            end, reached = self._line_end(at), at
            before = _copy(self._parser)
            try:
                for reached in range(at, end):
                    result = self._parser.feed_token(self._tokens[reached])
                at = end
            except UnexpectedToken:
                self._parser = before
                at = self._after_error(at, reached, end)
            while at in self._dropped:
                at += 1
        return result

    def _line_end(self, start: int) -> int:
        """Behind the line that begins here; the marks of blocks are lines of their own."""
        end = start
        while self._tokens[end].type not in ("_NL", "_INDENT", "_DEDENT", "$END"):
            end += 1
        return end + 1

    def _block_end(self, start: int) -> int:
        """The end of the block whose beginning is marked here."""
        depth, end = 1, start
        while depth:
            end += 1
            depth += {"_INDENT": 1, "_DEDENT": -1}.get(self._tokens[end].type, 0)
        return end

    def _after_error(self, start: int, at: int, end: int) -> int:
        """Says what is wrong with a line, repairs what can be, and returns where to go on."""
        stuck = Stuck(self._source, tuple(self._tokens[start:end]), at - start, self._accepts(start, at))
        match stuck.token.type:
            case _ if "_INDENT" in stuck.accepts and start > 0:
                return self._missing_block(stuck, start)
            case "_INDENT":
                self._say(stuck, stuck.say("E0208", "this line is indented without need"))
                self._dropped.add(self._block_end(start))
                return start + 1
            case "_DEDENT" | "$END":
                return self._short_block(stuck, start)
            case _:
                self._say(stuck, explain(stuck))
                return self._skip(stuck, end)

    def _missing_block(self, stuck: Stuck, start: int) -> int:
        """A header without a block gets one, and the line that is no block is read again."""
        header = self._tokens[start - 1]
        self._say(stuck, stuck.say("E0208", "an indented block is missing behind this line", at=header))
        for words in (_INDENT, _STATEMENT, _RETURN, _DEDENT):
            self._feed(words)
        return start

    def _short_block(self, stuck: Stuck, start: int) -> int:
        """A block that ends too early gets what it lacks."""
        message = "the function ends without `return`" if "RETURN" in stuck.accepts else "the block has no statements"
        self._say(stuck, stuck.say("E0208", message))
        return start if any([self._feed(_STATEMENT), self._feed(_RETURN)]) else start + 1

    def _skip(self, stuck: Stuck, end: int) -> int:
        """Behind the line; its block is still read below a bare header if it is one of ours."""
        if end < len(self._tokens) and self._tokens[end].type == "_INDENT":
            header = _HEADERS.get(stuck.first.type)
            return end if header and self._feed(header) else self._block_end(end) + 1
        if stuck.first.type == "RETURN":
            self._feed(_RETURN)
        self._feed(_STATEMENT)
        return end

    def _accepts(self, start: int, at: int) -> frozenset[str]:
        """What the parser would have taken in place of the token that stopped it."""
        parser = _copy(self._parser)
        for token in self._tokens[start:at]:
            parser.feed_token(token)
        accepted: set[str] = parser.accepts()  # type: ignore[no-untyped-call]
        return frozenset(accepted)

    def _feed(self, words: Words) -> bool:
        """Feeds words that stand nowhere in the text, or nothing at all when they do not fit."""
        parser = _copy(self._parser)
        try:
            for type_, text in words:
                parser.feed_token(Token(type_, text, 0, 1, 1, 1, 1))
        except UnexpectedToken:
            return False
        self._parser = parser
        return True

    def _say(self, stuck: Stuck, diagnostic: Diagnostic) -> None:
        """Keeps a diagnostic, unless the line has been found at fault before it was parsed."""
        first, last = stuck.line[0].line or 1, stuck.line[-1].end_line or 1
        if self._faulty.isdisjoint(range(first, last + 1)):
            self.errors.append(diagnostic)
