"""Which elements of a value depend on which elements of a state: relations between their axes.

Element i of the value reads element j of the state.  For each axis of the state the relation says where its index j
is found again in i: at an axis of the value (`Same`), near it (`near`: a convolution), or nowhere (None: any j).
It is the sparsity of a Jacobian that holds whatever the numbers are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lsrl.ir.cell import State
from lsrl.ir.infer import integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import leaf_of
from lsrl.ir.value import Value, depends_on, postorder


@dataclass(frozen=True, slots=True)
class Reach:
    """The axis of a value that has a state's index, exactly or about."""

    axis: int
    near: bool = False


Relation = tuple[Reach | None, ...]
"""One entry for each axis of the state."""


class Coupling(StrEnum):
    """Which elements of the states of a recurrence meet in one step."""

    DIAGONAL = "diagonal"
    PER_UNIT = "a block per unit"
    PER_HEAD = "a block per head"
    STENCIL = "stencil"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Jacobian:
    """The sparsity of the derivative of the next states by the arriving ones.

    Attributes:
        kind: see `Coupling`.
        lanes: for each state the axes along which elements never meet, in the same order for every state.
    """

    kind: Coupling
    lanes: Mapping[str, tuple[int, ...]]


def jacobian(states: Sequence[State]) -> Jacobian:
    """The sparsity of the step of some states."""
    reads = {state.name: relations(state.next, [other.name for other in states]) for state in states}
    lanes: dict[str, list[int]] = {state.name: [] for state in states}
    for axis in range(len(states[0].shape)):
        found = _lane(states, reads, axis)
        for name, place in found.items():
            lanes[name].append(place)
    fixed = {name: tuple(places) for name, places in lanes.items()}
    return Jacobian(_coupling(states, reads, fixed), fixed)


def relations(root: Value, names: Sequence[str]) -> dict[str, Relation]:
    """How a value reads each of the states `names`; those that it does not read are missing."""
    leaves = [value for value in postorder([root]) if value.op == "state" and value.attr("name") in names]
    found: dict[str, Relation] = {}
    for leaf, relation in relations_to(root, leaves).items():
        name = str(leaf.attr("name"))
        found[name] = _joined(found[name], relation) if name in found else relation
    return found


def relations_to(root: Value, leaves: Collection[Value]) -> dict[Value, Relation]:
    """How a value reads each of some leaves; those that it does not read are missing."""
    known: dict[Value, dict[Value, Relation]] = {}
    for value in postorder([root]):
        if value in leaves:
            known[value] = {value: tuple(Reach(axis) for axis in range(value.rank))}
            continue
        found: dict[Value, Relation] = {}
        for arg in value.args:
            places = moves(value, arg)
            for leaf, relation in known[arg].items():
                moved = tuple(_moved(reach, places) for reach in relation)
                found[leaf] = _joined(found[leaf], moved) if leaf in found else moved
        known[value] = found
    return known[root]


def meeting(states: Sequence[State]) -> Value | None:
    """The first value of a step that loses an axis of the states it is made of: where their elements meet."""
    nexts = [state.next for state in states]
    tied = depends_on(nexts, leaf_of(state.name for state in states))
    inside = (value for value in postorder(nexts) if value in tied)
    return next((v for v in inside if any(len(moves(v, arg)) < arg.rank for arg in v.args if arg in tied)), None)


def moves(value: Value, arg: Value) -> dict[int, Reach]:
    """For axes of an operand, the axis of the value that has their index; those summed over or mixed are missing."""
    match family(value.op):
        case Family.ELEMENTWISE | Family.GRAPH:
            return {axis: Reach(axis) for axis in range(arg.rank)}
        case Family.CONTRACTION:
            return _einsum(value, arg)
        case Family.STENCIL:
            spatial = range(1, arg.rank) if arg is value.args[0] and value.op != "conv_dw" else range(0)
            return {axis: Reach(axis, near=True) for axis in spatial}
        case Family.SYSTEM:
            return {
                axis: Reach(axis) for axis in range(arg.rank) if axis < arg.rank - 2 or _is_column(value, arg, axis)
            }
        case Family.REDUCTION:
            return _reduction(value, arg)
        case _:
            return _layout(value, arg)


