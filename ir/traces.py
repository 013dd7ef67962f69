"""How the derivative of a state by a parameter is stored, and what one step of it is: the algebra of exact RTRL.

The derivative of the state s [S...] by a source w [W...] has an element for each pair of theirs.  Where index relations
say that element i of s depends on w[i, j] alone, only those pairs are kept: the trace has the axes of w, and those of s
that have no place among them.  For `h' = f(h, W @ x)`, element by element in h, that is the size of W.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsrl.ir import build, ops
from lsrl.ir.adjoint import cotangents
from lsrl.ir.batching import lifted
from lsrl.ir.cell import TIME, State
from lsrl.ir.dims import Shape
from lsrl.ir.facts.relations import Relation, relations_to
from lsrl.ir.substitute import rebuild
from lsrl.ir.value import Value

Pins = tuple[int | None, ...]
"""For each axis of a leaf, the axis of what depends on it that has the same index; None where there is none."""


@dataclass(frozen=True, slots=True)
class Source:
    """What states are derived by: a param, or the first value of a state (its leaf stands for it).

    Attributes:
        name: the param's, or `state.NAME`.
    """

    name: str
    leaf: Value


@dataclass(frozen=True, slots=True)
class Trace:
    """The derivative of a state by a source, as an array of `shape`."""

    state: State
    source: Source
    pins: Pins

    @property
    def free(self) -> tuple[int, ...]:
        """The axes of the state that are not among the source's."""
        return _unpinned(self.pins, len(self.state.shape))

    @property
    def shape(self) -> Shape:
        return (*(self.state.shape[axis] for axis in self.free), *self.source.leaf.shape)

    @property
    def name(self) -> str:
        return f"trace.{self.state.name}.{self.source.name}"

    @property
    def leaf(self) -> Value:
        """The trace as it arrives."""
        return ops.state(self.name, TIME, self.shape, self.state.kind)

    @property
    def start(self) -> Value:
        """Before the first position a state depends on its own first value only, one to one."""
        leaf = arriving(self.state)
        return sensitivity(leaf, leaf, self.pins) if self.source.leaf is leaf else build.zeros(self.shape)


def arriving(state: State) -> Value:
    """The leaf of a state over time."""
    return ops.state(state.name, TIME, state.shape, state.kind)


def traces(states: Sequence[State], params: Sequence[Source]) -> tuple[Trace, ...]:
    """The traces of some states by params and by the states' own first values; those zero for good are missing."""
    own = {arriving(state): state for state in states}
    direct = {state.name: relations_to(state.next, [*own, *(source.leaf for source in params)]) for state in states}
    firsts = [Source(f"state.{state.name}", leaf) for leaf, state in own.items()]
    sources = {source.name: source for source in (*params, *firsts)}
    found: dict[tuple[str, str], Pins] = {
        (state.name, first.name): tuple(range(len(state.shape))) for state, first in zip(states, firsts, strict=True)
    }
    while True:
        grown = dict(found)
        for state in states:
            for name, reached in _reached(direct[state.name], own, params, found):
                before = grown.get((state.name, name))
                grown[state.name, name] = _distinct(reached if before is None else _joined(before, reached))
        if grown == found:
            by_name = {state.name: state for state in states}
            return tuple(Trace(by_name[s], sources[w], pins) for (s, w), pins in found.items())
        found = grown


def _reached(
    direct: Mapping[Value, Relation],
    own: Mapping[Value, State],
    params: Sequence[Source],
    found: Mapping[tuple[str, str], Pins],
) -> Iterator[tuple[str, Pins]]:
    """How one step reaches sources: by itself, and through the states that it reads."""
    yield from ((source.name, _exact(direct[source.leaf])) for source in params if source.leaf in direct)
    for leaf, relation in direct.items():
        if leaf in own:
            places = _exact(relation)
            for (name, source), pins in found.items():
                if name == own[leaf].name:
                    yield source, tuple(None if pin is None else places[pin] for pin in pins)


def following(trace: Trace, known: Sequence[Trace], states: Sequence[State]) -> Value:
    """The trace that one step passes on: what the step adds, and what arrives, through every state it reads."""
    state, source = trace.state, trace.source
    direct = relations_to(state.next, [source.leaf, *(arriving(other) for other in states)])
    total = build.zeros(trace.shape)
    if source.leaf in direct and source.leaf.op == "param":
        total = build.add(total, sensitivity(state.next, source.leaf, trace.pins))
    for before in (other for other in known if other.source == source):
        leaf = arriving(before.state)
        if leaf in direct:
            pins = _distinct(_exact(direct[leaf]))
            total = build.add(total, _carried(trace, before, sensitivity(state.next, leaf, pins), pins))
    return total


