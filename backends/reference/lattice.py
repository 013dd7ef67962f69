"""Running a cell along a line or over a grid: one position after the other, all sequences of a batch at once.

Arrays are [B, *lengths, *shape], where the lengths are those of the cell's axes.  A state's value that arrives at a
position along an axis is the one passed on one step back on that axis, or at the edge of the lattice its initial
value.  A reversed state comes from one step ahead instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array, state_names
from lsrl.backends.evaluation.evaluate import Env, evaluate, run, split_loop
from lsrl.backends.evaluation.scope import Scope, at, places, spread
from lsrl.ir import ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.lines import line_of
from lsrl.ir.pipeline import Component, components
from lsrl.ir.value import Value


@dataclass(frozen=True)
class Sweep:
    """Everything that a run computes.

    Attributes:
        places: (B, *lengths).
        env: arrays of the leaves, of the values that arrive and are passed on by states, and of whatever else was
            needed; values that are the same everywhere have no places.
        borders: initial states by the names of `state_names`.
    """

    cell: Cell
    scope: Scope
    places: tuple[int, ...]
    env: Env
    borders: Mapping[str, Array]

    def at(self, value: Value, position: tuple[int, ...]) -> Array:
        """A known value at one position: [B, *shape], or [*shape] when it is the same everywhere."""
        array = self.env[value]
        return array[at(position)] if places(value, array) else array

    def everywhere(self, value: Value) -> Array:
        """A value at every position, [B, *lengths, *shape]."""
        return spread(value, evaluate([value], self.env, self.scope)[0], self.places)

    def axis(self, name: str) -> int:
        """Where an axis of the cell lies in an array of the sweep."""
        return self.cell.axes.index(name) + 1


def sweep(cell: Cell, scope: Scope, lead: tuple[int, ...], env: Env, given: Mapping[str, Array]) -> Sweep:
    """Run every recurrence of the cell, each after those it depends on.

    Args:
        lead: (B, *lengths).
        env: params [*shape], inputs and noises [B, *lengths, *shape]; is added to.
        given: initial states; the others start from their `init`.
    """
    borders = {
        name: given[name] if name in given else _start(state, axis, cell, scope, lead, env)
        for state in cell.states
        for name, axis in zip(state_names(state), state.axes)
    }
    swept = Sweep(cell, scope, lead, env, borders)
    for component in components(cell):
        _advance(swept, component)
    return swept


def final_states(swept: Sweep) -> dict[str, Array]:
    """What the last position along its axis passes on, for every state."""
    found: dict[str, Array] = {}
    for state in swept.cell.states:
        for name, axis in zip(state_names(state), state.axes):
            border, passed = swept.borders[name], swept.everywhere(state.next)
            along = swept.axis(axis)
            last = 0 if axis in state.reverse else -1
            found[name] = np.take(passed, last, along) if passed.shape[along] else border
    return found


def arriving(state: State) -> dict[str, Value]:
    """The leaves that stand for a state's value arriving along each of its axes."""
    return {axis: ops.state(state.name, axis, state.shape, state.kind, state.domain) for axis in state.axes}


def positions(lengths: Sequence[int], turned: Sequence[bool]) -> Iterator[tuple[int, ...]]:
    """Every position, each after those that it depends on; along `turned` axes that is from the end to the start."""
    for position in np.ndindex(*lengths):
        yield tuple(n - 1 - place if back else place for n, place, back in zip(lengths, position, turned))


def directions(cell: Cell, component: Component) -> tuple[bool, ...]:
    """Whether a recurrence runs from the end to the start, axis by axis of its cell."""
    return tuple(axis in component.reverse for axis in cell.axes)


def before(position: tuple[int, ...], axis: int, backward: bool) -> tuple[int, ...]:
    """The position that a state's value comes from along the cell's axis number `axis`; it may be outside."""
    step = 1 if backward else -1
    return tuple(place + step * (axis == number) for number, place in enumerate(position))


def inside(position: Sequence[int], lengths: Sequence[int]) -> bool:
    return all(0 <= place < n for place, n in zip(position, lengths))


def without(position: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The position on the border of an axis."""
    return position[:axis] + position[axis + 1 :]


def _start(state: State, axis: str, cell: Cell, scope: Scope, lead: tuple[int, ...], env: Env) -> Array:
    return spread(state.init, evaluate([state.init], env, scope)[0], without(lead, cell.axes.index(axis) + 1))


def _advance(swept: Sweep, component: Component) -> None:
    """Fill in what the component's states pass on and what arrives."""
    if component.cyclic or any(line_of(state) is not None for state in component.states):
        _loop(swept, component)
    for state in component.states:
        passed = swept.everywhere(state.next)
        for name, (axis, leaf) in zip(state_names(state), arriving(state).items()):
            swept.env[leaf] = _shifted(passed, swept.borders[name], swept.axis(axis), axis in state.reverse)


def _shifted(passed: Array, border: Array, axis: int, reverse: bool) -> Array:
    """What arrives: the initial value, then what was passed on, but for the last."""
    first = np.expand_dims(border, axis)
    parts = [passed, first] if reverse else [first, passed]
    count = passed.shape[axis]
    return np.asarray(np.take(np.concatenate(parts, axis), range(1, count + 1) if reverse else range(count), axis))


def _loop(swept: Sweep, component: Component) -> None:
    """Run the component's step at each position; what it needs from outside is computed before."""
    cell, scope, lead = swept.cell, swept.scope, swept.places
    nexts = [state.next for state in component.states]
    leaves = {leaf for state in component.states for leaf in arriving(state).values()}
    body, outside = split_loop(nexts, leaves)
    evaluate(outside, swept.env, scope)
    passed = {state.name: scope.zeros(lead, state.next) for state in component.states}
    for position in positions(lead[1:], directions(cell, component)):
        local = {value: swept.at(value, position) for value in outside}
        for state in component.states:
            for name, (axis, leaf) in zip(state_names(state), arriving(state).items()):
                number = cell.axes.index(axis)
                source = before(position, number, axis in state.reverse)
                at_border = not inside(source, lead[1:])
                array = swept.borders[name] if at_border else passed[state.name]
                local[leaf] = array[at(without(position, number) if at_border else source)]
        run(body, local, scope)
        for state in component.states:
            passed[state.name][at(position)] = local[state.next]
    swept.env.update(zip(nexts, passed.values()))
