"""Plots of the results of `grids.py`: time and memory over the side of the grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

Row = Mapping[str, Any]

STYLES = {"ours": "-", "node by node": ":", "published": "--"}
COLORS = {
    "ours, auto": "C0",
    "ours, dag": "C1",
    "ours, dag(8)": "C2",
    "node by node": "C7",
    "published, recurrent": "C3",
    "published, chunks of 4": "C4",
    "published, chunks of 8": "C5",
    "published, chunks of 16": "C6",
    "published, parallel": "C8",
}


def plot_all(rows: Sequence[Row], folder: Path) -> None:
    """Write grids_times.svg and grids_memory.svg."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lsrl"
    panels = [(framework, each) for framework in ("torch", "jax") for each in ("forward", "forward and backward")]
    _figure(rows, panels, _milliseconds, "milliseconds", folder / "grids_times.svg")
    _figure(rows, panels[1::2], _megabytes, "megabytes", folder / "grids_memory.svg")


def _milliseconds(row: Row) -> Iterator[tuple[str, float]]:
    yield from ((name, timing["median"] * 1e3) for name, timing in row["times"].items())
    yield from ((name, seconds * 1e3) for name, seconds in row["once"].items())


def _megabytes(row: Row) -> Iterator[tuple[str, float]]:
    yield from ((name, count / 1e6) for name, count in row["memory"].items())


def _figure(
    rows: Sequence[Row],
    panels: Sequence[tuple[str, str]],
    numbers: Callable[[Row], Iterator[tuple[str, float]]],
    unit: str,
    file: Path,
) -> None:
    """A row of panels for each size of memories."""
    sizes = sorted({row["size"] for row in rows})
    shape = (len(sizes), len(panels))
    figure, axes = plt.subplots(
        *shape, figsize=(3.1 * shape[1], 2.7 * shape[0]), sharex=True, sharey="row", squeeze=False
    )
    for size, line in zip(sizes, axes):
        for panel, axis in zip(panels, line):
            chosen = [row for row in rows if (row["framework"], row["pass"], row["size"]) == (*panel, size)]
            _panel(axis, chosen, numbers)
            axis.set_title(f"{', '.join(panel)}, {size} x {size}", fontsize=8)
        line[0].set_ylabel(unit)
    for axis in axes[-1]:
        axis.set_xlabel("side of the grid")
    lines = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()}
    named = [name for name in COLORS if name in lines]
    figure.legend([lines[name] for name in named], named, loc="lower center", ncols=5, fontsize=7)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _panel(axis: Any, rows: Sequence[Row], numbers: Callable[[Row], Iterator[tuple[str, float]]]) -> None:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in sorted(rows, key=lambda row: row["side"]):
        for name, number in numbers(row):
            label = "ours, auto" if name.startswith("ours, auto") else name
            found.setdefault(label, []).append((row["side"], number))
    for label, points in found.items():
        style = STYLES[label.partition(",")[0]]
        axis.plot(*zip(*points), style, color=COLORS[label], marker="o", markersize=2.5, linewidth=1.1, label=label)
    axis.set_xscale("log", base=2)
    sides = sorted({row["side"] for row in rows})
    axis.set_xticks(sides, map(str, sides))
    axis.set_yscale("log")
    axis.tick_params(labelsize=7)
