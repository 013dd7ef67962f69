"""The part of the page of measurements about compiling, importing, first calls and memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from goals import RESULTS
from report_words import COSTS

Results = Mapping[str, Any]


def costs() -> Iterator[str]:
    """What there are results of."""
    compiling, waiting = RESULTS / "compile_time.json", RESULTS / "costs_cpu.json"
    yield COSTS
    yield _compiling(json.loads(compiling.read_text()))
    if waiting.exists():
        found = json.loads(waiting.read_text())
        yield f"{_machine(found['machine'])} {found['load']:.1f} processes ran when it began. Times are wall times."
        yield from (_imports(found["imports"]), _first(found["first"]), _memory(found["memory"]))


def _machine(named: Mapping[str, str]) -> str:
    return f"Machine: {', '.join(f'{name} {version}' for name, version in named.items())}."


def _compiling(found: Results) -> str:
    """How long programs of the library take to compile, and how long their modules are."""
    rows = found["rows"]
    lines = ["| target | programs | median, ms | slowest, ms | under 100 ms | median lines of a module | longest |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for target in rows[0]["targets"]:
        whole = {row["program"]: row["read"] + row["targets"][target] for row in rows if target in row["targets"]}
        lengths = [row["lines"][target] for row in rows if target in row["targets"]]
        slowest = max(whole, key=whole.__getitem__)
        quick = sum(each < 100 for each in whole.values())
        times = f"{median(whole.values()):.0f} | {whole[slowest]:.0f} (`{slowest}`) | {quick}"
        lines.append(f"| {target} | {len(whole)} | {times} | {median(lengths):.0f} | {max(lengths)} |")
    whole = f"A process that compiles `std/gru` takes {found['start']:.0f} ms of processor time, with all it loads."
    return "\n".join(lines) + f"\n\n{whole}"


def _imports(found: Mapping[str, float]) -> str:
    lines = ["| a process of its own | ms |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {name} | {taken * 1e3:.0f} |" for name, taken in found.items())])


def _first(found: Sequence[Results]) -> str:
    """First calls; what the second process takes is the goal of a second."""
    lines = ["| first result of a module, the framework loaded | target | cold cache, s | warm cache, s |"]
    lines.append("|---|---|--:|--:|")
    for each in found:
        lines.append(f"| {each['row']} | {each['target']} | {each['cold']:.2f} | {each['warm']:.2f} |")
    native = [each["warm"] for each in found if each["target"] != "jax"]
    said = "reached" if max(native) < 1 else f"missed: {max(native):.2f} s"
    goal = f"A second process is to have its first result in under a second: {said}."
    goal += " The first call of any operator that a module registers makes PyTorch load `torch._dynamo`, and counts."
    return "\n".join(lines) + f"\n\n{goal}"


def _memory(found: Sequence[Results]) -> str:
    lines = ["| megabytes held at most | way | forward | forward and backward |", "|---|---|--:|--:|"]
    for row, way in dict.fromkeys((each["row"], each["way"]) for each in found):
        held = {each["each"]: each["memory"] for each in found if (each["row"], each["way"]) == (row, way)}
        cells = [f"{held[p] / 1e6:.1f}" if p in held else "" for p in ("forward", "forward and backward")]
        lines.append(f"| {row} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)
