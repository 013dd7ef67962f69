"""Traces as pages: every number of the network beside the reference's, in the program's names."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import torch

import lsrl
from lsrl.weights import compile as compile_weights
from lsrl.weights_trace_page import Row, heat_map

PROGRAMS = Path(__file__).parent / "programs"


def table(page: str) -> dict[str, list[Element]]:
    """The cells of every row, by its label."""
    assert page.startswith("<!doctype html>\n")
    root = ElementTree.fromstring(page.partition("\n")[2])
    assert root.find(".//script") is None
    return {str(row[0].text): list(row[1:]) for row in root.iter("tr")}


def test_numbers_stand_in_line(tmp_path: Path) -> None:
    compiled = compile_weights(lsrl.load(PROGRAMS / "majority.lsrl"), "lstm")
    bits = np.array([[0, 0], [1, 0], [0, 1]])
    compiled.trace({"x": bits}).save_html(tmp_path / "new" / "page.html", sequence=1)
    rows = table((tmp_path / "new" / "page.html").read_text())
    assert {name: [cell.text for cell in cells] for name, cells in rows.items()} == {
        "position": ["0", "1", "error"],
        "x": ["1", "0", "0"],
        "ones'": ["1", "1", "0"],
        "zeros'": ["0", "1", "0"],
        "out": ["1", "0", "0"],
    }
    assert [cell[0].text for cell in rows["out"][:2]] == ["1", "0"]  # the reference


def test_what_differs_is_framed() -> None:
    """A network whose read-out was moved by 1/4."""
    compiled = compile_weights(lsrl.load(PROGRAMS / "majority.lsrl"), "rnn")
    with torch.no_grad():
        compiled.module.readout.bias += 0.25
    rows = table(compiled.trace({"x": np.array([[1, 0]])}).html())
    assert [cell.get("class") for cell in rows["out"]] == ["off", "off", "error"]
    assert [cell.text for cell in rows["out"]] == ["1.25", "0.25", "0.25"]
    assert rows["out"][1].get("title") == "out at 1: 0.25 for 0.0, off by 0.25"
    assert [cell.get("class") for cell in rows["ones'"]] == [None, None, "error"]


def test_elements_have_indices_and_share_colours() -> None:
    program = lsrl.parse("cell pair():\n    input x: [2] int(4)\n    output y = 2 * float(x)\n")
    rows = table(compile_weights(program, "rnn").trace({"x": np.array([[[1, 3]]])}).html())
    assert [rows[name][0].text for name in ("y[0]", "y[1]")] == ["2", "6"]
    shades = [rows[name][0].get("style", "") for name in ("y[0]", "y[1]")]
    assert shades == ["background:#b6cbe2;color:#0f172a", "background:#2563a8;color:#ffffff"]


def test_any_text_and_any_number() -> None:
    odd = Row('<b>&"', np.array([np.nan, -0.0, 1.0, -2.0]), np.array([0.0, 0.0, np.inf, -2.0]), 2.0)
    rows = table(heat_map("</title><script>", [odd]))
    assert [cell.text for cell in rows['<b>&"']] == ["nan", "0", "1", "-2", "nan"]
    assert [cell.get("class") for cell in rows['<b>&"']] == ["off", None, "off", None, "error"]
    assert list(table(heat_map("empty", []))) == ["position"]
