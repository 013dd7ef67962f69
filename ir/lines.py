"""Lines: states that hold the last values of something else, oldest first, `S' = concat(S[1:], [x])`.

A line feeds on nothing of its own, so it is no recurrence: what it holds at every position lies in the sequence of what
it takes in, behind what it starts with.  It stands for a lag, or a window, that reaches far back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lsrl.ir import build, ops
from lsrl.ir.cell import State
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Line:
    """A line of `length` values along axis `at` of the state's array; `taken` joins it at every position."""

    leaf: Value
    at: int
    length: int
    taken: Value


@dataclass(frozen=True, slots=True)
class Tap:
    """Places `start`, `start + step`, ... of a line and what it takes in, counted from its oldest value.

    `count` is how many there are along the axis of the line; without it there is one, and no axis.
    """

    start: int
    count: int | None
    step: int = 1


def arriving(state: State) -> Value:
    """The value of a state with one axis as it arrives."""
    return ops.state(state.name, state.axes[0], state.shape, state.kind, state.domain)


def pushed(leaf: Value, taken: Value, at: int = 0) -> Value:
    """What a line passes on: all but its oldest value, and the one that it takes in."""
    return build.concat([build.slice_(leaf, 1, None, at), _row(taken, at)], at)


def line_of(state: State) -> Line | None:
    """The line that a state is, or None."""
    if len(state.axes) != 1 or state.domain:
        return None
    match state.next:
        case Value("concat", (Value("slice", (leaf,)) as kept, Value("expand") as row)) as following:
            at = integer(following.attr("axis"))
        case _:
            return None
    length = state.shape[at].constant if leaf is arriving(state) else None
    if length is None or (integer(kept.attr("axis")), dim(kept.attr("start"))) != (at, Dim.of(1)):
        return None
    if row.shape[at] != Dim.of(1) or at not in integers(row.attr("axes")) or row.kind is not state.kind:
        return None
    taken = _shorter(row, at)
    return Line(leaf, at, length, taken) if state.next is pushed(leaf, taken, at) else None


def taps(line: Line, values: Iterable[Value]) -> dict[Value, Tap]:
    """Those of the values that are parts of a line, or of the line and what it takes in."""
    found = {value: tap for value in values if (tap := _tap(line, value)) is not None}
    return {line.leaf: Tap(0, line.length)} | found


def _tap(line: Line, value: Value) -> Tap | None:
    match value:
        case Value("select", (leaf,)) if leaf is line.leaf and integer(value.attr("axis")) == line.at:
            index = dim(value.attr("index")).constant
            return Tap(index, None) if index is not None else None
        case Value("slice"):
            return _piece(line, value)
        case Value("concat", (old, row)) if integer(value.attr("axis")) == line.at and row is _row(line.taken, line.at):
            piece = _piece(line, old)
            # What is taken in stands behind the line; a window that keeps the distance up to it is one piece.
            if piece is not None and piece.count and piece.start + piece.count * piece.step == line.length:
                return replace(piece, count=piece.count + 1)
    return None


def _piece(line: Line, value: Value) -> Tap | None:
    """A slice of the line, or all of it."""
    if value is line.leaf:
        return Tap(0, line.length)
    if value.op != "slice" or value.args[0] is not line.leaf or integer(value.attr("axis")) != line.at:
        return None
    start, count = dim(value.attr("start")).constant, dim(value.attr("size")).constant
    return Tap(start, count, integer(value.attr("step"))) if start is not None and count is not None else None


def _row(taken: Value, at: int) -> Value:
    return build.expand(taken, (*taken.shape[:at], Dim.of(1), *taken.shape[at:]), [at])


def _shorter(row: Value, at: int) -> Value:
    """A repeated value without its axis `at`."""
    kept = [axis - (axis > at) for axis in integers(row.attr("axes")) if axis != at]
    return build.expand(row.args[0], (*row.shape[:at], *row.shape[at + 1 :]), kept)
