"""Sweeps are kept, taken up again, and never mixed with others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lsrl.icl_sweeps import Row, Sweep, SweepError, grouped, run_sweep


class Counter:
    """Measures x / (seed + 3), and fails at some setting."""

    def __init__(self, fails_at: float | None = None) -> None:
        self.asked: list[tuple[object, object]] = []
        self.fails_at = fails_at

    def __call__(self, setting: Row, draws: Sequence[Row]) -> list[Row]:
        if setting["x"] == self.fails_at:
            raise KeyboardInterrupt
        self.asked += [(setting["x"], draw["seed"]) for draw in draws]
        return [{"y": float(setting["x"]) / (int(draw["seed"]) + 3)} for draw in draws]


def sweep(counter: Counter, *xs: float, seeds: int = 2) -> Sweep:
    settings = tuple({"name": "a", "x": x} for x in xs)
    return Sweep("test", settings, tuple({"seed": seed} for seed in range(seeds)), ("y",), counter)


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    path, told = tmp_path / "deep" / "test.csv", []
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep(Counter(fails_at=1e-7), 0.1, 1e-7, 3), path)
    counter = Counter()
    rows = run_sweep(sweep(counter, 0.1, 1e-7, 3), path, lambda *numbers: told.append(numbers))
    assert counter.asked == [(1e-7, 0), (1e-7, 1), (3, 0), (3, 1)]
    assert [row["y"] for row in rows] == [x / (seed + 3) for x in (0.1, 1e-7, 3) for seed in (0, 1)]
    assert told == [(2, 6), (4, 6), (6, 6)]
    text = path.read_text()
    assert text.startswith("name,x,seed,y\na,0.1,0,0.03333333333333333\n")
    again = Counter()
    assert run_sweep(sweep(again, 0.1, 1e-7, 3), path) == rows
    assert again.asked == []
    assert path.read_text() == text


def test_more_draws_are_added_and_others_kept(tmp_path: Path) -> None:
    path, counter = tmp_path / "test.csv", Counter()
    run_sweep(sweep(Counter(), 1, 2), path)
    rows = run_sweep(sweep(counter, 2, seeds=3), path)
    assert counter.asked == [(2, 2)]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert len(path.read_text().splitlines()) == 6


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("name,z\na,1\n")
    with pytest.raises(SweepError, match="name, z; expected name, x, seed, y"):
        run_sweep(sweep(Counter(), 1), tmp_path / "test.csv")


def test_rows_are_grouped_in_the_order_in_which_they_come() -> None:
    rows = [{"a": "q", "b": 1}, {"a": "p", "b": 2}, {"a": "q", "b": 3}]
    assert [(key, [row["b"] for row in own]) for key, own in grouped(rows, "a")] == [(("q",), [1, 3]), (("p",), [2])]
