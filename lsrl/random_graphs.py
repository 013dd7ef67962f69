"""Random directed acyclic graphs, and arrays for programs over them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.topology import make_topology
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Shape
from lsrl.ir.value import Domain, Kind
from lsrl.random_arrays import Drawn, random_array

EDGES_OF_NODE = 2.0  # in the mean
TURNS_KEPT = 0.8  # so that no code can take all for granted


def random_dag(generator: np.random.Generator, nodes: int, edges_of_node: float = EDGES_OF_NODE) -> Array:
    """Edges [E, 2] in any order, between nodes that are numbered in any order."""
    ranks = generator.permutation(nodes)
    pairs = np.argwhere(np.triu(generator.random((nodes, nodes)) < 2 * edges_of_node / max(nodes, 1), 1))
    return np.asarray(generator.permutation(ranks[pairs].reshape(-1, 2)))


def random_graph_arrays(
    cell: Cell, sizes: Mapping[str, int], nodes: int, seed: int = 0, edges: Array | None = None
) -> Drawn:
    """Params, inputs (noises, edges and turns among them) and no states, for a cell over a graph.

    Args:
        edges: [E, 2]; those of a random graph without them.
    """
    generator = np.random.default_rng(seed)
    edges = random_dag(generator, nodes) if edges is None else edges
    turns = make_topology(nodes, edges).turns
    turns = turns[generator.random(len(turns)) < TURNS_KEPT]
    counts = {Domain.NODE: (nodes,), Domain.EDGE: (len(edges),), Domain.TURN: (len(turns),), Domain.NONE: ()}

    def shape(dims: Shape, domain: Domain = Domain.NONE) -> tuple[int, ...]:
        return (*counts[domain], *(dim.evaluate(sizes) for dim in dims))

    params = {p.name: random_array(generator, shape(p.shape), p.kind) for p in cell.params}
    inputs: dict[str, Array] = {"edges": edges, "turns": turns}
    for declared in cell.inputs:
        bound = None if declared.bound is None else declared.bound.evaluate(sizes)
        inputs[declared.name] = random_array(generator, shape(declared.shape, declared.domain), declared.kind, bound)
    for noise in cell.noises:
        inputs[noise.name] = random_array(generator, shape(noise.shape, noise.domain), Kind.FLOAT)
    return params, inputs, {}
