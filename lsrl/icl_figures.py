"""Figures of approximations and of experiments."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.files import write_bytes
from lsrl.icl_prompts import Grid, Table
from lsrl.ir.fault import Refusal


class FigureError(Refusal):
    """Figures cannot be drawn here."""


try:
    import matplotlib as mpl
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ModuleNotFoundError as missing:
    raise FigureError("figures are drawn by matplotlib, which is not installed") from missing

POINTS = 256
"""Of a curve; of a plane along each axis there are a quarter of them."""

TICKS = 8
"""So many numbers along x are written out."""

Curves = Mapping[str, Sequence[tuple[float, float]]]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG: the same bytes for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_bytes(path, buffer.getvalue())


@dataclass(frozen=True, eq=False)
class Both:
    """A function and its approximation on a box: values [n, E] at points [n, D]; the bound of their distance."""

    grid: Grid
    function: Callable[[Array], Array]
    network: Callable[[Array], Array]
    bound: float


def approximation_figure(found: Both, title: str) -> Figure:
    """A function of one number as curves, of two as planes, of more as values against what is meant."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    match found.grid.dimension:
        case 1:
            _draw_curves(found, figure.subplots(1, 2))
        case 2:
            _draw_planes(found, figure)
        case _:
            _draw_scatter(found, figure.subplots())
    figure.suptitle(title, fontsize=9)
    return figure


def _draw_curves(found: Both, axes: Array) -> None:
    points = np.linspace(found.grid.lower, found.grid.upper, POINTS)
    meant, made = found.function(points), found.network(points)
    axes[0].plot(points[:, 0], meant, color="0.6", linewidth=3, label="function")
    axes[0].plot(points[:, 0], made, linewidth=1, label="network")
    axes[0].legend(*_first_labels(axes[0]))
    axes[1].plot(points[:, 0], np.linalg.norm(made - meant, axis=-1), linewidth=1)
    axes[1].axhline(found.bound, color="tab:red", linestyle="--", label="bound")
    axes[1].legend()
    for axis, title in zip(axes, ("value", "error")):
        axis.set(xlabel="x", ylabel=title)


def _first_labels(axis: Axes) -> tuple[list[Artist], list[str]]:
    """Of curves with several components one entry each."""
    handles, labels = axis.get_legend_handles_labels()
    entries = dict(zip(labels, handles))
    return list(entries.values()), list(entries)


def _draw_planes(found: Both, figure: Figure) -> None:
    """The first component, and the distance of all."""
    grid, count = found.grid, POINTS // 4
    sides = [np.linspace(low, high, count) for low, high in zip(grid.lower, grid.upper)]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    meant, made = found.function(points), found.network(points)
    planes = {"function": meant[:, 0], "network": made[:, 0], "error": np.linalg.norm(made - meant, axis=-1)}
    extent = (grid.lower[0], grid.upper[0], grid.lower[1], grid.upper[1])
    for axis, (title, plane) in zip(figure.subplots(1, 3), planes.items()):
        image = axis.imshow(plane.reshape(count, count).T, origin="lower", extent=extent, aspect="auto")
        axis.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
        figure.colorbar(image, ax=axis)


def _draw_scatter(found: Both, axis: Axes) -> None:
    points = np.random.default_rng(0).uniform(found.grid.lower, found.grid.upper, (POINTS, found.grid.dimension))
    meant, made = found.function(points), found.network(points)
    axis.plot(meant.ravel(), made.ravel(), ".", markersize=3)
    axis.axline((float(meant.min()), float(meant.min())), slope=1, color="0.6")
    axis.set(xlabel="function", ylabel="network")


def translation_figure(table: Table, answered: Array, title: str) -> Figure:
    """How often each token came out where another was meant, in the answers [pairs, T] to the keys of a table."""
    size = table.vocabulary
    counts = np.zeros((size, size))
    for meant, made in zip(table.pairs[:, 1].ravel(), answered.ravel()):
        counts[meant, int(np.clip(made, 0, size - 1))] += 1
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axis = figure.subplots()
    names = ["none", *map(str, table.alphabet)]
    axis.set(xticks=range(size), yticks=range(size), xlabel="network", ylabel="table")
    axis.set_xticklabels(names, fontsize=6, rotation=90)
    axis.set_yticklabels(names, fontsize=6)
    figure.colorbar(axis.imshow(counts), ax=axis)
    figure.suptitle(title, fontsize=9)
    return figure


def curves_figure(panels: Mapping[str, Curves], x: str, y: str, title: str, *, line: Curves | None = None) -> Figure:
    """Panels side by side with one curve for each name, which has one colour in all of them; `line` is dashed.

    Axes are logarithmic where all numbers are positive; along x a 0 stands apart from them.
    """
    figure = Figure(figsize=(1.8 + 4.6 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    palette = mpl.colormaps["tab10" if len(names) <= 10 else "tab20"]
    colours = {name: palette(number % palette.N) for number, name in enumerate(names)}
    for axis, (head, curves) in zip(axes, panels.items()):
        for name, points in curves.items():
            axis.plot(*_columns(points), marker="o", markersize=3, linewidth=1, color=colours[name], label=name)
        for name, points in (line or {}).items():
            axis.plot(*_columns(points), linestyle="--", color="0.4", label=name)
        axis.set(xlabel=x, title=head)
        axis.tick_params(axis="x", labelrotation=30, labelsize=8)
    axes[0].set_ylabel(y)
    numbers = [points for curves in (*panels.values(), line or {}) for points in curves.values()]
    _scale(axes, np.array([point for points in numbers for point in points]))
    figure.suptitle(title, fontsize=10)
    handles, labels = _of_all(axes)
    figure.legend(handles, labels, loc="outside right center", fontsize=7)
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> Array:
    """From the left to the right, [2, n]."""
    return np.array(sorted(points)).T


def _of_all(axes: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    entries: dict[str, Artist] = {}
    for axis in axes:
        handles, labels = _first_labels(axis)
        entries |= dict(zip(labels, handles))
    return list(entries.values()), list(entries)


def _scale(axes: Sequence[Axes], points: Array) -> None:
    """Of axes that share theirs, for all the points [n, 2] that are drawn."""
    x, y = points[np.isfinite(points).all(-1)].T if len(points) else np.empty((2, 0))
    if not x.size:
        return
    if (y > 0).all():
        axes[0].set_yscale("log")
    if (x > 0).all():
        axes[0].set_xscale("log")
    elif (x > 0).any():
        least = float(x[x > 0].min())
        axes[0].set_xscale("symlog", linthresh=least)
        axes[0].set_xlim(left=-least / 4)
    if 1 < len(ticks := np.unique(x)) <= TICKS:
        axes[0].set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axes[0].set_xticks([], minor=True)
