"""What is asked of our programs, as data: each a ratio between two times that one run has measured.

    python tests/benchmarks/goals.py

Prints what is reached, and what is missed and by how much; the page of measurements has the same table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dense_names import LSTM_PRODUCTS, YARDSTICK
from ways import FORWARD, PASSES

Record = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results"

# What a ratio is of: a peer's time over ours, ours over the floor, ours over a peer's per matrix product.
SPEED, FLOOR, PRODUCT = "speed", "floor", "product"
SMALL = (FLOOR, PRODUCT)
"""Of those that should not be large."""


@dataclass(frozen=True)
class Goal:
    """A ratio that is wanted in some rows of a family.

    Attributes:
        rows: the beginning of their names.
        wanted: the ratio: at least for a speed, at most for the others.
        kind: what it is of.
        against: the beginning of a way's name, the fastest of which counts; of a floor, its kind.
    """

    family: str
    rows: str
    wanted: float
    kind: str
    against: str
    device: str = "cpu"
    passes: tuple[str, ...] = PASSES

    @property
    def words(self) -> str:
        """`at least 6 times as fast as lax.scan`"""
        match self.kind:
            case "floor":
                return f"at most {self.wanted:g} times the floor of {self.against}"
            case "product":
                return f"per matrix product at most {self.wanted:g} times torch.nn.LSTM"
            case _:
                return f"at least {self.wanted:g} times as fast as {self.against}"


@dataclass(frozen=True)
class Verdict:
    """A goal in one row and pass.

    Attributes:
        found: the ratio; None where it was not measured.
    """

    goal: Goal
    row: str
    each: str
    found: float | None

    @property
    def reached(self) -> bool:
        if self.found is None:
            return False
        return self.found <= self.goal.wanted if self.goal.kind in SMALL else self.found >= self.goal.wanted

    @property
    def words(self) -> str:
        """`reached`, by how much it is missed, or that nobody knows."""
        if self.found is None:
            return "not measured"
        if self.reached:
            return "reached"
        short = self.found / self.goal.wanted
        return f"missed by a factor of {short if self.goal.kind in SMALL else 1 / short:.2f}"


_DIAGONAL = "B=8, T=4096, D=1024"
_LARGE = "B=16, T=256, H=512"
_GATED = ("gated_delta, B=2, T=1024, N=4, K=64", "gated_delta, B=2, T=4096, N=4, K=64")
_CHUNKED = ("retention", "simple_gla", "gla", "delta", "gated_delta", "kda")
_ONE = (FORWARD,)

ON_CPU = (
    Goal("diagonal", _DIAGONAL, 20, SPEED, "lax.associative_scan"),
    Goal("diagonal", _DIAGONAL, 6, SPEED, "lax.scan"),
    Goal("diagonal", _DIAGONAL, 12, SPEED, "PyTorch loop"),
    Goal("diagonal", _DIAGONAL, 1.5, FLOOR, "memory"),
    *(Goal("dense", f"{cell}, {_LARGE}", 1.0, SPEED, "torch.nn") for cell in ("lstm", "gru")),
    *(Goal("dense", f"{cell}, {_LARGE}", 1.5, SPEED, "lax.scan") for cell in ("lstm", "gru")),
    *(
        Goal("dense", f"{cell}, {_LARGE}", 1.3, PRODUCT, YARDSTICK)
        for cell in ("peephole_lstm", "coupled_lstm", "janet")
    ),
    *(Goal("dense", f"{cell}, {_LARGE}", 5, SPEED, "torchrecurrent") for cell in ("peephole_lstm", "janet")),
    Goal("diagonal_gru", "B=4, T=1024, D=256", 5, SPEED, "lax.scan"),
    *(Goal("chunks", row, 3, SPEED, "fla") for row in _GATED),
    *(
        Goal("exact", f"tok2tok, B={batch}", 1000, SPEED, "the original interpreter", passes=_ONE)
        for batch in (1, 256)
    ),
)
ON_GPU = (
    *(
        Goal("diagonal", f"B=8, T={length}, D={width}, bfloat16", 1.25, FLOOR, "memory", "cuda")
        for length, width in ((4096, 1024), (16384, 2048), (65536, 512))
    ),
    *(Goal("chunks", f"{cell},", 1.0, SPEED, "fla", "cuda") for cell in _CHUNKED),
    *(
        Goal("dense", f"{cell}, B=16, T=1024, N={768 // width}, P={width}", ratio, SPEED, "flashrnn", "cuda")
        for cell in ("headwise_lstm", "slstm")
        for width, ratio in ((32, 2.0), (64, 2.0), (128, 2.0), (256, 1.5))
    ),
    Goal("dense", "lstm, B=16, T=1024, H=768", 0.9, SPEED, "torch.nn", "cuda"),
    Goal("grids", "torch", 5, SPEED, "published", "cuda"),
)
GOALS = (*ON_CPU, *ON_GPU)


def stored(family: str, device: str) -> list[Record]:
    """The records of a family on a device; none where it was not measured."""
    path = RESULTS / f"{family}_{device}.json"
    rows: list[Record] = json.loads(path.read_text())["rows"] if path.exists() else []
    return [_of_grid(row) for row in rows] if family == "grids" else rows


def _of_grid(row: Record) -> Record:
    """A row of `grids.py` as the families have it."""
    name = f"{row['framework']}, {row['side']} x {row['side']}, {row['size']} x {row['size']}"
    own = {way: "ours" if way.startswith("ours, auto") else way for way in row["times"]}
    return {**row, "row": name, "times": {own[way]: timing for way, timing in row["times"].items()}}


def seconds(record: Record, way: str) -> float | None:
    """The time of a way: the median, or that of its one call."""
    timing = record["times"].get(way)
    return timing["median"] if timing else record["once"].get(way)


def best(record: Record, start: str) -> str | None:
    """The fastest of the ways whose names begin so."""
    named = [way for way in (*record["times"], *record["once"]) if way.startswith(start)]
    return min(named, key=lambda way: seconds(record, way) or 0, default=None)


def verdicts(goals: tuple[Goal, ...] = GOALS) -> Iterator[Verdict]:
    """Each goal in each of its rows and passes; once where there are none."""
    for goal in goals:
        records = [r for r in stored(goal.family, goal.device) if r["row"].startswith(goal.rows)]
        for each in goal.passes:
            chosen = [record for record in records if record["pass"] == each]
            yield from (Verdict(goal, record["row"], each, ratio(goal, record)) for record in chosen)
            if not chosen:
                yield Verdict(goal, goal.rows.rstrip(","), each, None)


def ratio(goal: Goal, record: Record) -> float | None:
    """The ratio that a goal is about; None where the peer did not run."""
    own, peer = seconds(record, "ours"), best(record, goal.against)
    if own is None:
        return None
    if goal.kind == FLOOR:
        found: float = own / record["floor"][goal.against]
        return found
    other = seconds(record, peer) if peer else None
    if other is None:
        return None
    if goal.kind == PRODUCT:
        return own / record["products"] / (other / LSTM_PRODUCTS)
    return other / own


def main() -> None:
    """Print every verdict."""
    for each in verdicts():
        found = "-" if each.found is None else f"{each.found:.2f}"
        place = f"{each.goal.device:<5} {each.goal.family:<13} {each.row}, {each.each}"
        print(f"{place}: {each.goal.words}: {found}, {each.words}")


if __name__ == "__main__":
    main()
