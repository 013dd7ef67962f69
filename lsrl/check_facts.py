"""Facts about recurrences held against numbers: a step in float64, its Jacobian, and what its forms say.

Numerical derivatives are central differences with a step of 1e-6, so what is claimed to be zero may be 1e-7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir.cell import Cell
from lsrl.ir.facts.bounds import step_bounds
from lsrl.ir.facts.chains import composed
from lsrl.ir.facts.linear import materialise
from lsrl.ir.facts.recurrence import Recurrence, recurrences
from lsrl.ir.facts.relations import relations
from lsrl.ir.facts.semiring import rebuilt
from lsrl.ir.facts.structure import Along, AxisStructure, Structure, Transition
from lsrl.ir.value import Kind, Value, postorder
from lsrl.random_arrays import random_array

STEP = 1e-6
NUMERICAL = 1e-7  # of a derivative that is zero
EXACT = 1e-10
SLACK = 1e-9
STEPS = 6  # from the declared start, for bounds

Point = dict[Value, Array]


@dataclass(frozen=True, slots=True)
class Check:
    """A claim, and how far numbers are from it.

    Attributes:
        subject: the state or value that it is about.
        error, allowed: the largest difference, absolute or relative to the claim.
    """

    subject: str
    claim: str
    error: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.error <= self.allowed


def check_facts(cell: Cell, sizes: Mapping[str, int], seed: int = 0) -> Iterator[Check]:
    """All that is claimed about the recurrences of a cell, at a random point."""
    scope, generator = Scope(sizes), np.random.default_rng(seed)
    point = random_point(cell, scope, generator)
    for found in recurrences(cell):
        yield from _forms(found, point, scope)
        if all(state.kind in (Kind.FLOAT, Kind.COMPLEX) for state in found.states):
            yield from _jacobians(found, point, scope)
    yield from _bounds(cell, scope, generator)


def random_point(cell: Cell, scope: Scope, generator: np.random.Generator) -> Point:
    """Arrays for the leaves of a step."""
    bounds = {each.name: each.bound for each in cell.inputs}
    tossed = {noise.name for noise in cell.noises if noise.draw.name == "bernoulli"}
    point: Point = {}
    for leaf in postorder(cell.all_roots()):
        if leaf.op in ("input", "param", "noise", "state"):
            bound = bounds.get(str(leaf.attr("name"))) if leaf.op == "input" else None
            most = None if bound is None else bound.evaluate(scope.sizes)
            array = random_array(generator, scope.shape(leaf.shape), leaf.kind, most)
            point[leaf] = np.asarray(array > 0, float) if leaf.attr("name") in tossed else array
    return point


def value_at(value: Value, point: Mapping[Value, Array], scope: Scope) -> Array:
    """A value where the leaves have these values."""
    return evaluate([value], dict(point), scope)[0]


def slope(value: Value, leaf: Value, place: tuple[int, ...], point: Mapping[Value, Array], scope: Scope) -> Array:
    """The derivative of a value by one element of a state, by central differences."""
    ends = []
    for sign in (1, -1):
        moved = point[leaf].copy()
        moved[place] += sign * STEP
        ends.append(value_at(value, {**point, leaf: moved}, scope))
    return np.asarray((ends[0] - ends[1]) / (2 * STEP))


def _forms(found: Recurrence, point: Point, scope: Scope) -> Iterator[Check]:
    """What is built anew from a form equals the next value itself."""
    for state in found.states:
        rebuilds = {"an affine form": materialise(found.forms[state.name])} if state.name in found.forms else {}
        rebuilds |= {"a chain of maps": composed(found.chains[state.name])} if state.name in found.chains else {}
        rebuilds |= {str(found.algebra): rebuilt(found.semiring)} if found.semiring else {}
        if state.name in found.semirings:
            rebuilds |= {str(found.algebra): rebuilt(found.semirings[state.name])}
        expected = value_at(state.next, point, scope)
        if np.all(np.isfinite(expected)):
            for name, value in rebuilds.items():
                error = _relative(value_at(value, point, scope), expected)
                yield Check(state.name, f"its step is {name}", error, EXACT)


def _relative(found: Array, expected: Array) -> float:
    """The largest difference, of numbers above 1 relative to them; infinite where it is no number."""
    differences = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    return float(np.max(np.where(np.isnan(differences), np.inf, differences), initial=0.0))


def _jacobians(found: Recurrence, point: Point, scope: Scope) -> Iterator[Check]:
    """Zero where relations say so, of the claimed structure along each axis where the recurrence is affine."""
    names = [state.name for state in found.states]
    for leaf in found.leaves:
        for state in found.states:
            shape = point[leaf].shape
            columns = [slope(state.next, leaf, place, point, scope) for place in np.ndindex(shape)]
            if not all(np.all(np.isfinite(column)) for column in columns):
                continue
            jacobian = np.stack(columns, -1).reshape((*value_at(state.next, point, scope).shape, *shape))
            relation = relations(state.next, names).get(str(leaf.attr("name")))
            subject = f"{state.name}' by {leaf.attr('name')}"
            if relation is None:
                yield Check(subject, "the Jacobian is zero", _largest(jacobian), 0.0)
                continue
            reaches = [(axis, reach.axis) for axis, reach in enumerate(relation) if reach and not reach.near]
            for axis, kept in reaches:
                claim = f"elements along axis {axis} do not meet"
                yield Check(subject, claim, _largest(_off_diagonal(jacobian, axis, kept)), NUMERICAL)
            if leaf in found.structures and leaf.attr("name") == state.name:
                yield from structure_checks(state.name, found.structures[leaf], jacobian)


def _off_diagonal(jacobian: Array, axis: int, kept: int) -> Array:
    """Elements of a Jacobian [*value, *state] whose places along an axis of the state and of the value differ."""
    rank = jacobian.ndim // 2
    matrices = np.moveaxis(jacobian, (kept, rank + axis), (-2, -1))
    return np.asarray(matrices[..., ~np.eye(matrices.shape[-1], dtype=bool)])


def structure_checks(name: str, claimed: Structure, jacobian: Array) -> Iterator[Check]:
    """A Jacobian [*shape, *shape] against what is claimed of each axis."""
    if claimed.kind is Transition.NONE:
        yield Check(name, "there is no transition", _largest(jacobian), NUMERICAL)
    for axis, each in enumerate(claimed.axes):
        matrices = np.moveaxis(jacobian, (axis, len(claimed.axes) + axis), (-2, -1))
        yield from _axis_checks(f"{name}, axis {axis}", each, matrices)


def _axis_checks(subject: str, claimed: AxisStructure, matrices: Array) -> Iterator[Check]:
    n = matrices.shape[-1]
    claim = f"the transition is {claimed.along.value}"
    match claimed.along:
        case Along.NONE:
            yield Check(subject, claim, _largest(matrices), NUMERICAL)
        case Along.IDENTITY | Along.DIAGONAL:
            yield Check(subject, claim, _largest(matrices[..., ~np.eye(n, dtype=bool)]), NUMERICAL)
        case Along.LOW_RANK:
            corner = matrices[..., : n // 2, n // 2 :]
            excess = np.linalg.matrix_rank(corner, tol=1e-6) - claimed.rank
            yield Check(subject, f"{claim} of at most {claimed.rank}", max(0.0, float(np.max(excess, initial=0))), 0.0)
    if claimed.base is Along.IDENTITY and claimed.along is Along.IDENTITY:
        diagonals = np.diagonal(matrices, axis1=-2, axis2=-1)
        error = _relative(diagonals, diagonals[..., :1])
        yield Check(subject, "the transition is a scalar", error, NUMERICAL)


def _bounds(cell: Cell, scope: Scope, generator: np.random.Generator) -> Iterator[Check]:
    """Every value of some steps from the declared start is within its bounds."""
    claimed = {v: bounds for v, bounds in step_bounds(cell).items() if v.kind in (Kind.FLOAT, Kind.INT)}
    beyond = dict.fromkeys(claimed, 0.0)
    starts = {state.name: value_at(state.init, random_point(cell, scope, generator), scope) for state in cell.states}
    for _ in range(STEPS):
        point = random_point(cell, scope, generator)
        point |= {leaf: starts[str(leaf.attr("name"))] for leaf in point if leaf.op == "state"}
        evaluate(list(cell.roots()), point, scope)
        for value, bounds in claimed.items():
            array = point[value][np.isfinite(point[value])]
            excess = np.maximum(bounds.low - array, array - bounds.high) / np.maximum(1, np.abs(array))
            beyond[value] = max(beyond[value], float(np.max(excess, initial=0.0)))
        starts = {state.name: point[state.next] for state in cell.states}
    for value, error in beyond.items():
        if claimed[value].low > -np.inf or claimed[value].high < np.inf:
            yield Check(cell.names.get(value, value.op), f"it stays in {claimed[value]}", error, SLACK)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))
