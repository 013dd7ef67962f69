"""The results of `grids.py` and `graphs.py` as a page of the documentation and its plots.

    python tests/benchmarks/grids_report.py

Reads tests/benchmarks/results/{grids,graphs}_*.json; writes docs/performance-grids.md and docs/images/grids_*.svg.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from grids_plots import plot_all

Row = Mapping[str, Any]

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PASSES = ("forward", "forward and backward")
SIDES, SIZES = (16, 32, 64, 128), (16, 64)
GOAL = 3  # times as fast as the published code in PyTorch

INTRODUCTION = """# Performance of grids and graphs

What [grids and graphs](grids-and-graphs.md) cost beside the published implementation of pLSTM
([ml-jku/plstm](https://github.com/ml-jku/plstm), einsums in PyTorch and JAX) and beside loops that run one place after
the other. Each way is compared with the float64 reference first, values and all gradients, to 1e-10. The ways of one
row then ran in turns in one process; a number is the median of its rounds in milliseconds, behind it the quartiles.
Times are of one thread, in processor time, float32, one sequence and one head: look at ratios.

Memory is the most that a second call held beyond what was held before it, in a process of its own. A way that took more
than 30 s of processor time there (in JAX 90 s, with what is compiled) or 3 GB was ended. It is not tried on larger
grids, and neither is one whose call takes more than 3 s. *not run* is what `--without` left out to save time.
"""

GRIDS = """## Grids

`std/plstm2d_code`, which is what the published code computes, with memories of 16 x 16 and of 64 x 64. Its recurrent
form has chunks of one place, its parallel form one chunk, and between them is the best one; in JAX it unrolls its
chunks, so that programs of more than 64 chunks are left out.

![Time over the side of the grid](images/grids_times.svg)

![Memory over the side of the grid](images/grids_memory.svg)

*published : ours* is the best form of the published code on this grid over what `auto` takes.
"""

BOUNDS = """### What bounds it

A place with memories of d x d takes some 10 d² operations of arithmetic: 64 x 64 places of 16 x 16 take 10 million,
which is less than a millisecond of one core. In PyTorch such grids are bound by the number of its calls: 64 x 64 in
tiles is some 2,000 of them forward and 5,000 forward and backward, at 3 microseconds each, whatever the size of the
memories. With memories of 64 x 64 three quarters of the time are products of matrices, and a tile of 8 x 8 has no
fewer of them than the published chunk of the same side: what is left to win there is smaller.

In JAX, where a call costs nothing, a loop over single places is among the fastest ways forward, since its states stay
in the cache; its derivative keeps all of them, and there tiles win as soon as memories are large. `auto` takes tiles
earlier than that. The published code pays for the gates between all pairs of places of a chunk: their memory grows
with the square of the chunk, and in its parallel form with the square of the number of places.
"""

GRAPHS = """## Graphs

`std/plstm_graph` beside the published graph mode, a loop over edges in PyTorch. Both prepare a graph before, once.

With memories of 16 x 16 the loop takes for each edge as long as its calls of PyTorch do. With 64 x 64 the states of the
random graph are 34 MB, and what goes on along its turns 45 MB: all ways wait for memory, and the ratios are smaller.
Forward, each turn reads one state and reads and writes another: with what comes before and after it 200 MB, which take
6 ms at the 36 GB/s of a copy. In JAX they take 7 ms; in the others of its 30 the system hands out the pages of two
arrays of states, and so it does in more than half of a forward and backward pass.
"""


def page(grids: Sequence[Mapping[str, Any]], graphs: Sequence[Mapping[str, Any]]) -> str:
    """The text of the page, of results of several devices."""
    parts = [INTRODUCTION]
    for results in grids:
        parts += [
            _machine(results),
            GRIDS,
            _summary(results["rows"]),
            verdict(results["rows"]),
            *_tables(results["rows"]),
        ]
    for results in graphs:
        parts += [GRAPHS, _machine(results), *_graph_tables(results["rows"])]
    parts.append("## Run it\n\n" + COMMANDS)
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


COMMANDS = """```sh
git clone https://github.com/ml-jku/plstm
python tests/benchmarks/grids.py --plstm plstm --quick         # small grids, minutes; without --quick hours
python tests/benchmarks/graphs.py --plstm plstm --quick
python tests/benchmarks/grids.py --plstm plstm --device cuda   # Triton kernels beside its einsums, also compiled
python tests/benchmarks/grids_report.py                        # this page
```"""


def _machine(results: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in results["machine"].items())
    return f"Machine: {named}; ml-jku/plstm at {results['published']}."


def seconds(row: Row, name: str) -> float | None:
    """The time of a way: the median, or the one call of a slow one."""
    timing = row["times"].get(name)
    return timing["median"] if timing else row["once"].get(name)


def auto(row: Row) -> str:
    """What `auto` is called in this row."""
    return next(name for name in row["times"] if name.startswith("ours, auto"))


def best_published(row: Row) -> str:
    """The fastest published form in this row."""
    known = {name: seconds(row, name) for name in (*row["times"], *row["once"]) if name.startswith("published")}
    return min(known, key=lambda name: known[name] or 0)


def ratio(row: Row) -> float:
    """How many times as long the best published form takes as ours."""
    return (seconds(row, best_published(row)) or 0) / (seconds(row, auto(row)) or 1)


def _summary(rows: Sequence[Row]) -> str:
    lines = ["| framework | grid, memories | pass | `auto` | best published | published : ours | node by node : ours "]
    lines[0] += "| memory: ours | published |"
    lines.append("|---|---|---|---|---|--:|--:|--:|--:|")
    for row in rows:
        own, best = auto(row), best_published(row)
        node = seconds(row, "node by node")
        loop = f"{node / seconds(row, own):.1f}" if node else ""
        named = f"{own.removeprefix('ours, auto (')[:-1]} | {best.removeprefix('published, ')}"
        memory = f"{_megabytes(row, own)} | {_megabytes(row, best)}"
        place = f"{row['framework']} | {_place(row)} | {row['pass']}"
        lines.append(f"| {place} | {named} | {ratio(row):.1f} | {loop} | {memory} |")
    return "\n".join(lines)


def verdict(rows: Sequence[Row]) -> str:
    """Where the goals are missed, in words."""
    large = [row for row in rows if row["side"] >= 32]
    goals = {"torch": GOAL, "jax": 1}
    missed = [row for row in large if ratio(row) < goals[row["framework"]]]
    listed = "; ".join(f"{row['framework']}, {_place(row)}, {row['pass']}: {ratio(row):.1f}" for row in missed)
    said = f"Missed here: {listed}." if missed else "Both are reached in every row."
    text = (
        f"The goals for sides of 32 and more are {GOAL} times its speed in PyTorch and to be ahead of it in JAX. {said}"
    )
    beaten = [(row, name) for row in rows for name in row["times"] if _faster(row, name)]
    faster = "; ".join(f"{row['framework']}, {_place(row)}, {row['pass']}: {name}" for row, name in beaten)
    return f"{text} Faster than `auto` by a tenth or more: {faster or 'nothing'}."


def _absent(rows: Sequence[Row]) -> str:
    """Which of the grids that the benchmark has are not among the results."""
    known = {(row["framework"], row["side"], row["size"]) for row in rows}
    every = product(dict.fromkeys(row["framework"] for row in rows), SIDES, SIZES)
    names = [
        f"{framework}, {side} x {side}, {size} x {size}"
        for framework, side, size in every
        if (framework, side, size) not in known
    ]
    return f"Not among these results: {'; '.join(names)}." if names else ""


def _faster(row: Row, name: str) -> bool:
    return (seconds(row, name) or 0) < 0.9 * (seconds(row, auto(row)) or 0)


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for framework in dict.fromkeys(row["framework"] for row in rows):
        for each in PASSES:
            chosen = [row for row in rows if (row["framework"], row["pass"]) == (framework, each)]
            yield f"### {framework}, {each}\n\n{_table(chosen, _time)}"
        chosen = [row for row in rows if (row["framework"], row["pass"]) == (framework, PASSES[1])]
        yield f"### {framework}, memory of {PASSES[1]}, MB\n\n{_table(chosen, _megabytes)}"


def _table(rows: Sequence[Row], cell: Any) -> str:
    ways = list(dict.fromkeys(_column(name) for row in rows for name in (*row["times"], *row["once"], *row["missing"])))
    lines = [f"| grid, memories | {' | '.join(ways)} |", f"|---|{'--:|' * len(ways)}"]
    for row in rows:
        names = {_column(name): name for name in (*row["times"], *row["once"], *row["missing"])}
        lines.append(f"| {_place(row)} | {' | '.join(cell(row, names.get(way, '')) for way in ways)} |")
    return "\n".join(lines)


def _column(name: str) -> str:
    """`auto` in one column, whatever it chose."""
    return "ours, auto" if name.startswith("ours, auto") else name


def _time(row: Row, name: str) -> str:
    if name in row["times"]:
        low, middle, high = (row["times"][name][each] * 1e3 for each in ("lower", "median", "upper"))
        return f"{middle:.3g} ({low:.3g}-{high:.3g})"
    if name in row["once"]:
        return f"{row['once'][name] * 1e3:.3g}, once"
    return str(row["missing"].get(name, ""))


def _megabytes(row: Row, name: str) -> str:
    return f"{row['memory'][name] / 1e6:.3g}" if name in row["memory"] else ""


def _place(row: Row) -> str:
    return f"{row['side']} x {row['side']}, {row['size']} x {row['size']}"


def _graph_tables(rows: Sequence[Row]) -> Iterator[str]:
    ways = list(dict.fromkeys(name for row in rows for name in (*row["times"], *row["once"])))
    peer = next(name for name in ways if name.startswith("published"))
    own = [name for name in ways if name != peer]
    for each in PASSES:
        lines = [f"| graph, memories | nodes, edges, turns | {' | '.join((*own, peer))} | {' | '.join(_over(own))} |"]
        lines.append(f"|---|---|{'--:|' * (len(ways) + len(own))}")
        for row in (row for row in rows if row["pass"] == each):
            counts = f"{row['graph']}, {row['size']} x {row['size']} | {row['nodes']}, {row['edges']}, {row['turns']}"
            times = " | ".join(_time(row, name) for name in (*own, peer))
            ratios = " | ".join(f"{(seconds(row, peer) or 0) / (seconds(row, name) or 1):.0f}" for name in own)
            lines.append(f"| {counts} | {times} | {ratios} |")
        yield f"### {each}\n\n" + "\n".join(lines)


def _over(names: Sequence[str]) -> list[str]:
    return [f"published : {name}" for name in names]


def stored(kind: str) -> list[Mapping[str, Any]]:
    """The results of each device."""
    return [json.loads(file.read_text()) for file in sorted(RESULTS.glob(f"{kind}_*.json"))]


def main() -> None:
    """Write the page and its plots."""
    grids = stored("grids")
    (ROOT / "docs/performance-grids.md").write_text(page(grids, stored("graphs")))
    plot_all(grids[0]["rows"], ROOT / "docs/images")


if __name__ == "__main__":
    main()
