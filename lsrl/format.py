"""The one canonical layout of a program, comments kept.

Four spaces to a block, 100 columns, two empty lines around cells and block functions, at most one empty line, where the
author left any, between other lines.  A comment inside a statement moves above it; all others stay where they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from lsrl.format_statement import cell_header, const, function_header, import_line, statement
from lsrl.ir.span import Span
from lsrl.pretty import STEP, Document, layout
from lsrl.syntax import (
    Cell,
    Choice,
    Comment,
    Const,
    FromImport,
    Function,
    Import,
    Item,
    Program,
    Repeat,
    Return,
    Statement,
)

WIDTH = 100
_END = 10**9


def format_program(program: Program) -> str:
    """The canonical text of a program; `parse` of it gives an equal program, and its own format is itself."""
    printer = _Printer(program)
    printer.write_program()
    return "".join(f"{line}\n" for line in printer.lines)


class _Printer:
    """Writes lines in order and puts each comment back when its place in the source has come."""

    def __init__(self, program: Program) -> None:
        text = program.source.text.split("\n")
        self.lines: list[str] = []
        self._program = program
        self._comments = deque(program.comments)
        self._blank = {number for number, line in enumerate(text, start=1) if not line.strip()}
        # Where no empty line may come: at the start of the file, of a block, and behind other empty lines.
        self._fresh = True

    def write_program(self) -> None:
        doc, items = self._program.doc, self._program.items
        if doc is not None:
            self._comments_before(self._first_line(), indent=0)
            self._docstring(doc, indent=0)
            self._separate(1 if items or self._comments else 0)
        last: Item | None = None
        for item, after in zip(items, (*items[1:], None)):
            if last and (_is_block(last) or _is_block(item)):
                self._separate(2)
            self._item(item, after.span.line if after else _END)
            last = item
        if last and self._comments and _is_block(last):
            self._separate(2)
        self._comments_before(_END, indent=0)

    def _first_line(self) -> int:
        """The line of the first thing that is no comment."""
        lines = enumerate(self._program.source.text.split("\n"), start=1)
        return next((number for number, line in lines if line.strip() and not line.lstrip().startswith("#")), 1)

    def _item(self, item: Item, limit: int) -> None:
        match item:
            case Cell(doc=doc, body=body):
                self._header(item.span, cell_header(item), body[0].span.line, indent=0)
                self._block(doc, body, limit, indent=STEP)
            case Function(inline=False, doc=doc, body=assigns, result=result):
                lines: tuple[Statement | Return, ...] = (*assigns, result)
                self._header(item.span, function_header(item), lines[0].span.line, indent=0)
                self._block(doc, lines, limit, indent=STEP)
            case Function():
                self._line(item.span, function_header(item), indent=0)
            case Const():
                self._line(item.span, const(item), indent=0)
            case Import() | FromImport():
                self._line(item.span, import_line(item), indent=0)

    def _block(self, doc: str | None, body: Sequence[Statement | Return], limit: int, indent: int) -> None:
        """What stands below a header: comments up to line `limit` belong to it if they are indented like it."""
        if doc is not None:
            self._docstring(doc, indent)
        for node, after in zip(body, (*body[1:], None)):
            match node:
                case Repeat(body=inner):
                    self._header(node.span, statement(node), inner[0].span.line, indent)
                    self._block(None, inner, after.span.line if after else limit, indent + STEP)
                case Choice():
                    self._choice(node, after.span.line if after else limit, indent)
                case _:
                    self._line(node.span, statement(node), indent)
        while self._comments and self._comments[0].line < limit and self._comments[0].column >= body[0].span.column:
            self._comment(self._comments.popleft(), indent)

    def _choice(self, node: Choice, limit: int, indent: int) -> None:
        """Both blocks; what stands between them belongs to the first if it is indented like it."""
        other = node.otherwise
        self._header(node.span, statement(node), node.body[0].span.line, indent)
        self._block(None, node.body, other.span.line if other else limit, indent + STEP)
        if other is not None:
            self._header(other.span, "else:", other.body[0].span.line, indent)
            self._block(None, other.body, limit, indent + STEP)

    def _header(self, span: Span, document: Document, first: int, indent: int) -> None:
        """The line that heads a block whose first statement is on line `first`."""
        self._comments_before(span.line, indent)
        self._gap(span.line)
        behind = self._comments and self._comments[0].line < first and not self._comments[0].alone
        self._write(document, indent, self._comments.popleft() if behind else None)
        self._fresh = True

    def _line(self, span: Span, document: Document, indent: int) -> None:
        """A statement with the comment behind it; comments between its lines go above."""
        self._comments_before(span.line, indent)
        self._gap(span.line)
        while self._comments and self._comments[0].line < span.end_line:
            self._write(self._comments.popleft().text, indent)
        behind = self._comments and self._comments[0].line == span.end_line
        self._write(document, indent, self._comments.popleft() if behind else None)

    def _comments_before(self, line: int, indent: int) -> None:
        while self._comments and self._comments[0].line < line:
            self._comment(self._comments.popleft(), indent)

    def _comment(self, comment: Comment, indent: int) -> None:
        if comment.alone:
            self._gap(comment.line)
        self._write(comment.text, indent)

    def _docstring(self, text: str, indent: int) -> None:
        lines = text.split("\n")
        closed_below = len(lines) > 1 or text.endswith('"')
        lines = [f'"""{lines[0]}', *lines[1:], *([""] if closed_below else [])]
        lines[-1] += '"""'
        self.lines += [" " * indent + line if line else "" for line in lines]
        self._fresh = False

    def _gap(self, line: int) -> None:
        """An empty line where the author left some before this line."""
        if not self._fresh and line - 1 in self._blank:
            self.lines.append("")

    def _separate(self, count: int) -> None:
        self.lines += [""] * count
        self._fresh = True

    def _write(self, document: Document, indent: int, behind: Comment | None = None) -> None:
        text = " " * indent + layout(document, WIDTH, indent)
        self.lines += (f"{text}  {behind.text}" if behind else text).split("\n")
        self._fresh = False


def _is_block(item: Item) -> bool:
    """Whether an item stands apart from its neighbours: a cell, or a function with a block."""
    match item:
        case Cell() | Function(inline=False):
            return True
        case _:
            return False
