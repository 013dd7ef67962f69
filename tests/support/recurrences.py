"""Facts about recurrences held against numbers: a step in float64, its Jacobian, and what its forms say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.bounds import step_bounds
from lsrl.ir.facts.chains import composed
from lsrl.ir.facts.linear import materialise
from lsrl.ir.facts.recurrence import Recurrence, recurrences
from lsrl.ir.facts.relations import relations
from lsrl.ir.facts.semiring import rebuilt
from lsrl.ir.facts.structure import Along, Structure, Transition
from lsrl.ir.value import Kind, Value, postorder
from support.running import random_array

STEP = 1e-6


def check_recurrences(cell: Cell, sizes: Mapping[str, int], seed: int = 0) -> tuple[Recurrence, ...]:
    """Compare all that is claimed about the recurrences of a cell with numbers at a random point."""
    scope, generator = Scope(sizes), np.random.default_rng(seed)
    point = random_point(cell, scope, generator)
    found = recurrences(cell)
    for each in found:
        _check_forms(each, point, scope)
        if all(state.kind in (Kind.FLOAT, Kind.COMPLEX) for state in each.states):
            _check_jacobian(each, point, scope)
    check_bounds(cell, scope, generator)
    return found


def random_point(cell: Cell, scope: Scope, generator: np.random.Generator) -> dict[Value, Array]:
    """Arrays for the leaves of a step."""
    bounds = {each.name: each.bound for each in cell.inputs}
    tossed = {noise.name for noise in cell.noises if noise.draw.name == "bernoulli"}
    point: dict[Value, Array] = {}
    for leaf in postorder(cell.all_roots()):
        if leaf.op in ("input", "param", "noise", "state"):
            bound = bounds.get(str(leaf.attr("name"))) if leaf.op == "input" else None
            most = None if bound is None else bound.evaluate(scope.sizes)
            array = random_array(generator, scope.shape(leaf.shape), leaf.kind, most)
            point[leaf] = np.asarray(array > 0, float) if leaf.attr("name") in tossed else array
    return point


def value_at(value: Value, point: Mapping[Value, Array], scope: Scope) -> Array:
    return evaluate([value], dict(point), scope)[0]


def _check_forms(found: Recurrence, point: Mapping[Value, Array], scope: Scope) -> None:
    """What is built anew from a form equals the next value itself."""
    for state in found.states:
        rebuilds = [materialise(found.forms[state.name])] if state.name in found.forms else []
        rebuilds += [composed(found.chains[state.name])] if state.name in found.chains else []
        rebuilds += [rebuilt(found.semiring)] if found.semiring else []
        expected = value_at(state.next, point, scope)
        if not np.all(np.isfinite(expected)):
            continue
        for value in rebuilds:
            np.testing.assert_allclose(value_at(value, point, scope), expected, rtol=1e-10, atol=1e-10)


def slope(value: Value, leaf: Value, place: tuple[int, ...], point: Mapping[Value, Array], scope: Scope) -> Array:
    """The derivative of a value by one element of a state, by central differences."""
    ends = []
    for sign in (1, -1):
        moved = point[leaf].copy()
        moved[place] += sign * STEP
        ends.append(value_at(value, {**point, leaf: moved}, scope))
    return np.asarray((ends[0] - ends[1]) / (2 * STEP))


def _check_jacobian(found: Recurrence, point: Mapping[Value, Array], scope: Scope) -> None:
    """Zero where relations say so, of the claimed structure along each axis where the recurrence is affine."""
    names = [state.name for state in found.states]
    for leaf in found.leaves:
        for state in found.states:
            shape = point[leaf].shape
            columns = [slope(state.next, leaf, place, point, scope) for place in np.ndindex(shape)]
            if not all(np.all(np.isfinite(column)) for column in columns):
                continue
            _check_sparsity(state, names, leaf, columns, shape)
            if leaf in found.structures and leaf.attr("name") == state.name:
                whole = np.stack(columns, -1).reshape((*columns[0].shape, *shape))
                check_structure(found.structures[leaf], whole)


def _check_sparsity(state: State, names: list[str], leaf: Value, columns: list[Array], shape: tuple[int, ...]) -> None:
    relation = relations(state.next, names).get(str(leaf.attr("name")))
    for place, column in zip(np.ndindex(shape), columns):
        if relation is None:
            assert np.all(column == 0)
            continue
        for axis, reach in enumerate(relation):
            if reach is not None and not reach.near:
                others = np.delete(column, place[axis], reach.axis)
                np.testing.assert_allclose(others, 0, atol=1e-7)


def check_structure(claimed: Structure, jacobian: Array) -> None:
    """A Jacobian [*shape, *shape] against what is claimed of each axis."""
    rank = len(claimed.axes)
    if claimed.kind is Transition.NONE:
        np.testing.assert_allclose(jacobian, 0, atol=1e-7)
    for axis, each in enumerate(claimed.axes):
        matrices = np.moveaxis(jacobian, (axis, rank + axis), (-2, -1))
        n = matrices.shape[-1]
        off = ~np.eye(n, dtype=bool)
        match each.along:
            case Along.NONE:
                np.testing.assert_allclose(matrices, 0, atol=1e-7)
            case Along.IDENTITY | Along.DIAGONAL:
                np.testing.assert_allclose(matrices[..., off], 0, atol=1e-7)
            case Along.LOW_RANK:
                corner = matrices[..., : n // 2, n // 2 :]
                assert np.all(np.linalg.matrix_rank(corner, tol=1e-6) <= each.rank)
        if each.base is Along.IDENTITY and each.along is Along.IDENTITY:
            diagonals = np.diagonal(matrices, axis1=-2, axis2=-1)
            np.testing.assert_allclose(diagonals, diagonals[..., :1] + 0 * diagonals, atol=1e-7)


def check_bounds(cell: Cell, scope: Scope, generator: np.random.Generator, length: int = 6) -> None:
    """Every value of some steps from the declared start is within its bounds."""
    claimed = step_bounds(cell)
    bounded = {value: bounds for value, bounds in claimed.items() if value.kind in (Kind.FLOAT, Kind.INT)}
    starts = {state.name: value_at(state.init, random_point(cell, scope, generator), scope) for state in cell.states}
    for _ in range(length):
        point = random_point(cell, scope, generator)
        point |= {leaf: starts[str(leaf.attr("name"))] for leaf in point if leaf.op == "state"}
        env = dict(point)
        evaluate(list(cell.roots()), env, scope)
        for value, bounds in bounded.items():
            array = env[value][np.isfinite(env[value])]
            slack = 1e-9 * np.maximum(1, np.abs(array))
            assert np.all(array >= bounds.low - slack), (value, bounds)
            assert np.all(array <= bounds.high + slack), (value, bounds)
        starts = {state.name: env[state.next] for state in cell.states}
