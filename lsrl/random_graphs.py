"""Random directed acyclic graphs, and arrays for programs over them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.topology import Topology, make_topology
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Shape
from lsrl.ir.value import Domain, Kind
from lsrl.random_arrays import Drawn, random_array

EDGES_OF_NODE = 2.0  # in the mean
TURNS_KEPT = 0.8  # so that no code can take all for granted


def random_dag(generator: np.random.Generator, nodes: int, edges_of_node: float = EDGES_OF_NODE) -> Array:
    """Edges [E, 2] in any order, between nodes that are numbered in any order."""
    ranks = generator.permutation(nodes)
    drawn = generator.integers(0, max(nodes, 1), (round(nodes * edges_of_node), 2)) if nodes else np.zeros((0, 2), int)
    pairs = np.unique(np.sort(drawn, 1), axis=0)
    return np.asarray(generator.permutation(ranks[pairs[pairs[:, 0] < pairs[:, 1]]].reshape(-1, 2)))


def random_graph(generator: np.random.Generator, nodes: int) -> Topology:
    """A random graph in which some turns are missing."""
    edges = random_dag(generator, nodes)
    turns = make_topology(nodes, edges).turns
    return make_topology(nodes, edges, turns[generator.random(len(turns)) < TURNS_KEPT])


def random_graph_arrays(
    cell: Cell, sizes: Mapping[str, int], nodes: int, seed: int = 0, graph: Topology | None = None
) -> Drawn:
    """Params, inputs (noises, edges and turns among them) and no states, for a cell over a graph.

    Args:
        nodes: of a random graph, which lacks some turns; it counts where there is no `graph`.
    """
    generator = np.random.default_rng(seed)
    graph = random_graph(generator, nodes) if graph is None else graph
    edges, turns = graph.edges, graph.turns

    def shape(dims: Shape, domain: Domain = Domain.NONE) -> tuple[int, ...]:
        return (*((graph.count(domain),) if domain else ()), *(dim.evaluate(sizes) for dim in dims))

    params = {p.name: random_array(generator, shape(p.shape), p.kind) for p in cell.params}
    inputs: dict[str, Array] = {"edges": edges, "turns": turns}
    for declared in cell.inputs:
        bound = None if declared.bound is None else declared.bound.evaluate(sizes)
        inputs[declared.name] = random_array(generator, shape(declared.shape, declared.domain), declared.kind, bound)
    for noise in cell.noises:
        inputs[noise.name] = random_array(generator, shape(noise.shape, noise.domain), Kind.FLOAT)
    return params, inputs, {}
