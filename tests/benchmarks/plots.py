"""Plots of the families' results: how many times as long as ours each way takes, and times over the length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from goals import Record, seconds

PASSES = ("forward", "forward and backward")
MARKS = "osD^vP*X<>hd"
LENGTHS = 3  # from so many on, times are drawn over the length


def plot_all(results: Mapping[str, Sequence[Record]], folder: Path) -> None:
    """Write speed_FAMILY.svg, and speed_FAMILY_lengths.svg where a family has sizes at several lengths."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lsrl"
    folder.mkdir(parents=True, exist_ok=True)
    for family, records in results.items():
        _ratios(records, folder / f"speed_{family}.svg")
        series = over_length(records)
        if series:
            _over_length(series, folder / f"speed_{family}_lengths.svg")


def over_length(records: Sequence[Record]) -> list[Record]:
    """The records of the setting that was measured at most lengths; none where those are few."""
    settings = [_setting(record) for record in records if record["pass"] == PASSES[0]]
    most = max(settings, key=settings.count)
    found = sorted((r for r in records if _setting(r) == most), key=lambda record: record["length"])
    return found if settings.count(most) >= LENGTHS else []


def _setting(record: Record) -> str:
    """Everything but the length: the name without it, and the batch, which short sequences may have another of."""
    words = [word for word in record["row"].split(", ") if not word.startswith("T=")]
    return ", ".join(words)


def _styles(records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each way, ours first."""
    ways = dict.fromkeys(way for record in records for way in (*record["times"], *record["once"]))
    ordered = sorted(ways, key=lambda way: not way.startswith("ours"))
    return {way: (f"C{n % 10}", MARKS[n % len(MARKS)]) for n, way in enumerate(ordered)}


def _ratios(records: Sequence[Record], file: Path) -> None:
    """A line for each row, a mark for each way, a panel for each pass."""
    passes = [each for each in PASSES if any(record["pass"] == each for record in records)]
    names = list(dict.fromkeys(record["row"] for record in records))
    styles = _styles(records)
    height = 1.6 + 0.3 * len(names)
    figure, axes = plt.subplots(1, len(passes), figsize=(2.6 + 3.7 * len(passes), height), sharey=True, squeeze=False)
    for axis, each in zip(axes[0], passes):
        axis.axvline(1, color="0.6", linewidth=0.8)
        for record in (record for record in records if record["pass"] == each):
            _marks(axis, record, len(names) - 1 - names.index(record["row"]), styles)
        axis.set_xscale("log")
        axis.set_title(each, fontsize=9)
        axis.set_xlabel("time : time of ours (right of the line: slower)", fontsize=8)
        axis.grid(axis="x", linewidth=0.3)
        axis.tick_params(labelsize=7)
    axes[0][0].set_yticks(range(len(names)), reversed(names))
    axes[0][0].set_ylabel("program and sizes", fontsize=8)
    _legend(figure, axes, styles)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _marks(axis: Any, record: Record, place: int, styles: Mapping[str, tuple[str, str]]) -> None:
    own = seconds(record, "ours") or 1.0
    floor = max(record["floor"].values()) / own
    axis.plot([floor], [place], "|", color="black", markersize=9, label="floor")
    for way in (*record["times"], *record["once"]):
        if way == "ours":
            continue
        timing = record["times"].get(way, {})
        middle = (seconds(record, way) or 0) / own
        spread = [[middle - timing.get("lower", 0) / own], [timing.get("upper", 0) / own - middle]] if timing else None
        color, mark = styles[way]
        axis.errorbar([middle], [place], xerr=spread, color=color, marker=mark, markersize=4, linewidth=0.8, label=way)


def _over_length(records: Sequence[Record], file: Path) -> None:
    """Time over the length, a panel for each pass."""
    passes = [each for each in PASSES if any(record["pass"] == each for record in records)]
    styles = _styles(records)
    figure, axes = plt.subplots(1, len(passes), figsize=(1.2 + 3.7 * len(passes), 3.6), sharey=True, squeeze=False)
    for axis, each in zip(axes[0], passes):
        chosen = [record for record in records if record["pass"] == each]
        for way, (color, mark) in styles.items():
            points = [(r["length"], found * 1e3) for r in chosen if (found := seconds(r, way)) is not None]
            if points:
                axis.plot(*zip(*points), color=color, marker=mark, markersize=3.5, linewidth=1.2, label=way)
        floor = [(r["length"], max(r["floor"].values()) * 1e3) for r in chosen]
        axis.plot(*zip(*floor), ":", color="black", linewidth=1, label="floor")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel("length", fontsize=8)
        axis.set_title(f"{each}, {_setting(records[0])}", fontsize=9)
        axis.grid(linewidth=0.3)
        axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("milliseconds", fontsize=8)
    _legend(figure, axes, styles)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _legend(figure: Any, axes: Any, styles: Mapping[str, tuple[str, str]]) -> None:
    """One for all panels, below them."""
    named = {label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels())}
    shown = [way for way in (*styles, "floor") if way in named]
    columns = 3
    height = figure.get_figheight()
    lines = -(-len(shown) // columns)
    figure.legend([named[way] for way in shown], shown, loc="lower center", ncols=columns, fontsize=7)
    figure.tight_layout(rect=(0, (0.1 + 0.17 * lines) / height, 1, 1))