def weighed(cotangent: Value, trace: Trace, array: Value) -> Value:
    """A cotangent of the state pulled back to the source by the array of their trace, of the shape of the source."""
    own, pool = _letters(len(trace.state.shape))
    outer = [own[pin] if pin is not None else next(pool) for pin in trace.pins]
    read = "".join([*(own[axis] for axis in trace.free), *outer])
    return build.einsum(f"{own},{read}->{''.join(outer)}", cotangent, array)


def sensitivity(root: Value, leaf: Value, pins: Pins) -> Value:
    """The derivative of a value by a leaf, in the layout of `pins`: the value's unpinned axes, then the leaf's.

    One cotangent of ones where the leaf has all of the value's indices, one tangent of ones where the value has all of
    the leaf's; else a cotangent for each index of the value that the leaf does not have.
    """
    free = _unpinned(pins, root.rank)
    if not free:
        return cotangents([root], [build.full(root.shape, 1)], [leaf])[0]
    seed = ops.leaf("input", "a cotangent", root.shape, root.kind)
    pulled = cotangents([root], [seed], [leaf])[0]
    if None not in pins:
        order = [*free, *(pin for pin in pins if pin is not None)]
        return _transposed(cotangents([pulled], [build.full(leaf.shape, 1)], [seed])[0], order)
    many = seed
    for axis in reversed(free):
        wider = ops.leaf("input", "a cotangent", (root.shape[axis], *many.shape), root.kind)
        lift = lifted([pulled], {many: wider}, root.shape[axis])[pulled]
        pulled = lift.value if lift.headed else build.expand(pulled, (root.shape[axis], *pulled.shape), [0])
        many = wider
    return rebuild([pulled], {many: _units(root.shape, free)})[pulled]


def _units(shape: Shape, axes: Sequence[int]) -> Value:
    """For every index along some axes, an array of `shape` that is one there and zero at other indices of them."""
    own, pool = _letters(len(shape))
    places = [next(pool) for _ in axes]
    eyes = [build.eye(shape[axis]) for axis in axes]
    pairs = ",".join(f"{place}{own[axis]}" for place, axis in zip(places, axes, strict=True))
    return build.einsum(f"{pairs},{own}->{''.join(places)}{own}", *eyes, build.full(shape, 1))


def _carried(trace: Trace, before: Trace, step: Value, pins: Pins) -> Value:
    """A trace that arrives, through the derivative `step` (in the layout of `pins`) of one state by another."""
    own, pool = _letters(len(trace.state.shape))
    middle = [own[pin] if pin is not None else next(pool) for pin in pins]
    outer = [middle[pin] if pin is not None else next(pool) for pin in before.pins]
    through = "".join([*(own[axis] for axis in _unpinned(pins, len(own))), *middle])
    read = "".join([*(middle[axis] for axis in before.free), *outer])
    spread = {place: next(pool) for place, pin in enumerate(trace.pins) if pin is None and outer[place] in own}
    eyes = [build.eye(trace.source.leaf.shape[place]) for place in spread]
    pairs = [outer[place] + letter for place, letter in spread.items()]
    result = [*(own[axis] for axis in trace.free), *(spread.get(place, axis) for place, axis in enumerate(outer))]
    return build.einsum(f"{','.join([through, read, *pairs])}->{''.join(result)}", step, before.leaf, *eyes)


def _letters(rank: int) -> tuple[str, Iterator[str]]:
    """Letters for the axes of an array, and those that are left."""
    return build.LETTERS[:rank], iter(build.LETTERS[rank:])


def _transposed(x: Value, order: Sequence[int]) -> Value:
    letters = build.LETTERS[: x.rank]
    return build.einsum(f"{letters}->{''.join(letters[axis] for axis in order)}", x)


def _exact(relation: Relation) -> Pins:
    return tuple(reach.axis if reach is not None and not reach.near else None for reach in relation)


def _joined(first: Pins, second: Pins) -> Pins:
    return tuple(a if a == b else None for a, b in zip(first, second, strict=True))


def _distinct(pins: Pins) -> Pins:
    """No axis twice: of a leaf that is read along its diagonal, one axis has the index, the other runs free."""
    return tuple(None if pin in pins[:place] else pin for place, pin in enumerate(pins))


def _unpinned(pins: Pins, rank: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(rank) if axis not in pins)
