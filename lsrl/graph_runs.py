"""The graph that a program over a graph runs on: taken from NetworkX, checked, and prepared for an emitted module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from lsrl.backends.arrays import Array, ArrayError
from lsrl.ir.cell import GRAPH, Cell

KEPT = 16
"""How many graphs stay prepared, so that training does not prepare the same one in every step."""


def is_over_graph(cell: Cell) -> bool:
    """Whether a cell runs over a graph."""
    return cell.axes == (GRAPH,)


def with_edges(cell: Cell, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs, with the edges of a NetworkX graph as an array; its nodes are numbered in the order that it has.

    Raises:
        ArrayError: the graph has no directions; which ones it gets changes what is computed, so the user says it.
    """
    given: Any = inputs.get("edges") if is_over_graph(cell) else None
    if not (hasattr(given, "is_directed") and hasattr(given, "nodes")):
        return inputs
    if not given.is_directed():
        raise ArrayError("input edges: the graph has no directions; `lsrl.graphs.orient(graph, how=...)` gives it some")
    numbers = {node: number for number, node in enumerate(given.nodes)}
    pairs = [(numbers[edge[0]], numbers[edge[1]]) for edge in given.edges]
    return {**inputs, "edges": np.array(pairs, np.int64).reshape(-1, 2)}


def without_graph(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs but for those that say what the graph is."""
    return {name: array for name, array in inputs.items() if name not in ("edges", "turns")}


def prepared(module: ModuleType, inputs: Mapping[str, Any], nodes: int, device: Any = None) -> Any:
    """What the module's `prepare` makes of the edges and turns among the inputs.

    Args:
        device: where to, for PyTorch.

    Raises:
        ArrayError: an edge leads outside, a turn is none, edges form a cycle, or they are not known yet.
    """
    try:
        edges, turns = (_known(inputs[name]) if name in inputs else None for name in ("edges", "turns"))
        assert edges is not None
        flat = None if turns is None else turns.tobytes()
        return _prepared(module, edges.tobytes(), flat, nodes, device)
    except (TypeError, ValueError) as fault:
        raise ArrayError(str(fault)) from fault


def _known(array: Any) -> Array:
    """The numbers of an array of any framework.

    Raises:
        TypeError: it is traced, and has none yet.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    try:
        return np.ascontiguousarray(array, dtype=np.int64)
    except TypeError as traced:
        raise TypeError(
            "edges and turns are traced: their numbers decide what is computed, so take them from outside of the "
            "function that `jax.jit` transforms, or give the module's `apply` a graph that its `prepare` made"
        ) from traced


@lru_cache(maxsize=KEPT)
def _prepared(module: ModuleType, edges: bytes, turns: bytes | None, nodes: int, device: Any) -> Any:
    given = [None if each is None else np.frombuffer(each, np.int64).reshape(-1, 2).copy() for each in (edges, turns)]
    options = {} if device is None else {"device": device}
    return module.prepare(*given, nodes, **options)
