"""The results of `schedules.py` as a page of the documentation and its plots.

    python tests/benchmarks/report.py [tests/benchmarks/results/schedules_cpu.json]

Writes docs/performance.md and docs/images/schedules_*.svg.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]
PEERS = ("lax.scan", "lax.associative_scan", "PyTorch loop", "torch.compile of the loop", "fla, plain chunks")
WAYS = ("auto", "sequential", "scan", "chunk", "newton", *PEERS)
TITLES = {
    "diagonal": "`h' = a * h + x`, gates as inputs",
    "gated_delta": "the gated delta rule, a K x K memory in each of 4 heads",
    "diagonal_gru": "a GRU without coupling between units, its input parts given",
}
INTRODUCTION = """# Performance

What every schedule costs against what people write by hand. All ways of one row ran in turns in one process, float32;
a number is the median of its rounds in milliseconds, behind it the quartiles. `auto` is what the compiler chose for a
CPU, this batch and this length. Times are those of one machine: look at ratios. `auto` weighs a forward and a backward
pass together, so that a forward pass alone may have a faster schedule; and it is one of the others under another name,
so that its distance from that one tells how exact the ratios are.

Measured by `python tests/benchmarks/schedules.py`; `python tests/benchmarks/report.py` makes this page of the results.
"""


def page(results: Mapping[str, Any]) -> str:
    """The text of the page."""
    rows: list[dict[str, Any]] = results["rows"]
    parts = [INTRODUCTION, f"Machine: {', '.join(f'{k} {v}' for k, v in results['machine'].items())}.", *_summary(rows)]
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        parts.append(f"## {family}\n\n{TITLES[family]}.\n\n![Time over length](images/schedules_{family}.svg)")
        for target in dict.fromkeys(row["target"] for row in own):
            for what in dict.fromkeys(row["pass"] for row in own):
                chosen = [row for row in own if (row["target"], row["pass"]) == (target, what)]
                parts.append(f"### {target}, {what}\n\n{_table(chosen)}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _summary(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How `auto` stands beside the best schedule and the best peer of each row."""
    yield "## `auto` beside the best"
    lines = [
        "| program | batch x length, sizes | target | pass | best schedule | auto : best | best peer | peer : auto |"
    ]
    lines.append("|---|---|---|---|---|--:|---|--:|")
    for row in rows:
        times = {name: timing["median"] for name, timing in row["times"].items()}
        auto = next(name for name in times if name.startswith("auto"))
        own = {name: seconds for name, seconds in times.items() if name not in PEERS and name != auto}
        peers = {name: seconds for name, seconds in times.items() if name in PEERS}
        best, peer = min(own, key=own.__getitem__), min(peers, key=peers.__getitem__)
        place = f"{row['batch']} x {row['length']}, {_sizes(row)}"
        ratios = f"{best} | {times[auto] / own[best]:.2f} | {peer} | {peers[peer] / times[auto]:.2f}"
        lines.append(f"| {row['family']} | {place} | {row['target']} | {row['pass']} | {ratios} |")
    yield "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    ways = list(dict.fromkeys(_column(name) for row in rows for name in row["times"]))
    lines = [f"| batch x length, sizes | {' | '.join(ways)} |", f"|---|{'--:|' * len(ways)}"]
    for row in rows:
        times = {_column(name): timing for name, timing in row["times"].items()}
        cells = [_cell(times[way]) if way in times else "" for way in ways]
        lines.append(f"| {row['batch']} x {row['length']}, {_sizes(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _column(name: str) -> str:
    """`auto` in one column, whatever it chose."""
    return "auto" if name.startswith("auto") else name


def _cell(timing: Mapping[str, float]) -> str:
    low, middle, high = (timing[name] * 1e3 for name in ("lower", "median", "upper"))
    return f"{middle:.3g} ({low:.3g}-{high:.3g})"


def _sizes(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={number}" for name, number in row["sizes"].items())


def plot(rows: Iterable[Mapping[str, Any]], family: str, file: Path) -> None:
    """Time over length for the sizes that were measured at most lengths, one panel for each target and pass."""
    own = [row for row in rows if row["family"] == family]
    sizes = max((_sizes(row) for row in own), key=[_sizes(row) for row in own].count)
    chosen = [row for row in own if _sizes(row) == sizes]
    panels = list(dict.fromkeys((row["target"], row["pass"]) for row in chosen))
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.4), sharey=True, squeeze=False)
    for axis, panel in zip(axes[0], panels):
        _panel(axis, [row for row in chosen if (row["target"], row["pass"]) == panel], panel)
    axes[0][0].set_ylabel("milliseconds")
    figure.suptitle(f"{family}, {sizes}", fontsize=10)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _panel(axis: Any, rows: Sequence[Mapping[str, Any]], panel: tuple[str, str]) -> None:
    ways = list(dict.fromkeys(_column(name) for row in rows for name in row["times"]))
    for way in ways:
        found = [(row["length"], _of(row, way)) for row in rows]
        found = [(length, timing) for length, timing in found if timing]
        lengths = [length for length, _ in found]
        style, color = ("--" if way in PEERS else "-"), f"C{WAYS.index(way)}"
        middle = [timing["median"] * 1e3 for _, timing in found]
        axis.plot(lengths, middle, style, color=color, marker="o", markersize=3, label=way, linewidth=1.2)
        low, high = ([timing[name] * 1e3 for _, timing in found] for name in ("lower", "upper"))
        axis.fill_between(lengths, low, high, color=color, alpha=0.2, linewidth=0)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("length")
    axis.set_title(", ".join(panel), fontsize=9)
    axis.legend(fontsize=6)


def _of(row: Mapping[str, Any], way: str) -> Mapping[str, float] | None:
    return next((timing for name, timing in row["times"].items() if _column(name) == way), None)


def main() -> None:
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path(__file__).parent / "results/schedules_cpu.json")
    results = json.loads(parser.parse_args().results.read_text())
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lsrl"
    for family in dict.fromkeys(row["family"] for row in results["rows"]):
        plot(results["rows"], family, ROOT / f"docs/images/schedules_{family}.svg")
    (ROOT / "docs/performance.md").write_text(page(results))


if __name__ == "__main__":
    main()
