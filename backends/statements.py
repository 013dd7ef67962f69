"""A graph as statements: which values get a line and a name, which are written inside the expression that uses them.

A value is assigned when the user named it, when several others use it, when it leaves the function, or when the
expression would grow beyond easy reading.  The pieces of a split get one line: `i, f, g = split(...)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from lsrl.backends.expressions import Code
from lsrl.backends.naming import Names
from lsrl.backends.writer import WIDTH, Writer, origin_of
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer
from lsrl.ir.pieces import pieces
from lsrl.ir.value import Value

MOST_OPERATIONS = 7
LONGEST = 72


@dataclass(frozen=True, slots=True)
class Target:
    """How a language writes values.

    Attributes:
        is_number: whether an expression writes the value by itself, as a number known when code is written.
        is_light: whether an expression of a named value is no more than another view of it, which needs no name.
        express: the expression of one operation, given the expressions of operands.
        remark: what to say behind an assignment, such as its shape; may be empty.
        split: the right side that cuts a value into pieces of these sizes along an axis.
    """

    is_number: Callable[[Value], bool]
    is_light: Callable[[Value], bool]
    express: Callable[[Value, Mapping[Value, Code]], Code]
    remark: Callable[[Value], str]
    split: Callable[[Value, Code, int, Sequence[Dim]], Code]


class Statements:
    """The statements of one function body.

    Attributes:
        codes: how each value known here is written: a name, or an expression still to be used once.
    """

    def __init__(self, cell: Cell, names: Names, writer: Writer, target: Target) -> None:
        self.cell = cell
        self.names = names
        self.writer = writer
        self.target = target
        self.codes: dict[Value, Code] = {}
        self._operations: dict[Value, int] = {}

    def bind(self, value: Value, code: Code | None = None) -> str:
        """Make a value known here under its name, or as `code`; the text it is written as."""
        self.codes[value] = code or Code(self.names[value])
        return str(self.codes[value])

    def write(self, values: Iterable[Value], wanted: Collection[Value], used: Iterable[Value] = ()) -> None:
        """Write the values, operands first.

        Args:
            wanted: those that must have a name afterwards.
            used: those that an expression after these statements uses, once for each time it does.
        """
        values = in_text_order([v for v in values if v not in self.codes and not self.target.is_number(v)], self.cell)
        uses = Counter([*(arg for value in values for arg in value.args), *used])
        users: dict[Value, list[Value]] = {}
        for value in values:
            for arg in dict.fromkeys(value.args):
                users.setdefault(arg, []).append(value)
        for value in values:
            if value in self.codes:
                continue  # a piece of a split
            code = self.target.express(value, self.codes)
            cost = 1 + sum(self._operations.get(arg, 0) for arg in value.args)
            pieces = self.pieces(value) if value not in wanted else ()
            light = self.target.is_light(value) and str(self.codes.get(value.args[0])).isidentifier()
            readable = cost <= MOST_OPERATIONS and len(code.text) <= LONGEST
            if pieces:
                self._split(value, code, pieces)
            elif value in wanted or self.names.is_named(value) or not (light or (readable and uses[value] == 1)):
                self._assign(value, code, users.get(value, ()))
            else:
                self.codes[value] = code
                self._operations[value] = cost

    def pieces(self, value: Value) -> tuple[Value, ...]:
        """What uses the value, in order, where that is slices which cut it along one axis into parts."""
        return pieces(value, self.names.users(value))

    def _assign(self, value: Value, code: Code, users: Iterable[Value]) -> None:
        self.writer.origin(origin_of(self.cell, value, users))
        self._line(self.names[value], code, self.target.remark(value))
        self.bind(value)

    def _split(self, value: Value, code: Code, pieces: Sequence[Value]) -> None:
        self.writer.origin(origin_of(self.cell, value, pieces))
        axis = integer(pieces[0].attr("axis"))
        right = self.target.split(value, code, axis, [dim(piece.attr("size")) for piece in pieces])
        self._line(", ".join(self.bind(piece) for piece in pieces), right, self.target.remark(pieces[0]))

    def _line(self, left: str, code: Code, remark: str) -> None:
        text = f"{left} = {code}"
        self.writer.line(text, remark if len(text) + len(remark) + 12 <= WIDTH else "")


def in_text_order(values: Sequence[Value], cell: Cell) -> list[Value]:
    """The values as the program's lines have them, as far as operands precede their users.

    A value of the compiler's own counts to the first line that uses it.  Lines of several files have no order; then
    the values stay as they are.
    """
    places = {v: cell.spans[v][0] for v in values if v in cell.spans}
    if len({span.file for span in places.values()}) != 1:
        return list(values)
    end = max(span.line for span in places.values())
    lines = {v: places[v].line if v in places else end for v in values}
    for value in reversed(values):
        for arg in value.args:
            if arg in lines and arg not in places:
                lines[arg] = min(lines[arg], lines[value])
    waiting = {v: sum(arg in lines for arg in dict.fromkeys(v.args)) for v in values}
    users: dict[Value, list[Value]] = {}
    for value in values:
        for arg in dict.fromkeys(value.args):
            users.setdefault(arg, []).append(value)
    position = {v: place for place, v in enumerate(values)}
    ready = [(lines[v], position[v]) for v in values if not waiting[v]]
    heapify(ready)
    ordered: list[Value] = []
    while ready:
        value = values[heappop(ready)[1]]
        ordered.append(value)
        for user in users.get(value, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heappush(ready, (lines[user], position[user]))
    return ordered
