"""The page of measurements says what the results say; goals and changes are the ratios that they name."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from support.process import ROOT

pytestmark = pytest.mark.usefixtures("neighbours")


def test_page_is_current() -> None:
    report = import_module("report")
    assert report.page(report.stored()) == (ROOT / "docs/performance.md").read_text()


def test_every_plot_is_drawn_and_shown() -> None:
    page = (ROOT / "docs/performance.md").read_text()
    drawn = {path.name for path in (ROOT / "docs/images").glob("speed_*.svg")}
    assert drawn
    assert {name for name in drawn if f"images/{name})" in page} == drawn


def timing(seconds: float) -> dict[str, float]:
    return {"median": seconds, "lower": 0.9 * seconds, "upper": 1.1 * seconds, "rounds": 3, "first": seconds}


def record(**times: float) -> dict[str, Any]:
    floor = {"memory": 0.5, "arithmetic": 0.1, "steps": 0.2}
    found = {name.replace("_", " "): timing(seconds) for name, seconds in times.items()}
    return {"row": "row", "pass": "forward", "target": "cpu", "times": found, "once": {}, "floor": floor, "products": 6}


def verdict(goal: Any, found: Any) -> Any:
    goals = import_module("goals")
    return goals.Verdict(goal, "row", "forward", goals.ratio(goal, found))


def test_a_speed_is_that_of_the_fastest_peer_of_the_name() -> None:
    goals = import_module("goals")
    goal = goals.Goal("dense", "row", 2.0, goals.SPEED, "peer")
    found = verdict(goal, record(ours=1.0, peer_slow=9.0, peer_fast=2.5))
    assert (found.found, found.reached, found.words) == (2.5, True, "reached")
    late = verdict(goal, record(ours=1.0, peer=1.6))
    assert (late.reached, late.words) == (False, "missed by a factor of 1.25")
    assert verdict(goal, record(ours=1.0)).words == "not measured"
    once = {**record(ours=1.0), "once": {"peer": 4.0}}
    assert verdict(goal, once).found == 4.0


def test_floors_and_products_are_to_be_small() -> None:
    goals = import_module("goals")
    floor = goals.Goal("diagonal", "row", 1.5, goals.FLOOR, "memory")
    assert verdict(floor, record(ours=0.7)).reached
    assert verdict(floor, record(ours=1.5)).words == "missed by a factor of 2.00"
    product = replace(floor, kind=goals.PRODUCT, against=goals.YARDSTICK, wanted=1.3)
    times = {"ours": timing(6.0), goals.YARDSTICK: timing(4.0)}
    assert verdict(product, {**record(), "times": times}).found == pytest.approx(2.0)  # 6 / 6 over 4 / 8


def test_every_goal_is_about_rows_that_are_measured() -> None:
    goals = import_module("goals")
    families = {name: import_module(name).FAMILY for name in ("diagonal", "dense", "diagonal_gru", "chunks", "exact")}
    for goal in goals.GOALS:
        if goal.family == "grids":
            continue
        rows = [row for row in families[goal.family].rows if row.device == goal.device]
        chosen = [row for row in rows if row.name.startswith(goal.rows)]
        assert chosen, goal
        if goal.kind == goals.PRODUCT:
            assert all(row.products for row in chosen), goal


def test_changes_are_in_goes_of_the_calibration_loop() -> None:
    regression = import_module("regression")
    rates = {"float32": {"whole": 0.1}}
    before = {"rows": [record(ours=1.0)], "rates": rates}
    (same,) = regression.changes({"rows": [record(ours=2.0)], "rates": {"float32": {"whole": 0.2}}}, before)
    assert same.factor == pytest.approx(1.0)
    (slower,) = regression.changes({"rows": [record(ours=2.0)], "rates": rates}, before)
    assert slower.factor == pytest.approx(2.0)
    other = {**record(ours=1.0), "target": "jax"}
    (unknown,) = regression.changes({"rows": [other], "rates": rates}, before)
    assert unknown.factor == float("inf")


def test_costs_are_told_with_the_goal_of_a_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report_costs = import_module("report_costs")
    compiled = {"program": "std/gru", "read": 1.0, "targets": {"jax": 9.0}, "lines": {"jax": 120}}
    calls = [{"row": "lstm", "target": "cpu", "cold": 3.0, "warm": 1.25}]
    held = [{"row": "lstm", "way": "ours", "each": "forward", "memory": 2_500_000}]
    waiting = {"machine": {"cores": "2"}, "load": 0.5, "imports": {"import torch": 1.5}, "first": calls, "memory": held}
    found = {"compile_time.json": {"rows": [compiled], "start": 300.0}, "costs_cpu.json": waiting}
    for name, each in found.items():
        (tmp_path / name).write_text(json.dumps(each))
    monkeypatch.setattr(report_costs, "RESULTS", tmp_path)
    told = "\n".join(report_costs.costs())
    assert "| jax | 1 | 10 | 10 (`std/gru`) | 1 | 120 | 120 |" in told
    assert "| import torch | 1500 |" in told
    assert "| lstm | cpu | 3.00 | 1.25 |" in told
    assert "under a second: missed: 1.25 s." in told
    assert "| lstm | ours | 2.5 |  |" in told
