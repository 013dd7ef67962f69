"""The page about weights has the numbers that were measured."""

import json

from support.process import ROOT

RESULTS = json.loads((ROOT / "tests/benchmarks/results/weights_speed.json").read_text())
PAGE = " ".join((ROOT / "docs/weights.md").read_text().split())
COMPILING = PAGE[PAGE.index("Compiling the program to an `rnn`") :]


def rates(row: str) -> list[float]:
    """The cells of a row of the table of speeds."""
    _, _, cells = PAGE.partition(f"| {row} | ")
    return [float(cell.replace(",", "")) for cell in cells.split(" |")[:2] if cell.strip()]


def test_speeds_are_those_that_were_measured() -> None:
    measured: dict[str, list[float]] = {}
    for speed in RESULTS["speeds"]:
        measured.setdefault(speed["way"], []).append(speed["tokens"])
    shown = {way: rates(way) or rates(way.replace(",", "`,").join(["`", ""])) for way in measured}
    assert shown == measured
    original = RESULTS["original"]
    assert original["right"] is True
    assert rates("the original, as written") == [original["as written"]]
    assert rates("the original, simplified") == [original["simplified"]]
    assert f"takes {original['simplify']} s for words of 3" in PAGE


def test_it_is_ten_thousand_times_the_original() -> None:
    fastest = max(speed["tokens"] for speed in RESULTS["speeds"])
    ratio = fastest / RESULTS["original"]["simplified"]
    assert ratio > 10_000
    claimed = PAGE.partition(" times the original.")[0].rpartition(" ")[2]
    assert abs(float(claimed.replace(",", "")) / ratio - 1) < 0.03


def test_compile_times_are_those_that_were_measured() -> None:
    for each in RESULTS["compiled"]:
        assert f"{each['seconds']} s for" in COMPILING
        assert f"width {each['width']})" in COMPILING
    assert next(each["seconds"] for each in RESULTS["compiled"] if each["T"] == 10) < 10
