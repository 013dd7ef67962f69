"""Which axes of the values of a loop run together, and which can be cut into pieces that never meet.

Element-wise work and einsum identify axes of their operands with axes of their result, and the value that a state
passes on has the axes of the value that arrives.  The classes that follow are the axes of the loop as a whole.  A
class that nothing sums over, slices or joins is parallel: each of its elements lives a life of its own, so a kernel
can give each piece of it to another program.  Nothing of this is declared; it is read off the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsrl.ir.graphs import connected
from lsrl.ir.infer import integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value

Axis = tuple[Value, int]


@dataclass(frozen=True, slots=True)
class AxisClasses:
    """The classes, numbered in order of first appearance.

    Attributes:
        numbers: the class of every axis.
        mixed: the classes whose elements meet.
    """

    numbers: Mapping[Axis, int]
    mixed: frozenset[int]

    def of(self, value: Value) -> tuple[int, ...]:
        """The class of each axis of a value."""
        return tuple(self.numbers[value, axis] for axis in range(value.rank))


def axis_classes(
    body: Sequence[Value], tied: Iterable[tuple[Value, Value]] = (), leaves: Iterable[Value] = ()
) -> AxisClasses:
    """The classes of the axes of the values of `body` and of their operands.

    Args:
        body: operations; operands that are not among them are taken as they are.
        tied: pairs of values that share their axes, such as an arriving state and what it becomes.
        leaves: further values whose axes count, which no operation may use.
    """
    pairs = [pair for first, second in tied for pair in _all(first, second)]
    values = list(dict.fromkeys([*body, *(arg for v in body for arg in v.args), *leaves]))
    axes = [(value, axis) for value in values for axis in range(value.rank)]
    mixing: set[Axis] = set()
    for value in body:
        same, mixed = _relations(value)
        pairs += same
        mixing.update(mixed)
    numbers = {axis: number for number, members in enumerate(connected(axes, pairs)) for axis in members}
    classes = AxisClasses(numbers, frozenset())
    everything = {value for value, _ in numbers}
    twice = {n for value in everything for n in classes.of(value) if classes.of(value).count(n) > 1}
    return AxisClasses(numbers, frozenset({numbers[axis] for axis in mixing} | twice))


Relations = tuple[list[tuple[Axis, Axis]], list[Axis]]


def _relations(value: Value) -> Relations:
    """Pairs of axes that are the same, and axes whose elements meet."""
    match family(value.op):
        case Family.ELEMENTWISE:
            return [pair for arg in value.args if arg.rank for pair in _all(value, arg)], []
        case Family.CONTRACTION:
            return _einsum(value)
        case Family.REDUCTION:
            return _reduction(value)
        case Family.SYSTEM:
            return _system(value)
        case Family.LAYOUT if value.op in _LAYOUTS:
            return _LAYOUTS[value.op](value)
        case _:
            return [], [*_axes(value), *(axis for arg in value.args for axis in _axes(arg))]


def _axes(value: Value) -> Iterator[Axis]:
    return ((value, axis) for axis in range(value.rank))


def _all(first: Value, second: Value) -> list[tuple[Axis, Axis]]:
    return list(zip(_axes(first), _axes(second), strict=True))


def _einsum(value: Value) -> Relations:
    left, result = str(value.attr("spec")).split("->")
    same, first, summed = [], dict(zip(result, _axes(value), strict=True)), []
    for letters, arg in zip(left.split(","), value.args, strict=True):
        for letter, axis in zip(letters, _axes(arg), strict=True):
            same.append((first.setdefault(letter, axis), axis))
            summed += [axis] if letter not in result else []
    return same, summed


def _system(value: Value) -> Relations:
    """solve: leading axes and the columns of the right side are lanes."""
    matrix, right = value.args
    lead = range(value.rank - 2)
    same = [((value, axis), (arg, axis)) for arg in value.args for axis in lead]
    last, rows = value.rank - 1, value.rank - 2
    return [*same, ((value, last), (right, last))], [(value, rows), (right, rows), (matrix, rows), (matrix, last)]


def _reduction(value: Value) -> Relations:
    (arg,) = value.args
    if value.op == "softmax":
        return _all(value, arg), [(arg, integer(value.attr("axis")))]
    gone = integers(value.attr("axes"))
    kept = [axis for axis in range(arg.rank) if axis not in gone]
    return [((value, place), (arg, axis)) for place, axis in enumerate(kept)], [(arg, axis) for axis in gone]


def _transpose(value: Value) -> Relations:
    (arg,) = value.args
    return [((value, place), (arg, axis)) for place, axis in enumerate(integers(value.attr("perm")))], []


def _expand(value: Value) -> Relations:
    (arg,) = value.args
    new = integers(value.attr("axes"))
    kept = [axis for axis in range(value.rank) if axis not in new]
    return [((value, axis), (arg, place)) for place, axis in enumerate(kept)], []


def _beside(value: Value) -> Relations:
    """slice, flip, concat: the axis they work on has other elements before and after."""
    axis = integer(value.attr("axis"))
    same = [pair for arg in value.args for pair in _all(value, arg) if pair[0][1] != axis]
    return same, [(value, axis), *((arg, axis) for arg in value.args)]


def _select(value: Value) -> Relations:
    (arg,) = value.args
    axis = integer(value.attr("axis"))
    kept = [place for place in range(arg.rank) if place != axis]
    return [((value, place), (arg, old)) for place, old in enumerate(kept)], [(arg, axis)]


_LAYOUTS = {
    "transpose": _transpose,
    "expand": _expand,
    "slice": _beside,
    "flip": _beside,
    "concat": _beside,
    "select": _select,
}
