"""Back-propagation along a line or over a grid.

Cotangents run the other way.  What reaches a state's next value at a position comes from where that value arrives:
one step further along each of the state's axes, or the final state.  Inside a recurrence this is a loop over the
positions in reverse, with the step's adjoint; all the rest is pulled back through all positions at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array, state_names
from lsrl.backends.evaluation.evaluate import Env, evaluate, run, split_loop
from lsrl.backends.evaluation.scope import at
from lsrl.backends.reference.lattice import Sweep, arriving, before, directions, inside, positions, without
from lsrl.backends.reference.pullback import Collected, differentiable, pull, seeds, statics, varying_leaves
from lsrl.ir.adjoint import cotangents
from lsrl.ir.cell import State
from lsrl.ir.pipeline import Component, components
from lsrl.ir.value import Value


def pull_back(
    swept: Sweep, outputs: Sequence[tuple[Value, Array]], final: Mapping[str, Array]
) -> tuple[Collected, dict[str, Array]]:
    """The cotangents of a run's inputs and static values, and of its initial states.

    Args:
        outputs: the cotangent [B, *lengths, *shape] of each output's value.
        final: the cotangent of each final state, by the names of `state_names`; zero when missing.
    """
    roots = list(swept.cell.roots())
    targets = [*varying_leaves(roots), *statics(roots)]
    collected = Collected()
    initial: dict[str, Array] = {}
    pull(outputs, targets, swept.env, swept.scope, collected)
    for component in reversed(components(swept.cell)):
        states = [state for state in component.states if differentiable(state.next)]
        reached = {
            leaf: collected.of(leaf, swept.places, swept.scope).copy()
            for state in states
            for leaf in arriving(state).values()
        }
        passed = _loop(swept, component, states, reached, final)
        for state in states:
            for name, (axis, leaf) in zip(state_names(state), arriving(state).items()):
                initial[name] = _at_start(swept, state, axis, reached[leaf], final.get(name))
        others = [target for target in targets if target not in reached]
        pull(list(zip((state.next for state in states), passed)), others, swept.env, swept.scope, collected)
    return collected, initial


def _loop(
    swept: Sweep, component: Component, states: Sequence[State], reached: Env, final: Mapping[str, Array]
) -> list[Array]:
    """The cotangents of what each state passes on at each position.

    Args:
        states: the differentiable ones of the component.
        reached: by arriving leaf, the cotangents that come from outside the recurrence; those from inside are added.
    """
    nexts = [state.next for state in states]
    given = seeds(nexts)
    pulled = cotangents(nexts, given, list(reached), independent=True)
    body, outside = split_loop(pulled, {*reached, *given})
    evaluate(outside, swept.env, swept.scope)
    passed = [_at_end(swept, state, final) for state in states]
    for position in positions(swept.places[1:], [not turned for turned in directions(swept.cell, component)]):
        local = {value: swept.at(value, position) for value in (*outside, *reached)}
        for state, seed, array in zip(states, given, passed):
            _receive(swept, state, position, array, reached)
            local[seed] = array[at(position)]
        run(body, local, swept.scope)
        for leaf, cotangent in zip(reached, pulled):
            reached[leaf][at(position)] += local[cotangent]
    return passed


def _receive(swept: Sweep, state: State, position: tuple[int, ...], passed: Array, reached: Env) -> None:
    """Add what comes back from where the state's value went from this position."""
    for axis, leaf in arriving(state).items():
        number = swept.cell.axes.index(axis)
        step = position[number] - before(position, number, axis in state.reverse)[number]
        target = (*position[:number], position[number] + step, *position[number + 1 :])
        if inside(target, swept.places[1:]):
            passed[at(position)] += reached[leaf][at(target)]


def _at_end(swept: Sweep, state: State, final: Mapping[str, Array]) -> Array:
    """The cotangents that come from a state's final values, zero at all positions but the last."""
    array = swept.scope.zeros(swept.places, state.next)
    for name, axis in zip(state_names(state), state.axes):
        along = swept.axis(axis)
        if name in final and array.shape[along]:
            np.moveaxis(array, along, 0)[0 if axis in state.reverse else -1] += final[name]
    return array


def _at_start(swept: Sweep, state: State, axis: str, reached: Array, final: Array | None) -> Array:
    """What reaches the initial state; along an axis of length 0 that is the final state."""
    along = swept.axis(axis)
    if reached.shape[along]:
        return np.asarray(np.take(reached, -1 if axis in state.reverse else 0, along))
    return swept.scope.zeros(without(swept.places, along), state.next) + (0 if final is None else final)
