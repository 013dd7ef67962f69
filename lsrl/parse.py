"""Text to syntax tree, with every syntax error of the text at once.

`parse` raises `LsrlError` with all diagnostics.  After an error the statement at fault (with the block below it) is
blanked and the rest parsed again, so that one missing colon does not hide the next mistake.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from lark import Lark, Token, Tree, UnexpectedInput
from lark.indenter import DedentError, Indenter

from lsrl import lexical, syntax
from lsrl.ir.span import Diagnostic, LsrlError, Source, Span
from lsrl.mistakes import explain
from lsrl.tree import Builder

MOST_ERRORS = 20
CHARACTERS_TO_REPARSE = 400_000


class _Blocks(Indenter):
    NL_type = "_NL"
    OPEN_PAREN_types = ["LPAR", "LSQB"]  # noqa: RUF012 - Lark's interface
    CLOSE_PAREN_types = ["RPAR", "RSQB"]  # noqa: RUF012
    INDENT_type = "_INDENT"
    DEDENT_type = "_DEDENT"
    tab_len = 8


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The parser, built once per process when the first text is parsed."""
    text = files("lsrl").joinpath("grammar.lark").read_text("utf-8")
    return Lark(text, parser="lalr", postlex=_Blocks(), propagate_positions=True, maybe_placeholders=True)


def parse(text: str, name: str = "<text>") -> syntax.Program:
    """The syntax tree of a program's text; LsrlError with every diagnostic when there is none."""
    source = Source(name, text)
    refused = lexical.limits(source)
    if refused:
        raise LsrlError(refused)
    tree, errors = _trees(source)
    builder = Builder(source)
    program = builder.program(tree, lexical.comments(source)) if tree is not None else None
    problems = sorted([*errors, *builder.diagnostics], key=_place)
    if problems or program is None:
        raise LsrlError(problems[:MOST_ERRORS])
    return program


def parse_file(path: Path, name: str | None = None) -> syntax.Program:
    """The syntax tree of a file.  OSError when it cannot be read."""
    shown = name or str(path)
    text, refused = lexical.decode(path.read_bytes(), shown)
    if refused:
        raise LsrlError(refused)
    return parse(text, shown)


def _place(diagnostic: Diagnostic) -> tuple[int, int]:
    return (diagnostic.span.line, diagnostic.span.column) if diagnostic.span else (0, 0)


def _trees(source: Source) -> tuple[Tree[Token] | None, list[Diagnostic]]:
    """The tree of what is well formed, and a diagnostic for each statement that is not."""
    lines = source.text.split("\n")
    attempts = max(1, min(MOST_ERRORS, CHARACTERS_TO_REPARSE // (len(source.text) + 1)))
    errors: list[Diagnostic] = []
    for _ in range(attempts):
        try:
            return grammar().parse("\n".join(lines) + "\n"), errors
        except (UnexpectedInput, DedentError) as error:
            diagnostic = explain(error, source, lines)
            repeated = bool(errors) and _place(errors[-1]) == _place(diagnostic)
            if not repeated:
                errors.append(diagnostic)
            assert diagnostic.span is not None
            if repeated or diagnostic.code == "E0208" or not _blank(lines, diagnostic.span):
                break
    return None, errors


def _blank(lines: list[str], span: Span) -> bool:
    """Blank the statement around a place and the block that it heads; False when nothing is left to blank."""
    first = min(span.line, len(lines)) - 1
    while first > 0 and _open_brackets(lines[:first]):
        first -= 1
    indent = len(lines[first]) - len(lines[first].lstrip(" "))
    last = first + 1
    while last < len(lines) and (_open_brackets(lines[first:last]) or _deeper(lines[last], indent)):
        last += 1
    if not any(line.strip() for line in lines[first:last]):
        return False
    word = lines[first].split("(")[0].split()[:1]
    if word == ["return"] or (word in (["cell"], ["def"], ["repeat"]) and last > first + 1):
        return False
    # A block must not become empty, so something harmless stays in the statement's place.
    kept = " " * indent + "_ = 0" if indent else ""
    lines[first:last] = [kept, *[""] * (last - first - 1)]
    return True


def _deeper(line: str, indent: int) -> bool:
    return not line.strip() or len(line) - len(line.lstrip(" ")) > indent


def _open_brackets(lines: list[str]) -> bool:
    text = "\n".join(line.split("#")[0] for line in lines)
    return text.count("(") + text.count("[") > text.count(")") + text.count("]")
