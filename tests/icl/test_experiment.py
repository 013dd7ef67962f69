"""`lsrl experiment`, and what the experiments measure."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lsrl.array_files import write_arrays
from support.commands import Run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_approximate(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "wave"
    words = ["experiment", "approximate", "--arch", "program", "--arch", "rnn", "--queries", "32", "-o", str(out)]
    done = run(*words, "--resolution", "4")
    assert done.status == 0, done.err
    assert f"{out}: approximate.csv, report.md, report.html" in done.out
    assert run(*words, "--resolution", "4", "--resolution", "8").status == 0
    found = rows_of(out / "approximate.csv")
    assert [(row["resolution"], row["arch"]) for row in found] == [(n, a) for n in "48" for a in ("program", "rnn")]
    for row in found:
        bound = 3 / (2 * int(row["resolution"]))
        assert float(row["bound"]) == pytest.approx(bound, rel=1e-2)
        assert bound / 2 < float(row["largest"]) <= bound
    assert {path.name for path in out.iterdir()} == {"approximate.csv", "report.md", "report.html", "error_wave.svg"}
    assert "| wave | 8 | rnn | float32 | 0 | 9 |" in (out / "report.md").read_text()
    assert "<td>wave</td><td>8</td>" in (out / "report.html").read_text()


def test_samples_of_a_file_are_told_apart_from_others(run: Run, tmp_path: Path) -> None:
    names = set()
    for value in (1.0, 2.0):
        samples = {"values": np.full((2, 1), value), "lower": np.zeros(1), "upper": np.ones(1)}
        write_arrays(tmp_path / "f.npz", samples)
        words = ["--samples", str(tmp_path / "f.npz"), "--resolution", "2", "-o", str(tmp_path)]
        assert run("experiment", "approximate", *words).status == 0
    found = rows_of(tmp_path / "approximate.csv")
    names = {row["function"] for row in found}
    assert len(names) == len(found) == 2
    assert all(name.startswith("f.npz ") for name in names)
    assert all(float(row["largest"]) == 0 for row in found)


def test_tokens(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("CAN,OTT\nFRA,PAR\nPER,LIM\n")
    words = ["--words", str(tmp_path / "w.csv"), "--arch", "lstm", "--arch", "program", "-o", str(tmp_path / "out")]
    done = run("experiment", "tokens", *words)
    assert done.status == 0, done.err
    assert [(row["positions"], row["wrong"]) for row in rows_of(tmp_path / "out/tokens.csv")] == [("21", "0.0")] * 2


def test_precision(run: Run, tmp_path: Path) -> None:
    """bfloat16 has 8 bits: enough for tokens below 4, too few for 64 points in each of 32 cells."""
    words = ["--dtype", "float64", "--dtype", "bfloat16", "--arch", "rnn", "--pairs", "3", "--vocabulary", "4"]
    done = run("experiment", "precision", *words, "-o", str(tmp_path))
    assert done.status == 0, done.err
    off = {(row["task"], row["dtype"]): float(row["off"]) for row in rows_of(tmp_path / "precision.csv")}
    assert off["vec2vec", "float64"] < 1e-12
    assert off["vec2vec", "bfloat16"] > 1e-2
    assert off["tok2tok", "float64"] == 0


def test_scaling(run: Run, tmp_path: Path) -> None:
    words = ["--tokens", "1", "--tokens", "2", "--pairs", "3", "--batch", "4", "--arch", "linear-rnn"]
    done = run("experiment", "scaling", *words, "-o", str(tmp_path))
    assert done.status == 0, done.err
    one, two = rows_of(tmp_path / "scaling.csv")
    assert (one["positions"], two["positions"]) == ("7", "14")
    assert int(one["parameters"]) < int(two["parameters"])
    assert float(one["positions_per_second"]) > 1


def test_interrupted_and_taken_up_again_it_is_what_it_is_at_once(run: Run, tmp_path: Path) -> None:
    """Interrupted within a setting, whose draws are measured 32 at a time: in the end all files have the same bytes."""
    words = ["experiment", "noise", "--program", "vec2vec", "--resolution", "2", "--level", "0", "--level", "1e-3"]
    words += ["--form", "derived", "--form", "mild multiplicative", "--seeds", "40"]
    command = [sys.executable, "-m", "lsrl", *words, "-o", "parts"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    numbers = tmp_path / "parts/noise.csv"
    try:
        while not numbers.exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.strip() == "lsrl: interrupted"
    assert [path.name for path in numbers.parent.iterdir()] == ["noise.csv"]
    assert 32 <= len(rows_of(numbers)) < 160
    found = []
    for folder in ("parts", "whole"):
        assert run(*words, "-o", folder).status == 0
        found.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == 4


@pytest.mark.parametrize(
    ("library", "words", "says"),
    [
        ("pyarrow", ["approximate", "--parquet"], "Parquet needs pyarrow, which is not installed: pip install"),
        ("torch", ["noise"], "the noise study needs torch, which is not installed: pip install"),
    ],
)
def test_without_a_library_nothing_is_measured(tmp_path: Path, library: str, words: list[str], says: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; from lsrl.cli import main; main({['experiment', *words]!r})"
    command = [sys.executable, "-c", code.replace("])", ", '-o', 'out'])")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_noise(run: Run, tmp_path: Path) -> None:
    words = ["--program", "vec2vec", "--form", "derived", "--level", "0", "--level", "1e-7", "--seeds", "2", "--alone"]
    done = run("experiment", "noise", *words, "-o", "out")
    assert done.status == 0, done.err
    found = rows_of(tmp_path / "out/noise.csv")
    assert len(found) == 8
    assert all(0.01 < float(row["wrong"]) < 0.05 for row in found)  # cells of width 1/8, and no noise to speak of
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".md", ".html", ".svg"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tokens", "--tokens", "1", "--pairs", "11"], "there are 10 words of 1 of 10 tokens, not 11"),
        (["approximate", "--samples", "no.npz"], "no.npz"),
        (["approximate", "--function", "rings", "--resolution", "2000"], "at most 1048576 cells, not 2000^2"),
        (["noise", "--level", "nan"], "levels of noise are finite numbers, not nan"),
        (["noise", "--dtype", "float64", "--form", "derived", "--tokens", "1", "--pairs", "11"], "there are 10 words"),
    ],
)
def test_faults_are_told(run: Run, tmp_path: Path, words: list[str], says: str) -> None:
    done = run("experiment", *words, "-o", str(tmp_path / "out"))
    assert done.status == 1
    assert says in done.err
