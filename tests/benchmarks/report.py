"""All results as a page of the documentation and its plots.

    python tests/benchmarks/report.py

Reads tests/benchmarks/results/*.json; writes docs/performance.md and docs/images/speed_*.svg.  Grids and graphs have a
page of their own, which `grids_report.py` writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from goals import RESULTS, Record, Verdict, seconds, verdicts
from plots import over_length, plot_all
from report_costs import costs
from report_words import FAMILIES, GPU, INTRODUCTION, RUN

Results = Mapping[str, Any]

ROOT = Path(__file__).parents[2]
PASSES = ("forward", "forward and backward")
DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def page(results: Mapping[str, Mapping[str, Results]]) -> str:
    """The text of the page, of the results of each family by device."""
    parts = [INTRODUCTION, *_goals(tuple(verdicts()))]
    for device, families in results.items():
        parts += _families(families, device)
    parts += costs()
    if "cuda" not in results:
        parts.append(GPU)
    return "\n\n".join(part.strip() for part in (*parts, "## Run it", RUN)) + "\n"


def _goals(found: Sequence[Verdict]) -> Iterator[str]:
    """What is reached and what is not, as a table for each device."""
    yield "## Goals"
    measured = [each for each in found if each.found is not None]
    reached = sum(each.reached for each in measured)
    yield f"{reached} of {len(measured)} goals that were measured are reached; {len(found) - len(measured)} were not."
    for device, name in DEVICES.items():
        lines = [f"| on a {name} | pass | goal | found | |", "|---|---|---|--:|---|"]
        for each in (each for each in found if each.goal.device == device):
            number = "" if each.found is None else f"{each.found:.2f}"
            place = f"{each.goal.family}: {each.row} | {each.each}"
            lines.append(f"| {place} | {each.goal.words} | {number} | {each.words} |")
        yield "\n".join(lines)


def _families(families: Mapping[str, Results], device: str) -> Iterator[str]:
    for family, found in families.items():
        records = found["rows"]
        yield FAMILIES[family] if device == "cpu" else f"## {family} on a {DEVICES[device]}"
        yield _machine(found)
        yield f"![Times of the ways over ours](images/speed_{family}_{device}.svg)"
        if over_length(records):
            yield f"![Time over the length](images/speed_{family}_{device}_lengths.svg)"
        yield _summary(records)
        if family == "exact":
            yield _tokens(records)
        yield _lost(records)
        for each in (each for each in PASSES if any(record["pass"] == each for record in records)):
            yield f"### {family} on a {DEVICES[device]}, {each}"
            yield _table([record for record in records if record["pass"] == each])


def _machine(found: Results) -> str:
    named = ", ".join(f"{name} {version}" for name, version in found["machine"].items() if version != "missing")
    rates = "; ".join(
        f"{dtype}: memory {each['memory'] / 1e9:.3g} GB/s, caches {each['near'] / 1e9:.3g} GB/s, "
        f"matrix products {each['matrix'] / 1e9:.4g} GFLOP/s, a dependent addition {each['step'] * 1e9:.3g} ns"
        for dtype, each in found["rates"].items()
    )
    targets = ", ".join(sorted({f"`{record['target']}`" for record in found["rows"]}))
    busy = f"PyTorch had {found['threads']} threads; {found['load']:.1f} processes ran when it began."
    return f"Machine: {named}. {busy} Measured rates, {rates}. Ours is the target {targets}."


def _peers(record: Record) -> dict[str, float]:
    """The times of what is not ours and computes the same."""
    ways = (*record["times"], *record["once"])
    return {way: seconds(record, way) or 0 for way in ways if not way.startswith("ours") and "yardstick" not in way}


def _summary(records: Sequence[Record]) -> str:
    """Ours beside the fastest peer and the floor."""
    lines = ["| program and sizes | pass | schedule | ours, ms | best peer | peer : ours | ours : floor | floor |"]
    lines.append("|---|---|---|--:|---|--:|--:|---|")
    for record in records:
        own, peers, floor = seconds(record, "ours") or 0, _peers(record), record["floor"]
        best = min(peers, key=peers.__getitem__, default="")
        kind = max(floor, key=floor.__getitem__)
        ratio = f"{peers[best] / own:.2f}" if best else ""
        cells = (record["row"], record["pass"], f"`{record['schedule']}`", f"{own * 1e3:.3g}", best, ratio)
        lines.append(f"| {' | '.join((*cells, f'{own / floor[kind]:.1f}', kind))} |")
    return "\n".join(lines)


def _tokens(records: Sequence[Record]) -> str:
    """Tokens per second of each way."""
    ways = list(dict.fromkeys(way for record in records for way in (*record["times"], *record["once"])))
    lines = [f"| tokens per second | {' | '.join(ways)} |", f"|---|{'--:|' * len(ways)}"]
    for record in records:
        tokens = record["batch"] * record["length"]
        times = [seconds(record, way) for way in ways]
        rates = [f"{float(f'{tokens / taken:.3g}'):,.0f}" if taken else "" for taken in times]
        lines.append(f"| {record['row']} | {' | '.join(rates)} |")
    return "\n".join(lines)


def _lost(records: Sequence[Record]) -> str:
    """Which ways are faster than ours, and which did not run, in words."""
    found = []
    for record in records:
        own = seconds(record, "ours") or 0
        ways = [way for way in (*record["times"], *record["once"]) if way != "ours" and "yardstick" not in way]
        faster = [f"{way} ({own / taken:.2f})" for way in ways if own > 1.1 * (taken := seconds(record, way) or own)]
        found += [f"{record['row']}, {record['pass']}: {', '.join(faster)}"] if faster else []
    said = "; ".join(found) if found else "nothing"
    missing = {f"{way} ({why})" for record in records for way, why in record["missing"].items()}
    absent = f" Not run: {'; '.join(sorted(missing))}." if missing else ""
    return f"Faster than ours by a tenth or more, and how many times: {said}.{absent}"


def _table(records: Sequence[Record]) -> str:
    """All times."""
    ways = list(dict.fromkeys(way for record in records for way in (*record["times"], *record["once"])))
    ways.sort(key=lambda way: not way.startswith("ours"))
    lines = [f"| program and sizes | {' | '.join(ways)} | floor |", f"|---|{'--:|' * len(ways)}--:|"]
    for record in records:
        floor = max(record["floor"].values()) * 1e3
        lines.append(f"| {record['row']} | {' | '.join(_cell(record, way) for way in ways)} | {floor:.3g} |")
    return "\n".join(lines)


def _cell(record: Record, way: str) -> str:
    if way in record["times"]:
        low, middle, high = (record["times"][way][name] * 1e3 for name in ("lower", "median", "upper"))
        return f"{middle:.3g} ({low:.3g}-{high:.3g})"
    return f"{record['once'][way] * 1e3:.3g}, once" if way in record["once"] else ""


def stored() -> dict[str, dict[str, Results]]:
    """The results of each family by device; those devices that have any."""
    paths = {device: {family: RESULTS / f"{family}_{device}.json" for family in FAMILIES} for device in DEVICES}
    found = {
        device: {family: _in_order(json.loads(path.read_text())) for family, path in families.items() if path.exists()}
        for device, families in paths.items()
    }
    return {device: families for device, families in found.items() if families}


def _in_order(found: Results) -> Results:
    """Rows by name, numbers in it by their size."""
    return {**found, "rows": sorted(found["rows"], key=lambda row: (_natural(row["row"]), row["pass"]))}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(number or 0), text) for text, number in re.findall(r"(\D+)(\d*)", name)]


def main() -> None:
    """Write the page and its plots."""
    results = stored()
    (ROOT / "docs/performance.md").write_text(page(results))
    drawn = ((f"{family}_{device}", f["rows"]) for device, every in results.items() for family, f in every.items())
    plot_all(dict(drawn), ROOT / "docs/images")


if __name__ == "__main__":
    main()
