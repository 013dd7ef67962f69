"""Results as Parquet are those of the CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pyarrow import parquet

from lsrl.icl_parquet import write_parquet
from support.commands import Run


def test_parquet_has_what_the_csv_has(run: Run, tmp_path: Path) -> None:
    words = ["--words", str(tmp_path / "w.csv"), "--seeds", "2", "--parquet", "-o", str(tmp_path)]
    (tmp_path / "w.csv").write_text("CAN,OTT\nFRA,PAR\n")
    done = run("experiment", "tokens", *words)
    assert done.status == 0, done.err
    assert "tokens.csv, tokens.parquet, report.md, report.html" in done.out
    table = parquet.read_table(tmp_path / "tokens.parquet")
    types = {"table": "string", "arch": "string", "dtype": "string", "seed": "int64", "positions": "int64"}
    assert {field.name: str(field.type) for field in table.schema} == {**types, "wrong": "double"}
    with (tmp_path / "tokens.csv").open(newline="") as file:
        assert [{name: str(entry) for name, entry in row.items()} for row in table.to_pylist()] == list(
            csv.DictReader(file)
        )


def test_columns_with_a_number_that_is_not_whole_are_doubles(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 0, "c": "x"}, {"a": 2, "b": 1e-9, "c": 3}]
    write_parquet(rows, ("c", "b", "a"), tmp_path / "deep" / "t.parquet")
    table = parquet.read_table(tmp_path / "deep" / "t.parquet")
    assert table.to_pydict() == {"c": ["x", "3"], "b": [0.0, pytest.approx(1e-9)], "a": [1, 2]}
    first = (tmp_path / "deep" / "t.parquet").read_bytes()
    write_parquet(rows, ("c", "b", "a"), tmp_path / "deep" / "t.parquet")
    assert (tmp_path / "deep" / "t.parquet").read_bytes() == first
