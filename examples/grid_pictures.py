"""The pictures of docs/grids-and-graphs.md: what runs at once, and where pLSTM carries what one place writes.

python examples/grid_pictures.py [FOLDER]     writes grids_waves.svg and grids_modes.svg, by default to docs/images
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import lsrl
from lsrl import graphs

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 24
SOURCE = (1, 1)
BOX = (slice(9, 14), slice(9, 14))  # places that pass nothing on, in the second row of pictures
DECAYS = {"rr": 0.95, "dd": 0.95}
PANELS: tuple[tuple[str, str, Mapping[str, float], bool], ...] = (
    ("P-mode, a = 1/2", "plstm2d", {"a": 0.5, "gamma": 1}, False),
    ("P-mode, a = 3/4", "plstm2d", {"a": 0.75, "gamma": 1}, False),
    ("P-mode, a = 1/2, γ = 0.85", "plstm2d", {"a": 0.5, "gamma": 0.85}, False),
    ("P-mode, a = 1/2, around a box", "plstm2d", {"a": 0.5, "gamma": 1}, True),
    ("D-mode: down, then right", "plstm2d_d", {**DECAYS, "rd": 0.95}, True),
    ("D-mode, mirrored: right, then down", "plstm2d_d_mirrored", {**DECAYS, "dr": 0.95}, True),
)
EDGES = np.array([(0, 2), (1, 2), (1, 3), (2, 4), (2, 5), (3, 5), (4, 6), (5, 6), (3, 7), (5, 7)])
HEIGHTS = np.array([0.8, -0.6, 0.5, -0.9, 1.0, -0.1, 0.8, -0.8])  # of the nodes, so that no edges lie on each other


def impulse(program: str, transitions: Mapping[str, float], boxed: bool) -> Array:
    """What arrives at each place, along both axes, of 1 that `SOURCE` writes to both edges out of it, [SIDE, SIDE]."""
    ones, key = np.ones((1, SIDE, SIDE, 1)), np.zeros((1, SIDE, SIDE, 1))
    key[(0, *SOURCE)] = 1
    passing = ones.copy()
    passing[(0, *BOX)] = not boxed
    gates = {name: value * (ones if name == "a" else passing) for name, value in transitions.items()}
    given = {"q": ones[..., None], "k": key[..., None], "v": ones[..., None], "d": 0 * ones}
    given |= dict.fromkeys(("sr", "sd", "mr", "md"), ones)
    run = lsrl.compile(lsrl.load(f"std/{program}"), target="reference", sizes={"N": 1, "K": 1, "V": 1})
    return np.asarray(run({}, {**given, **gates}).outputs["o"][0, :, :, 0, 0])


def draw_modes(path: Path) -> None:
    """The impulse responses of `PANELS`; darker is more, by orders of magnitude."""
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
    for axis, (title, program, transitions, boxed) in zip(axes.flat, PANELS):
        found = impulse(program, transitions, boxed)
        shown = np.where(found > 0, np.log10(np.maximum(found, 1e-12)), np.nan)
        image = axis.imshow(shown, cmap="viridis_r", vmin=-4, vmax=0)
        axis.plot(SOURCE[1], SOURCE[0], "o", color="tab:red", markersize=4)
        if boxed:
            rows, columns = BOX
            corner = (columns.start - 0.5, rows.start - 0.5)
            axis.add_patch(plt.Rectangle(corner, 5, 5, fill=False, edgecolor="tab:red", linewidth=1))
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(image, ax=axes, shrink=0.6, label="log10 of what arrives")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_waves(path: Path) -> None:
    """A grid whose places are coloured by their wave, and a graph whose nodes are coloured by their level."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    rows, columns = np.mgrid[0:5, 0:7]
    grid, _ = graphs.grid(5, 7)
    places = np.stack([columns.ravel(), -rows.ravel()], 1).astype(float)
    _draw(left, places, grid.edges, graphs.levels(grid))
    left.set_title("a grid: places of one colour run at once", fontsize=9)
    graph = graphs.make(EDGES)
    level = graphs.levels(graph)
    _draw(right, np.stack([2.0 * level, HEIGHTS], 1), graph.edges, level)
    right.set_title("a graph: nodes of one colour run at once", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw(axis: Any, places: Array, edges: Array, level: Array) -> None:
    for start, end in edges:
        arrow = {"arrowstyle": "-|>", "color": "0.6", "shrinkA": 8, "shrinkB": 8, "linewidth": 0.8}
        axis.annotate("", places[end], places[start], arrowprops=arrow)
    axis.scatter(*places.T, c=level, cmap="viridis", s=150, zorder=2)
    dark = level < 0.6 * level.max()
    for place, number, inverse in zip(places, level, dark):
        axis.annotate(str(number), place, ha="center", va="center", fontsize=7, color="white" if inverse else "black")
    axis.margins(0.08)
    axis.axis("off")


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = Path(__file__).parents[1] / "docs/images"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lsrl"
    draw_waves(folder / "grids_waves.svg")
    draw_modes(folder / "grids_modes.svg")


if __name__ == "__main__":
    main()
