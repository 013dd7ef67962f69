"""Text to syntax tree, with every syntax error of the text at once.

A text passes through `lexical` (what cannot be read at all), Lark's lexer, `blocks` (lines and indentation), `recover`
(Lark's parser, and what to do after an error) and `tree` (the nodes).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from lark import Lark, Token
from lark import __version__ as lark_version
from lark.lark import PostLex

from lsrl import lexical, syntax
from lsrl.blocks import MOST_ERRORS, arrange
from lsrl.ir.span import Diagnostic, LsrlError, Source
from lsrl.recover import read
from lsrl.tree import Builder
from lsrl.tree_expression import too_deep


class _Everything(PostLex):
    """Lets the lexer keep the words that no rule names."""

    always_accept = ("NEWLINE", "COMMENT", "BAD")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The parser, made when the first text is parsed: from the grammar, or from what an earlier process kept of it.

    Its tables are kept where Python keeps compiled modules, if that can be written to.
    """
    text = files("lsrl").joinpath("grammar.lark").read_text("utf-8")
    place = _place(text)
    if place is None or place.exists():
        return _built(text, place)
    partial = place.with_suffix(f".{os.getpid()}")
    lark = _built(text, partial)
    partial.replace(place)  # another process sees all of it or nothing
    return lark


def _built(text: str, place: Path | None) -> Lark:
    cache: bool | str = str(place) if place is not None else False
    return Lark(text, parser="lalr", lexer="basic", postlex=_Everything(), propagate_positions=True, cache=cache)


def _place(text: str) -> Path | None:
    """The file for the tables of this grammar, this version of Lark and this Python; None where none can be kept."""
    folder = Path(__file__).parent / "__pycache__"
    if sys.dont_write_bytecode or not os.access(folder, os.W_OK):
        return None
    key = hashlib.sha256(f"{lark_version} {text}".encode()).hexdigest()[:16]
    return folder / f"grammar.{sys.implementation.cache_tag}-{key}.tables"


def parse(text: str, name: str = "<text>") -> syntax.Program:
    """The syntax tree of a program's text; LsrlError with every diagnostic when there is none."""
    source = Source(name, text.replace("\r\n", "\n"))
    refused = lexical.limits(source)
    if refused:
        raise LsrlError(refused)
    lark = grammar()
    scanner = lark.parse_interactive(source.text)
    tokens: Iterator[Token] = scanner.lexer_thread.lex(scanner.parser_state)  # type: ignore[no-untyped-call]
    lexed = arrange(tokens, source)
    tree, errors = read(lark, lexed, source)
    builder = Builder(source, lexed.comments)
    deep = too_deep(tree, source) if tree is not None else None
    program = builder.transform(tree) if tree is not None and deep is None else None
    problems = [*lexed.problems, *errors, *([deep] if deep else []), *builder.diagnostics]
    if problems or program is None:
        raise LsrlError(_first(problems))
    return program


def parse_file(path: Path, name: str | None = None) -> syntax.Program:
    """The syntax tree of a file; LsrlError as `parse`, OSError when the file cannot be read."""
    source = read_source(path, name)
    return parse(source.text, source.name)


def read_source(path: Path, name: str | None = None) -> Source:
    """A file's text under the name to show; LsrlError when it is too large or no text."""
    shown = name or str(path)
    with path.open("rb") as file:
        text, refused = lexical.decode(file.read(lexical.LARGEST_FILE + 1), shown)
    if refused:
        raise LsrlError(refused)
    return Source(shown, text)


def _first(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The first problems in the order of the text, each once."""

    def place(diagnostic: Diagnostic) -> tuple[int, int]:
        return (diagnostic.span.line, diagnostic.span.column) if diagnostic.span else (0, 0)

    return sorted(dict.fromkeys(problems), key=place)[:MOST_ERRORS]
