"""pLSTM over graphs against the published implementation's loop over edges, as ratios within one run.

    git clone https://github.com/ml-jku/plstm
    python tests/benchmarks/graphs.py --plstm plstm [--quick] [--device cuda] [-o FILE.json]

All is done as `grids.py` does it.  The published code has its graphs in PyTorch alone: beside it stand ours in both
frameworks.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import graphs_ways
import numpy as np
import published
from comparing import Bench, Case, check, compare, save
from probing import preload
from ways import Arrays, prepare_process

import lsrl
from lsrl.measure import machine

HERE = Path(__file__).parent
PACKAGES = ("jax", "torch", "triton", "numpy", "networkx")
KEYS = ("size", "graph", "pass")
GRAPHS = {
    "random graph, 1000 nodes": partial(graphs_ways.random_graph, 1000),
    "grid, 16 x 16": partial(graphs_ways.grid, 16),
    "32 molecules of 20 atoms": partial(graphs_ways.molecules, 32),
    "path, 1000 nodes": partial(graphs_ways.path, 1000),
}
SMALL = partial(graphs_ways.molecules, 3, 5)
QUICK = ("grid, 16 x 16",)
SIZES = (16, 64)


def case(folder: Path, device: str, graph: Any, size: int, dtype: str) -> Case:
    """Every way on a graph."""
    prepared, made = graphs_ways.prepared(folder, graph())
    arrays, cotangent = graphs_ways.draw(made, size, dtype)
    frameworks = ("torch", "jax") if device == "cpu" else ("torch",)
    own = (way for framework in frameworks for way in graphs_ways.own(framework, made, arrays))
    found = (*own, *graphs_ways.theirs(folder, prepared))
    return Case({f"{way.name}, {way.framework}": way for way in found}, arrays, cotangent)


def reference(folder: Path, graph: Any, arrays: Arrays, cotangent: np.ndarray) -> Arrays:
    """The output, named "", and the gradients by all inputs."""
    sizes = {"N": 1, "K": arrays["k"].shape[-1], "V": arrays["v"].shape[-1]}
    made = lsrl.compile(lsrl.load(graphs_ways.PROGRAM), "reference", sizes)
    inputs = {**arrays, **graphs_ways.prepared(folder, graph())[1].inputs}
    gradients = made.gradients({}, inputs, cotangents={"o": cotangent}).inputs
    return {"": made({}, inputs).outputs["o"], **{name: gradients[name] for name in arrays}}


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plstm", type=Path, required=True, help="a clone of github.com/ml-jku/plstm")
    parser.add_argument("--quick", action="store_true", help="one graph, a minute in all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: PyTorch alone")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each way, about")
    parser.add_argument("-o", type=Path, help="default: tests/benchmarks/results/graphs_DEVICE.json")
    given = parser.parse_args()
    bench = Bench(given.device, prepare_process(given.device), given.seconds)
    file = given.o or HERE / "results" / f"graphs_{given.device}.json"
    about = {"machine": machine(*PACKAGES), "published": published.commit(given.plstm)}
    preload(["lsrl.compiled", "torch", "networkx"])
    small = partial(case, given.plstm, given.device, SMALL, 3, "float64")
    check(small, partial(reference, given.plstm, SMALL), given.device)
    for name in QUICK if given.quick else GRAPHS:
        _, graph = graphs_ways.prepared(given.plstm, GRAPHS[name]())
        counts = {"nodes": graph.nodes, "edges": len(graph.edges), "turns": len(graph.turns)}
        for size in SIZES[:1] if given.quick else SIZES:
            make = partial(case, given.plstm, given.device, GRAPHS[name], size, "float32")
            about_row = {"graph": name, "size": size, **counts}
            rows = [about_row | row for row in compare(f"{name}, {size} x {size}", make, bench, {})]
            save(file, rows, KEYS, about)


if __name__ == "__main__":
    main()
