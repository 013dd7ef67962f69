"""Sweeps are kept, taken up again, and never mixed with others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lsrl.icl_sweeps import Row, Sweep, SweepError, grouped, number, run_sweep


class Counter:
    """Measures x / (seed + 3), and fails at some setting and seed."""

    def __init__(self, fails_at: tuple[float, int] | None = None) -> None:
        self.asked: list[tuple[object, object]] = []
        self.fails_at = fails_at

    def __call__(self, setting: Row, draws: Sequence[Row]) -> Iterator[list[Row]]:
        """In parts of two draws."""
        for begin in range(0, len(draws), 2):
            part = draws[begin : begin + 2]
            if (setting["x"], part[0]["seed"]) == self.fails_at:
                raise KeyboardInterrupt
            self.asked += [(setting["x"], draw["seed"]) for draw in part]
            yield [{"y": float(setting["x"]) / (int(draw["seed"]) + 3)} for draw in part]


def sweep(counter: Counter, *xs: float, seeds: int = 2) -> Sweep:
    settings = tuple({"name": "a", "x": x} for x in xs)
    return Sweep("test", settings, tuple({"seed": seed} for seed in range(seeds)), ("y",), counter)


@pytest.mark.parametrize("fails_at", [(1e-7, 0), (1e-7, 2)])
def test_what_was_interrupted_goes_on(tmp_path: Path, fails_at: tuple[float, int]) -> None:
    """Between settings or within one; and it ends as what was not interrupted."""
    path, told = tmp_path / "deep" / "test.csv", []
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep(Counter(fails_at), 0.1, 1e-7, seeds=3), path)
    counter = Counter()
    rows = run_sweep(sweep(counter, 0.1, 1e-7, seeds=3), path, lambda *numbers: told.append(numbers))
    there = 3 + fails_at[1]
    assert counter.asked == [(1e-7, seed) for seed in range(fails_at[1], 3)]
    assert [row["y"] for row in rows] == [x / (seed + 3) for x in (0.1, 1e-7) for seed in range(3)]
    assert told[0] == (there, 6)
    assert told[-1] == (6, 6)
    text = path.read_text()
    assert text.startswith("name,x,seed,y\na,0.1,0,0.03333333333333333\n")
    run_sweep(sweep(Counter(), 0.1, 1e-7, seeds=3), tmp_path / "at_once.csv")
    assert text == (tmp_path / "at_once.csv").read_text()
    again = Counter()
    assert run_sweep(sweep(again, 0.1, 1e-7, seeds=3), path) == rows
    assert again.asked == []
    assert path.read_text() == text


def test_more_draws_are_added_and_others_kept(tmp_path: Path) -> None:
    path, counter = tmp_path / "test.csv", Counter()
    run_sweep(sweep(Counter(), 1, 2), path)
    rows = run_sweep(sweep(counter, 2, seeds=3), path)
    assert counter.asked == [(2, 2)]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert [line.split(",")[1:3] for line in path.read_text().splitlines()[1:]] == [
        ["2", "0"], ["2", "1"], ["2", "2"], ["1", "0"], ["1", "1"]
    ]  # fmt: skip


def test_what_was_asked_bit_by_bit_is_what_is_asked_at_once(tmp_path: Path) -> None:
    for xs, seeds in (((3,), 1), ((1, 3), 2), ((1, 2, 3), 3)):
        run_sweep(sweep(Counter(), *xs, seeds=seeds), tmp_path / "bits.csv")
    run_sweep(sweep(Counter(), 1, 2, 3, seeds=3), tmp_path / "whole.csv")
    assert (tmp_path / "bits.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (b"name,z\na,1\n", "columns are name, z; expected name, x, seed, y"),
        (b"", "columns are none; expected"),
        (b"name,x,seed,y\na,1\n", "test.csv:2: 2 entries, expected 4"),
        (b"\xff\xfe", "not a CSV file in UTF-8"),
    ],
)
def test_results_of_something_else_are_refused(tmp_path: Path, there: bytes, says: str) -> None:
    (tmp_path / "test.csv").write_bytes(there)
    with pytest.raises(SweepError, match=says):
        run_sweep(sweep(Counter(), 1), tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_bytes() == there


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(SweepError, match="y is a number, not 'x'"):
        number({"y": "x"}, "y")


def test_rows_are_grouped_in_the_order_in_which_they_come() -> None:
    rows = [{"a": "q", "b": 1}, {"a": "p", "b": 2}, {"a": "q", "b": 3}]
    assert [(key, [row["b"] for row in own]) for key, own in grouped(rows, "a")] == [(("q",), [1, 3]), (("p",), [2])]
