"""Graphs in files: `edges`, and `turns` where only some pairs of edges are any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lsrl.array_files import read_arrays
from lsrl.backends.arrays import Array, ArrayError
from lsrl.backends.topology import Topology, make_topology

GRAPH_ARRAYS = ("edges", "turns")


def read_graph(path: Path) -> Topology:
    """The graph of a file of arrays; its nodes are those that edges mention.

    Raises:
        ArrayError: there is no `edges`, something is not of whole numbers, or an edge or turn is none; names it.
        FileError, OSError: it cannot be read as arrays.
    """
    arrays = read_arrays(path)
    if "edges" not in arrays:
        raise ArrayError(f"{path}: there is no array `edges` [edges, 2], the nodes from and to; found {_names(arrays)}")
    edges, turns = (_numbers(path, name, arrays.get(name)) for name in GRAPH_ARRAYS)
    assert edges is not None, "it is there"
    try:
        return make_topology(int(edges.max(initial=-1)) + 1, edges, turns)
    except ArrayError as fault:
        raise ArrayError(f"{path}: {fault}") from None


def _numbers(path: Path, name: str, array: Array | None) -> Array | None:
    if array is not None and array.dtype.kind not in "iu":
        raise ArrayError(f"{path}: {name}: expected whole numbers, found {array.dtype}")
    return None if array is None else array.astype(np.int64)


def _names(arrays: Mapping[str, Array]) -> str:
    return ", ".join(arrays) or "none"
