"""Pulling cotangents back through all positions at once, and adding them up.

The graph of a step's adjoint comes from `lsrl.ir.adjoint`; here it is evaluated like any other value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.axes import contract
from lsrl.backends.evaluation.evaluate import Env, evaluate
from lsrl.backends.evaluation.scope import Scope, places, spread
from lsrl.ir import ops
from lsrl.ir.adjoint import cotangents
from lsrl.ir.infer import integer
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value, depends_on, postorder

VARYING = ("input", "noise", "state")


@dataclass
class Collected:
    """Cotangents of leaves at each place, and of values that are the same everywhere summed over places."""

    arrays: Env = field(default_factory=dict)

    def add(self, value: Value, array: Array) -> None:
        self.arrays[value] = self.arrays[value] + array if value in self.arrays else array

    def of(self, value: Value, lead: Sequence[int], scope: Scope) -> Array:
        """What has been collected for a value at every place, zeros when nothing has.

        A cotangent that is the same everywhere, such as that through a rounding, is collected without places.
        """
        nothing = scope.zeros(lead, value)
        return np.broadcast_to(self.arrays.get(value, nothing), nothing.shape)


def differentiable(value: Value) -> bool:
    return value.kind in (Kind.FLOAT, Kind.COMPLEX)


def seeds(roots: Iterable[Value]) -> tuple[Value, ...]:
    """A leaf for the cotangent of each root."""
    return tuple(
        ops.leaf("input", f"cotangent {number}", root.shape, root.kind, root.domain)
        for number, root in enumerate(roots)
    )


def varying_leaves(roots: Iterable[Value]) -> list[Value]:
    """The inputs, noises and states that the roots depend on and that have derivatives."""
    return [value for value in postorder(roots) if value.op in VARYING and differentiable(value)]


def statics(roots: Iterable[Value]) -> list[Value]:
    """Values computed from params alone that something varying uses, or that are roots themselves."""
    wanted = tuple(roots)
    varying = depends_on(wanted, lambda value: value.op in VARYING or family(value.op) is Family.GRAPH)
    learned = depends_on(wanted, lambda value: value.op == "param")
    used = [*wanted, *(arg for value in postorder(wanted) if value in varying for arg in value.args)]
    return [v for v in dict.fromkeys(used) if v in learned and v not in varying and differentiable(v)]


def pull(roots: Sequence[tuple[Value, Array]], wrt: Sequence[Value], env: Env, scope: Scope, into: Collected) -> None:
    """Add to `into` what the cotangents of the roots give to each value of `wrt`, taken as independent.

    Args:
        roots: values and their cotangents [*places, *shape].
        wrt: leaves, which receive theirs at each place, and static values, which receive the sum over places.
        env: arrays of the leaves and of whatever else is known.
    """
    chosen = [(root, array) for root, array in roots if differentiable(root)]
    values = [root for root, _ in chosen]
    given = seeds(values)
    local = env | {leaf: array for leaf, (_, array) in zip(given, chosen)}
    reachable = depends_on(values, set(wrt).__contains__)
    targets = [value for value in wrt if value in reachable]
    pulled = cotangents(values, given, targets, independent=True)
    for value, cotangent in zip(targets, pulled):
        if value.op in VARYING:
            into.add(value, evaluate([cotangent], local, scope)[0])
        else:
            into.add(value, total(cotangent, local, scope))


def total(value: Value, env: Env, scope: Scope) -> Array:
    """The sum of a value over all its places.

    A matrix's cotangent is a sum of outer products, a table's one of scattered rows: going over the places at once
    avoids one matrix or table per place.
    """
    return np.asarray(sum(_total_of_term(term, env, scope) for term in _terms(value)))


def _terms(value: Value) -> Iterator[Value]:
    stack = [value]
    while stack:
        term = stack.pop()
        if term.op == "add" and all(arg.shape == term.shape for arg in term.args):
            stack.extend(reversed(term.args))
        else:
            yield term


def _total_of_term(term: Value, env: Env, scope: Scope) -> Array:
    if term.op == "einsum" and len(term.args) == 2:
        left, right = evaluate(term.args, env, scope)
        at = places(term.args[0], left)
        if at and at == places(term.args[1], right):
            return _contracted(str(term.attr("spec")), left, right, len(at))
    if term.op == "scatter" and term.attr("batch") == 0:
        update, index = evaluate(term.args, env, scope)
        at = places(term.args[0], update)
        if at:
            return _scattered(term, update, spread(term.args[1], index, at), scope)
    array = evaluate([term], env, scope)[0]
    return np.asarray(array.sum(tuple(range(len(places(term, array))))))


def _contracted(spec: str, left: Array, right: Array, count: int) -> Array:
    """The sum over the first `count` axes of both operands, flattened to one."""
    (first, second), result = spec.split("->")[0].split(","), spec.split("->")[1]
    flat = [array.reshape(prod(array.shape[:count]), *array.shape[count:]) for array in (left, right)]
    return contract(f"Z{first},Z{second}->{result}", *flat)


def _scattered(term: Value, update: Array, index: Array, scope: Scope) -> Array:
    """The sum over all places of a scatter: their rows go into one table."""
    axis, first = integer(term.attr("axis")), len(places(term.args[0], update))
    spread_axes = index.ndim - first
    rows = np.moveaxis(update, range(first + axis, first + axis + spread_axes), range(first, index.ndim))
    table = scope.zeros((), term)
    picks = np.clip(index, 0, table.shape[axis] - 1)
    np.add.at(np.moveaxis(table, axis, 0), picks, rows)
    return table
