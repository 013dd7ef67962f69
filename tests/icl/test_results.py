"""The tables of the documentation are those of the numbers that are kept, and these say what the page says."""

from __future__ import annotations

import csv
from statistics import fmean

import pytest

from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.icl_paper import published_results
from lsrl.icl_published import CONDITIONALS
from lsrl.icl_reports import REPORTS
from lsrl.icl_sweeps import Entry, Row, grouped, number, read_rows
from lsrl.icl_tasks import LEVELS, TASKS
from support.process import ROOT

KEPT = ROOT / "tests/benchmarks/results/in_context"
PAGE = (ROOT / "docs/in-context.md").read_text()


def kept(folder: str, name: str) -> tuple[Row, ...]:
    path = KEPT / folder / f"{name}.csv"
    with path.open(newline="") as file:
        columns = next(csv.reader(file))
    return read_rows(path, columns)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("noise", "noise"),
        ("noise_alone", "noise"),
        ("noise_trained", "noise"),
        ("noise_types", "noise"),
        ("precision", "precision"),
        ("scaling", "scaling"),
    ],
)
def test_tables_of_the_page_are_current(folder: str, name: str) -> None:
    _, _, behind = PAGE.partition(f"<!-- {folder} -->\n\n")
    report = REPORTS[name](kept(folder, name)).markdown()
    table = [line for line in report.splitlines() if line.startswith("|")]
    assert behind.splitlines()[: len(table)] == table


def wrong(folder: str, *names: str) -> dict[tuple[Entry, ...], float]:
    """Means over seeds."""
    return {key: fmean(number(row, "wrong") for row in rows) for key, rows in grouped(kept(folder, "noise"), *names)}


def test_derived_constants_withstand_noise_that_published_ones_do_not() -> None:
    """All 25 seeds of five levels, five conditionals and two programs, as published."""
    assert all(len(rows) == 25 for _, rows in grouped(kept("noise", "noise"), "program", "form", "noise"))
    found = wrong("noise", "program", "form", "noise")
    assert all(found["tok2tok", "derived", level] == 0 for level in (0.0, 1e-9, 1e-7, 1e-5))
    for conditional in CONDITIONALS:
        assert all(("vec2vec", f"published {conditional}", level) in found for level in LEVELS)
        assert found["tok2tok", f"published {conditional}", 1e-5] > 97
    for conditional in ("direct", "optimized", "step_optimized", "multiplicative"):
        assert found["tok2tok", f"mild {conditional}", 1e-5] == 0


@pytest.mark.parametrize(("conditional", "level"), [("direct", 0.0), ("optimized", 1e-7), ("direct", 1e-9)])
def test_published_figures_are_met(conditional: str, level: float) -> None:
    published = published_results("tok2tok", str(TASKS["tok2tok"]), "yes", "float64", LEVELS)
    found = wrong("noise", "program", "form", "noise")["tok2tok", f"published {conditional}", level]
    assert found == pytest.approx(published[f"published {conditional}"][level].mean, abs=2)


def test_training_under_noise_pays() -> None:
    found = wrong("noise_trained", "program", "form", "taught", "noise")
    assert found["tok2tok", "trained at 0.003", "no", 0.0] == 0
    assert found["tok2tok", "trained at 0.003", "no", 0.002] < 5 < 30 < found["tok2tok", "derived", "no", 0.002]


def test_every_architecture_is_right_in_float32_without_noise() -> None:
    found = wrong("noise_types", "program", "form", "dtype", "noise")
    assert {found["tok2tok", arch, "float32", 0.0] for arch in ARCHITECTURES} == {0}
    for arch in ARCHITECTURES:
        assert found["vec2vec", arch, "float32", 0.0] == pytest.approx(0.0197, rel=1e-2)


def test_words_are_translated_by_every_architecture_in_float32() -> None:
    rows = kept("tokens", "tokens")
    assert {row["arch"] for row in rows} >= {"linear-rnn", "rnn", "lstm", "gru", "mamba", "hawk"}
    assert all(row["table"] == "25 words of 3 of 26 tokens" and row["wrong"] == 0 for row in rows)


def test_errors_stay_below_their_bounds() -> None:
    rows = kept("approximate", "approximate")
    bounded = [row for row in rows if not str(row["arch"]).startswith("published")]
    assert len(bounded) == 8 * 6
    assert len(rows) == len(bounded) + 2 * 6
    assert all(number(row, "largest") <= number(row, "bound") for row in bounded)
    assert all(number(row, "largest") > 0.9 * number(row, "bound") for row in rows if row["arch"] == "program")