def _einsum(value: Value, arg: Value) -> dict[int, Reach]:
    """An operand that occurs twice is read at both places: only what they agree about is known."""
    left, result = str(value.attr("spec")).split("->")
    found: list[dict[int, Reach]] = []
    for letters, operand in zip(left.split(","), value.args):
        if operand is arg:
            found.append({a: Reach(result.index(x)) for a, x in enumerate(letters) if x in result})
    return {axis: reach for axis, reach in found[0].items() if all(other.get(axis) == reach for other in found)}


def _is_column(value: Value, arg: Value, axis: int) -> bool:
    """Whether an axis of an operand of `solve` is that of the right side's columns, which are solved one by one."""
    return axis == arg.rank - 1 and arg is not value.args[0]


def _reduction(value: Value, arg: Value) -> dict[int, Reach]:
    if value.op == "softmax":
        return {axis: Reach(axis) for axis in range(arg.rank) if axis != integer(value.attr("axis"))}
    kept = [axis for axis in range(arg.rank) if axis not in integers(value.attr("axes"))]
    return {axis: Reach(place) for place, axis in enumerate(kept)}


def _layout(value: Value, arg: Value) -> dict[int, Reach]:
    match value.op:
        case "transpose":
            return {axis: Reach(place) for place, axis in enumerate(integers(value.attr("perm")))}
        case "expand":
            kept = [axis for axis in range(value.rank) if axis not in integers(value.attr("axes"))]
            return {place: Reach(axis) for place, axis in enumerate(kept)}
        case "slice" | "flip" | "concat":
            return {axis: Reach(axis) for axis in range(arg.rank) if axis != integer(value.attr("axis"))}
        case "select":
            kept = [axis for axis in range(arg.rank) if axis != integer(value.attr("axis"))]
            return {axis: Reach(place) for place, axis in enumerate(kept)}
        case "gather" | "scatter":
            return {axis: Reach(axis) for axis in range(integer(value.attr("batch")))}
        case _:
            return {}


def _moved(reach: Reach | None, places: Mapping[int, Reach]) -> Reach | None:
    following = None if reach is None else places.get(reach.axis)
    return Reach(following.axis, following.near or reach.near) if reach and following else None


def _joined(first: Relation, second: Relation) -> Relation:
    pairs = zip(first, second)
    return tuple(Reach(a.axis, a.near or b.near) if a and b and a.axis == b.axis else None for a, b in pairs)


Reads = Mapping[str, Mapping[str, Relation]]


def _lane(states: Sequence[State], reads: Reads, axis: int) -> dict[str, int]:
    """The axis of every state that goes with axis `axis` of the first, or nothing where elements along it meet."""
    found = {states[0].name: axis}
    for _ in states:
        for reader, read, relation in _pairs(reads):
            if reader in found and read not in found:
                places = [place for place, reach in enumerate(relation) if reach == Reach(found[reader])]
                found |= {read: places[0]} if places else {}
    together = len(found) == len(states) and all(
        relation[found[read]] == Reach(found[reader]) for reader, read, relation in _pairs(reads)
    )
    return found if together else {}


def _pairs(reads: Reads) -> Iterator[tuple[str, str, Relation]]:
    return ((reader, read, relation) for reader, own in reads.items() for read, relation in own.items())


def _coupling(states: Sequence[State], reads: Reads, lanes: Mapping[str, tuple[int, ...]]) -> Coupling:
    if all(len(lanes[state.name]) == len(state.shape) for state in states):
        return Coupling.DIAGONAL if len(states) == 1 else Coupling.PER_UNIT
    if any(reach is not None and reach.near for *_, relation in _pairs(reads) for reach in relation):
        return Coupling.STENCIL
    return Coupling.PER_HEAD if any(lanes.values()) else Coupling.DENSE
