"""Operations between the nodes, edges and turns of a graph in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.axes import lowest
from lsrl.backends.evaluation.scope import Kernel, Scope, spread
from lsrl.backends.topology import Topology
from lsrl.ir.infer import GRAPH_SUMS
from lsrl.ir.value import Domain, Value


def _read(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """What is the same everywhere stays so."""
    array = args[0]
    return array if _placeless(value, array) else array[_topology(scope).places(str(value.attr("via")))]


def _sum_in(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """Nothing sums to 0."""
    return _collected(value, args[0], scope, np.add, 0)


def _max_in(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """The largest of nothing is -inf."""
    return _collected(value, args[0], scope, np.maximum, lowest(scope.dtype(value.kind)))


def _collected(value: Value, array: Array, scope: Scope, function: np.ufunc, unit: float) -> Array:
    via, topology = str(value.attr("via")), _topology(scope)
    source, target = GRAPH_SUMS[via]
    everywhere = spread(value.args[0], array, (topology.count(source),)) if _placeless(value, array) else array
    found = np.full((topology.count(target), *everywhere.shape[1:]), unit, scope.dtype(value.kind))
    function.at(found, topology.places(via), everywhere)
    return found[0] if target is Domain.NONE else found


def _placeless(value: Value, array: Array) -> bool:
    return array.ndim == value.args[0].rank


def _topology(scope: Scope) -> Topology:
    assert scope.topology is not None, "only a cell over a graph has nodes and edges"
    return scope.topology


KERNELS: Mapping[str, Kernel] = {"read": _read, "sum_in": _sum_in, "max_in": _max_in}
