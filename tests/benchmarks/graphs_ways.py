"""pLSTM over a graph: ours, and the published implementation's loop over edges.

Everything is a function of q, k [nodes, N, K], v [nodes, N, V], d [nodes, N], the gates s, m [edges, N] and t
[turns, N], as `std/plstm_graph` has them; what it gives is [nodes, N, V].
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import published
from ways import Arrays, Way

import lsrl
from lsrl import graphs

PROGRAM = "std/plstm_graph"
TARGETS = {"torch": "triton", "jax": "jax"}
EDGES_OF_NODE = 2  # of a random graph, in the mean


def random_graph(nodes: int) -> nx.DiGraph:
    """A random graph, each pair of nodes an edge with the same probability, from the lower number to the higher."""
    rng = np.random.default_rng(0)
    chosen = np.triu(rng.random((nodes, nodes)) < 2 * EDGES_OF_NODE / nodes, 1)
    return _numbered(nodes, np.argwhere(chosen))


def grid(side: int) -> nx.DiGraph:
    """A grid of side x side nodes, to the right and down."""
    made, _ = graphs.grid(side, side)
    return _numbered(made.nodes, made.edges)


def path(nodes: int) -> nx.DiGraph:
    """Node after node."""
    return _numbered(nodes, np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1))


def molecules(count: int, atoms: int = 20, rings: int = 2) -> nx.DiGraph:
    """Random trees with a few more bonds, side by side; from lower to higher numbers."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        tree = nx.random_labeled_tree(atoms, seed=number)
        tree.add_edges_from(rng.choice(atoms, 2, replace=False).tolist() for _ in range(rings))
        pairs += [sorted((number * atoms + a, number * atoms + b)) for a, b in tree.edges]
    return _numbered(count * atoms, np.array(pairs))


def _numbered(nodes: int, edges: np.ndarray) -> nx.DiGraph:
    found = nx.DiGraph()
    found.add_nodes_from(range(nodes))
    found.add_edges_from(edges.tolist())
    return found


def prepared(folder: Path, graph: nx.DiGraph) -> tuple[Any, graphs.Graph]:
    """What the published code prepares of a graph, all turns among it, and the same graph in our terms.

    Edges and turns are numbered as there: edges so that each comes after those it needs.
    """
    theirs = published.load(folder, "plstm.graph").PreparedGraph.create(graph, mode="P")
    numbers = theirs.ldag_idx_map
    turns = [(numbers[before], numbers[after]) for before, after in theirs.ldag_edge_idx_map]
    return theirs, graphs.make(np.array([*numbers]), graph.number_of_nodes(), np.array(turns).reshape(-1, 2))


def draw(graph: graphs.Graph, size: int, dtype: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs and a cotangent: one head, memories of size x size, the turns of each edge with weights that sum to 1."""
    rng = np.random.default_rng(0)
    edges = len(graph.edges)
    found = {name: rng.normal(size=(graph.nodes, 1, size)) for name in "qkv"}
    found |= {"d": rng.random((graph.nodes, 1)), "s": rng.random((edges, 1)), "m": rng.random((edges, 1))}
    found["t"] = graphs.normalise(graph, 0.1 + rng.random(len(graph.turns)))[:, None]
    cotangent = rng.normal(size=(graph.nodes, 1, size))
    return {name: array.astype(dtype) for name, array in found.items()}, cotangent.astype(dtype)


def own(framework: str, graph: graphs.Graph, arrays: Arrays) -> Iterator[Way]:
    """What `auto` takes for this program."""
    size = arrays["q"].shape[-1]
    program, sizes = lsrl.load(PROGRAM), {"N": 1, "K": size, "V": size}
    made = lsrl.compile(program, TARGETS[framework], sizes, dtype=str(arrays["q"].dtype), device="cpu")
    yield Way("ours", framework, lambda inputs: made({}, {**inputs, **graph.inputs}).outputs["o"])


def theirs(folder: Path, prepared: Any) -> Iterator[Way]:
    """The published function, which is one of PyTorch alone.  It leaves out the scale of its own grids."""
    function = published.load(folder, "plstm.torch.plstm_graph").plstm_graph
    maps = (prepared.ldag, prepared.ldag_idx_map, prepared.ldag_edge_idx_map)

    def run(inputs: dict[str, Any]) -> Any:
        found = function(*(inputs[name] for name in ("q", "k", "v", "s", "t", "m", "d")), *maps)
        return found / inputs["q"].shape[-1] ** 0.5

    yield Way("published", "torch", run, _heads_first, _heads_second)


def _heads_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, 1, 0))


def _heads_second(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 0, 1)
