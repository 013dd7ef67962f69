"""Every family measures what it says: all its ways agree at small sizes, and one that does not is found."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("neighbours")
FAMILIES = ("diagonal", "dense", "diagonal_gru", "chunks", "exact")
SMALL = {"D": 8, "H": 8, "N": 2, "K": 16, "V": 16, "P": 8}
CHUNK = 64  # which a peer takes whole
LENGTH = 6
SLOW = ("torch.compile of the loop", "torch associative_scan")  # compiling takes seconds


def sorts(family: Any) -> list[Any]:
    """One row of each sort on a CPU: a program with its peers."""
    rows = [row for row in family.rows if row.device == "cpu"]
    return [*{(row.program, *row.peers): row for row in rows if not set(SLOW) & set(row.peers)}.values()]


def small(row: Any) -> Any:
    sizes = {name: SMALL[name] for name in row.sizes}
    if row.program == "std/exact/tok2tok":
        return replace(row, batch=2)  # its prompts are as long as they are
    return replace(row, batch=2, length=CHUNK if "K" in sizes else LENGTH, sizes=sizes, schedules=())


@pytest.mark.parametrize("name", FAMILIES)
def test_all_ways_of_each_sort_of_row_agree(name: str) -> None:
    running, family = import_module("running"), import_module(name).FAMILY
    for row in map(small, sorts(family)):
        ready = running.prepared(family, row, running.TARGETS["cpu"], ())
        missing = dict(ready.missing)
        for each in family.passes:
            assert "ours" in running.compared(ready, each, row)
        assert ready.missing == missing


def test_a_record_has_times_floor_and_what_is_missing() -> None:
    running, families = import_module("running"), import_module("families")
    missing = families.Missing("another", "it is not there")
    bench = running.Bench("triton", 0.0, {"float32": import_module("calibration").Rates(1e9, 1e9, 0, 1e9, 1e-9, 1, 1)})
    row = small(import_module("diagonal").ROWS[0])
    for record in running.measured(family_with(missing), row, bench):
        own = record["times"].get("ours", {}).get("median") or record["once"]["ours"]
        assert 0 < own < 60
        assert record["missing"] == {"another": "it is not there"}
        arrays = {"forward": 3, "forward and backward": 8}[record["pass"]]
        assert record["floor"]["memory"] == arrays * 4 * 2 * LENGTH * 8 / 1e9
        assert any("another: it is not there" in line for line in running.show(record))


def family_with(peer: Any) -> Any:
    return replace(import_module("diagonal").FAMILY, peers=lambda row: iter([peer]))


def test_a_way_that_computes_something_else_is_found() -> None:
    running, ways = import_module("running"), import_module("ways")
    row = small(import_module("diagonal").ROWS[0])
    bench = running.Bench("triton", 0.0, {"float32": import_module("calibration").Rates(1, 1, 0, 1, 1, 1, 1)})
    wrong = ways.Way("wrong", "torch", lambda arrays: 1.01 * arrays["x"])
    with pytest.raises(running.BenchmarkError, match="wrong differs from ours"):
        next(running.measured(family_with(wrong), row, bench))
    yardstick = replace(wrong, same=False)
    found = next(running.measured(family_with(yardstick), row, bench))
    assert "wrong" in found["times"] | found["once"]


def test_a_gradient_that_is_zero_is_compared_with_the_others() -> None:
    errors = import_module("running").errors
    right = {"a": np.ones(4), "zero": np.full(4, 1e-8)}
    assert errors({"a": np.ones(4), "zero": -np.full(4, 1e-8)}, right)["zero"] < 1e-4
    assert errors({"a": np.ones(4), "zero": np.full(4, 1e-2)}, right)["zero"] > 1
    assert errors({"a": np.full(4, 1.1), "zero": right["zero"]}, right)["a"] == pytest.approx(0.1)
    assert errors({"a": np.full(4, np.nan)}, right)["a"] == np.inf


def test_the_floor_is_what_takes_longest() -> None:
    rates = import_module("calibration").Rates(memory=10, near=40, cache=30, matrix=100, step=0.5, loop=1, whole=1)
    work = import_module("families").Work(bytes=50, operations=1000, steps=3)
    assert work.floor(rates) == {"memory": 5.0, "arithmetic": 10.0, "steps": 1.5}
    assert replace(work, bytes=20).floor(rates)["memory"] == 0.5  # it stays in the cache


def test_diagonal_work_is_that_of_its_arrays() -> None:
    diagonal = import_module("diagonal")
    row = next(row for row in diagonal.ROWS if row.name == "B=8, T=4096, D=1024")
    forward, training = diagonal.work(row).values()
    assert forward.bytes == 3 * 8 * 4096 * 1024 * 4
    assert training.bytes == 8 * 8 * 4096 * 1024 * 4


def test_lstm_work_is_that_of_its_products() -> None:
    dense = import_module("dense")
    row = next(row for row in dense.ROWS if row.name == "lstm, B=16, T=256, H=512")
    forward, training = dense.work(row).values()
    assert forward.operations == 2 * 16 * 256 * (4 * 512) * (512 + 512)
    assert training.operations == 3 * forward.operations


def test_rates_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = import_module("calibration")
    for name, less in (("NUMBERS", {"cpu": 1 << 18}), ("SIDE", {"cpu": 128}), ("STEPS", 1 << 14), ("TURNS", 1 << 12)):
        monkeypatch.setattr(calibration, name, less)
    found = calibration.measure()
    assert 1e8 < found.memory <= found.near < 1e14
    assert found.cache >= 1 << 20
    assert 1e8 < found.matrix < 1e14
    assert 1e-11 < found.step < 1e-6
    assert found.whole > found.loop * 1000


def test_a_module_that_was_written_is_loaded_where_the_compiler_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    emitted = import_module("emitted")
    monkeypatch.setattr(emitted, "FOLDER", tmp_path)
    row = small(import_module("diagonal").ROWS[0])
    here = emitted.written(row, "triton"), emitted.written(row, "triton", "chunk")
    monkeypatch.setattr(emitted, "find_spec", lambda name: None)
    assert (emitted.written(row, "triton"), emitted.written(row, "triton", "chunk")) == here
    assert here[0].schedule.startswith("h=")
    assert "chunk" in here[1].refused
    with pytest.raises(FileNotFoundError):
        emitted.written(replace(row, length=7), "triton")


def test_a_way_that_has_run_before_is_not_warmed_up() -> None:
    from lsrl.measure import in_turns

    calls: list[str] = []
    ways = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    found = in_turns(ways, 0.0, known={"a": 5.0, "b": 7.0})
    assert calls == ["a", "b"] * 3
    assert (found["b"].first, found["b"].rounds) == (7.0, 3)


def test_a_row_whose_ways_disagree_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running, ways = import_module("running"), import_module("ways")
    rates = import_module("calibration").Rates(1, 1, 0, 1, 1, 1, 1)
    monkeypatch.setattr(running, "measure", lambda device, dtype: rates)
    monkeypatch.setattr(running, "BESIDE", {"cpu": ()})
    rows = [replace(small(import_module("diagonal").ROWS[0]), name=name) for name in ("right", "wrong")]
    half = ways.Way("half", "torch", lambda arrays: arrays["x"] / 2)
    peers = {"right": (), "wrong": (half,)}
    family = replace(family_with(half), rows=rows, peers=lambda row: iter(peers[row.name]))
    with pytest.raises(SystemExit, match="wrong, forward: half differs from ours"):
        running.run(family, ["-o", str(tmp_path / "found.json"), "--seconds", "0"])
    found = json.loads((tmp_path / "found.json").read_text())
    assert {row["row"] for row in found["rows"]} == {"right"}
    assert found["rates"]["float32"]["whole"] == 1
    assert "ours : floor" in capsys.readouterr().out


def test_a_peer_that_fails_is_told() -> None:
    running, ways = import_module("running"), import_module("ways")

    def fail(arrays: object) -> object:
        raise RuntimeError("no such\n    device")

    row = small(import_module("diagonal").ROWS[0])
    ready = running.prepared(family_with(ways.Way("peer", "torch", fail)), row, "cpu", ())
    for each in ("forward", "forward and backward"):
        assert [*running.compared(ready, each, row)] == ["ours"]
    assert ready.missing == {"peer": "RuntimeError: no such device"}


def test_the_chain_of_a_gpu_adds_one_after_the_other() -> None:
    place = torch.ones(1)
    import_module("calibration_kernel").chain[(1,)](place, 5)
    wanted = 1.0
    for _ in range(5):
        wanted = wanted * 0.999 + 1
    assert place.item() == pytest.approx(wanted, rel=1e-6)
