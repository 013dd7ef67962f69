"""Pages of experiments say what their rows say, beside what was published where that is of the same."""

from __future__ import annotations

from statistics import fmean, median

import numpy as np
import pytest

from lsrl.icl_figures import curves_figure
from lsrl.icl_paper import published_results
from lsrl.icl_reports import noise_report, precision_report
from lsrl.icl_sweeps import Row
from lsrl.icl_tasks import LEVELS, TASKS

OF = str(TASKS["tok2tok"])


def noise_rows(form: str, dtype: str = "float64", taught: str = "yes") -> list[Row]:
    """Three seeds, wrong by seed^2 plus the number of the level."""
    same = {"program": "tok2tok", "of": OF, "form": form, "taught": taught, "dtype": dtype}
    return [
        {**same, "noise": level, "seed": seed, "wrong": seed**2 + place}
        for place, level in enumerate(LEVELS)
        for seed in range(3)
    ]


def test_the_protocol_stands_beside_what_was_published() -> None:
    report = noise_report([*noise_rows("published direct"), *noise_rows("derived")])
    assert report.header == ("program", "form", "0", "1e-09", "1e-07", "1e-05", "0.001")
    assert report.table[0] == (
        "tok2tok", "Petrov et al.: direct", "89.2 (92)", "89.8 (92)", "90.9 (92)", "99.5 (100)", "99.5 (100)"
    )  # fmt: skip
    ours = [f"{fmean((0 + n, 1 + n, 4 + n)):.3g} ({median((0 + n, 1 + n, 4 + n))})" for n in range(5)]
    assert report.table[1:] == (("tok2tok", "published direct", *ours), ("tok2tok", "derived", *ours))
    (picture,) = report.pictures
    assert [list(curves) for curves in picture.panels.values()] == [
        ["published direct"],
        ["published direct", "derived"],
    ]
    assert "taught: yes, dtype: float64" in report.says


@pytest.mark.parametrize(("dtype", "taught"), [("float32", "yes"), ("float64", "no")])
def test_nothing_else_was_published(dtype: str, taught: str) -> None:
    report = noise_report(noise_rows("published direct", dtype, taught))
    assert [line[1] for line in report.table] == ["published direct"]
    assert list(report.pictures[0].panels) == [""]
    assert published_results("tok2tok", "5 words of 2 of 6 tokens", "yes", "float64", LEVELS) == {}
    assert published_results("tok2tok", OF, "yes", "float64", LEVELS[:3]) == {}


def test_types_and_teaching_are_columns_where_they_differ() -> None:
    report = noise_report([*noise_rows("derived"), *noise_rows("derived", "float32", "no")])
    assert report.header[:4] == ("program", "form", "taught", "dtype")
    assert [line[2:4] for line in report.table] == [("yes", "float64"), ("no", "float32")]
    assert {picture.name for picture in report.pictures} == {
        "noise_tok2tok_taught_float64",
        "noise_tok2tok_alone_float32",
    }


def test_what_was_not_measured_and_what_is_no_number() -> None:
    rows = [
        {"task": "t", "of": "o", "arch": arch, "dtype": dtype, "off": off}
        for arch, dtype, off in (("a", "x", 1.0), ("a", "y", np.nan), ("b", "y", 2.0), ("b", "y", 3.0))
    ]
    report = precision_report(rows)
    assert report.header == ("task", "of", "arch", "x", "y")
    assert report.table == (("t", "o", "a", "1", "no number"), ("t", "o", "b", "–", "3"))


@pytest.mark.parametrize(
    ("points", "scales"),
    [
        ([(5, 0.1), (9, 0.01)], ("log", "log")),
        ([(0, 0.0), (1e-9, 50.0)], ("symlog", "linear")),
        ([(0, 0.1), (1e-9, np.nan)], ("linear", "log")),
        ([(0, np.nan), (1, np.inf)], ("linear", "linear")),
    ],
)
def test_scales_fit_the_numbers(points: list[tuple[float, float]], scales: tuple[str, str]) -> None:
    figure = curves_figure({"left": {"a": points}, "right": {"b": points, "a": points}}, "x", "y", "title")
    left, right = figure.axes
    assert (right.get_xscale(), right.get_yscale()) == scales
    colours = {line.get_label(): line.get_color() for line in (*left.lines, *right.lines)}
    assert left.lines[0].get_color() == colours["a"] != colours["b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    figure.canvas.draw()
