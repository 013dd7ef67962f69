"""The tables of the documentation are those of the numbers that are kept, and these say what the page says."""

from __future__ import annotations

import csv
from statistics import fmean

import pytest

from lsrl.icl_reports import REPORTS
from lsrl.icl_sweeps import Row, grouped, number, read_rows
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
    [("noise", "noise"), ("noise_alone", "noise"), ("precision", "precision"), ("scaling", "scaling")],
)
def test_tables_of_the_page_are_current(folder: str, name: str) -> None:
    _, _, behind = PAGE.partition(f"<!-- {folder} -->\n\n")
    report = REPORTS[name](kept(folder, name)).markdown()
    table = [line for line in report.splitlines() if line.startswith("|")]
    assert behind.splitlines()[: len(table)] == table


def test_derived_constants_withstand_noise_that_published_ones_do_not() -> None:
    wrong = {
        key: fmean(number(row, "wrong") for row in rows)
        for key, rows in grouped(kept("noise", "noise"), "program", "form", "noise")
    }
    assert all(wrong["tok2tok", "derived", level] == 0 for level in (0.0, 1e-9, 1e-7, 1e-5))
    assert wrong["tok2tok", "published multiplicative", 1e-5] > 78
    assert wrong["tok2tok", "published optimized", 1e-5] > 78


def test_words_are_translated_by_every_architecture_in_float32() -> None:
    rows = kept("tokens", "tokens")
    assert {row["arch"] for row in rows} >= {"linear-rnn", "rnn", "lstm", "gru", "mamba", "hawk"}
    assert all(row["table"] == "25 words of 3 of 26 tokens" and row["wrong"] == 0 for row in rows)


def test_errors_stay_below_their_bounds() -> None:
    rows = kept("approximate", "approximate")
    assert len(rows) == 18
    assert all(number(row, "largest") <= number(row, "bound") for row in rows)
    assert all(number(row, "largest") > 0.9 * number(row, "bound") for row in rows if row["arch"] == "program")
