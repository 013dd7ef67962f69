"""The page of measured times says what the stored results say."""

from types import ModuleType

import pytest

from support.process import ROOT


@pytest.fixture
def report(neighbours: None) -> ModuleType:
    import grids_report

    return grids_report


def test_page_is_current(report: ModuleType) -> None:
    page = report.page(report.stored("grids"), report.stored("graphs"))
    assert page == (ROOT / "docs/performance-grids.md").read_text()


def timing(seconds: float) -> dict[str, float]:
    return {"median": seconds, "lower": 0.9 * seconds, "upper": 1.1 * seconds, "rounds": 3, "first": seconds}


def row(framework: str, own: float, peer: float) -> dict[str, object]:
    times = {"ours, auto (dag)": timing(own), "published, parallel": timing(peer)}
    place = {"framework": framework, "side": 32, "size": 16, "pass": "forward"}
    return place | {"times": times, "once": {"published, recurrent": 4.0}, "memory": {}, "missing": {}}


def test_what_is_missed_is_said(report: ModuleType) -> None:
    reached = [row("torch", 1.0, 3.5), row("jax", 1.0, 1.1)]
    assert "Both are reached in every row." in report.verdict(reached)
    missed = report.verdict([*reached, row("torch", 1.0, 2.5), row("jax", 1.0, 0.5)])
    assert "Missed here: torch, 32 x 32, 16 x 16, forward: 2.5; jax, 32 x 32, 16 x 16, forward: 0.5." in missed
    assert "Faster than `auto` by a tenth or more: jax, 32 x 32, 16 x 16, forward: published, parallel." in missed
