"""Measured choices: every legal schedule is measured, the fastest is kept by buckets, and taken on request."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lsrl
from lsrl import bench
from lsrl.ir.fault import Refusal
from lsrl.ir.schedules.how import Scan, Sequential
from lsrl.measure import Timing
from lsrl.tuning import Setting, bucket, keep, tuned
from support.commands import DECAY, Run

SIZES = {"D": 3, "H": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def setting(batch: int = 8, length: int = 1000, target: str = "jax", dtype: str = "float32") -> Setting:
    return Setting(target, dtype, SIZES, batch, length)


@pytest.mark.parametrize(("number", "power"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 4), (1023, 512), (1024, 1024)])
def test_buckets_are_powers_of_two(number: int, power: int) -> None:
    assert bucket(number) == power


def test_a_choice_serves_its_bucket_and_nothing_else() -> None:
    graph, _ = lsrl.parse(DECAY).bind(SIZES)
    keep(graph, setting(), "h=scan")
    assert {tuned(graph, setting(batch, length)) for batch in (8, 15) for length in (512, 1023)} == {"h=scan"}
    others = (setting(7), setting(16), setting(8, 511), setting(8, 1024), setting(dtype="float64"))
    for other in (*others, setting(target="triton"), Setting("jax", "float32", {"D": 3, "H": 5}, 8, 1000)):
        with pytest.raises(Refusal, match="has not been tuned"):
            tuned(graph, other)


def test_what_was_kept_is_compiled_on_request() -> None:
    program = lsrl.parse(DECAY)
    with pytest.raises(Refusal, match="`lsrl tune` does that"):
        lsrl.compile(program, "jax", SIZES, schedule="tuned", length=100)
    keep(program.bind(SIZES)[0], setting(8, 100), "h=sequential(save)")
    assert str(lsrl.compile(program, "jax", SIZES, schedule="tuned", length=64).schedule) == "h=sequential(save)"
    assert str(lsrl.compile(program, "jax", SIZES, length=64).schedule) == "h=sequential"


@pytest.mark.filterwarnings("ignore:.*plain PyTorch form")
def test_schedules_are_measured_and_sorted() -> None:
    rows = bench.measure(lsrl.parse(DECAY), setting(2, 16, "triton"), (Sequential(), Scan()), seconds=0.01)
    assert {row.schedule for row in rows} == {"h=sequential", "h=scan"}
    assert [row.training.median for row in rows] == sorted(row.training.median for row in rows)
    assert all(0 < row.forward.median < row.forward.first * 100 for row in rows)


def test_commands(run: Run, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """What is measured is tested above; here a slow scan."""
    quick, slow = (Timing(median, median, 2 * median, 3, 1.0) for median in (0.001, 0.002))
    rows = (bench.Measured("h=sequential", quick, quick), bench.Measured("h=scan", slow, slow))
    for command in ("bench", "tune"):
        monkeypatch.setattr(f"lsrl.cli.{command}.measure", lambda *_: rows)
    words = ("decay.lsrl", "--set", "D=3", "--length", 100)
    assert run("bench", *words).out.splitlines()[1:] == [
        "schedule      forward        with gradients  slower by",
        "h=sequential  1 ms (1 to 2)  1 ms (1 to 2)   1.00",
        "h=scan        2 ms (2 to 4)  2 ms (2 to 4)   2.00",
    ]
    assert [row["schedule"] for row in run("bench", *words, "--json").data] == ["h=sequential", "h=scan"]
    done = run("tune", *words)
    assert done.status == 0
    (kept,) = cache.glob("lsrl/tuned/*.json")
    assert json.loads(kept.read_text()) == {"program": "decay", "schedule": "h=sequential"}
    assert done.out.splitlines()[-1] == f"h=sequential is kept in {kept}"


def test_over_graphs(run: Run, tmp_path: Path, cache: Path) -> None:
    """A random graph, or that of a file; what is kept is found again for graphs of about as many nodes."""
    (tmp_path / "sums.lsrl").write_text(
        "cell sums() over graph:\n    node input x: []\n    edge state c: []\n"
        "    c' = sum_in(c) + x\n    output y = sum_in(c)\n"
    )
    np.savez(tmp_path / "path.npz", edges=np.stack([np.arange(9), np.arange(1, 10)], 1))
    np.savez(tmp_path / "ring.npz", edges=np.array([(0, 1), (1, 0)]))
    np.savez(tmp_path / "none.npz", nodes=np.arange(3))
    words = ("sums.lsrl", "--seconds", 0.01)
    random = run("bench", *words, "--length", 12, "--schedule", "dag", "--target", "triton").out.splitlines()
    assert random[0] == "triton, float32, a random graph of 12 nodes"
    assert [line.split()[0] for line in random[2:]] == ["c=dag"]
    kept = run("tune", *words, "--graph", "path.npz", "--schedule", "dag(rounds)").out.splitlines()
    assert kept[0] == "jax, float32, path.npz, 10 nodes, 9 edges"
    graph, _ = lsrl.load(tmp_path / "sums.lsrl").bind({})
    assert tuned(graph, Setting("jax", "float32", {}, 8, 15)) == "c=dag(rounds)"
    for file, fault in (("ring", "edges 0 (0 -> 1), 1 (1 -> 0) form a cycle"), ("none", "there is no array `edges`")):
        found = run("bench", *words, "--graph", f"{file}.npz")
        assert found.status == 1
        assert fault in found.err
    assert "runs over t, not over a graph" in run("bench", "decay.lsrl", "--set", "D=3", "--graph", "ring.npz").err
