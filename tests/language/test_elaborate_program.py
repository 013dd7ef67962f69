"""What the elaborator promises of every program: names, places, choice of the cell, the library."""

from __future__ import annotations

import pytest

from lsrl import elaborate
from lsrl.ir import verify
from lsrl.ir.span import LsrlError
from lsrl.ir.value import postorder
from lsrl.loader import library, load_library, load_text
from support.elaborated import cell_of_text, problems

MINGRU = """
cell mingru(D, H=2*D):
    \"""Minimal gated recurrent unit.\"""
    input x: [D]
    param Wz, Wh: [H, D]
    param bz: [H] = 0
    state h: [H] = 0

    z = sigmoid(Wz @ x + bz)
    c = Wh @ x
    h' = (1 - z) * h + z * c

    output h', y = z
"""


@pytest.mark.parametrize("name", library())
def test_the_library_has_nothing_to_be_said_about(name: str) -> None:
    loaded = load_library(name)
    assert elaborate.check(loaded.program, loader=loaded.loader) == ()
    for syntax in loaded.program.cells:
        verify.check(elaborate.elaborate(loaded.program, cell=syntax.name.id, loader=loaded.loader))


def test_values_keep_the_names_that_the_program_gives_them() -> None:
    cell = cell_of_text(MINGRU)
    assert sorted(cell.names.values()) == ["Wh", "Wz", "bz", "c", "h", "h'", "x", "z"]
    assert [output.name for output in cell.outputs] == ["h", "y"]
    assert cell.names[cell.states[0].next] == "h'"
    assert (cell.name, cell.doc) == ("mingru", "Minimal gated recurrent unit.")
    assert [(size.name, str(size.default)) for size in cell.sizes] == [("D", "None"), ("H", "2*D")]


def test_names_of_used_cells_are_led_by_their_scope() -> None:
    cell = cell_of_text(MINGRU + "\ncell two(D):\n    input x: [D]\n    a = mingru(D)(x).h\n    output y = a\n")
    named = {name: value for value, name in cell.names.items()}
    assert {"mingru.z", "mingru.h'", "mingru.Wz", "x"} <= set(named)
    assert named["mingru.h'"] is cell.outputs[0].value


def test_every_value_has_a_place_and_the_best_is_first() -> None:
    cell = cell_of_text(MINGRU + "\ncell two(D):\n    input x: [D]\n    output y = mingru(D)(2 * x).y\n")
    used = [value for value in postorder(cell.roots()) if value.op != "const"]
    assert all(cell.spans.get(value) for value in used)
    (sigmoid,) = (value for value in used if value.op == "sigmoid")
    assert [span.text for span in cell.spans[sigmoid][:2]] == ["sigmoid(Wz @ x + bz)", "mingru(D)(2 * x)"]


def test_the_cell_is_the_last_one_or_the_named_one() -> None:
    text = MINGRU + "\ncell id(D):\n    input x: [D]\n    output x\n"
    assert cell_of_text(text).name == "id"
    assert cell_of_text(text, "mingru").name == "mingru"
    with pytest.raises(LsrlError, match="did you mean `mingru`"):
        cell_of_text(text, "mingur")
    with pytest.raises(LsrlError, match="E0507"):
        cell_of_text("def f(x) = x\n")


def test_a_mistake_elsewhere_does_not_concern_the_named_cell() -> None:
    text = "cell wrong(D):\n    input x: [D]\n    output y = x + z\n\ncell right(D):\n    input x: [D]\n    output x\n"
    assert cell_of_text(text).name == "right"
    assert [diagnostic.code for diagnostic in problems(text)] == ["E0301"]


def test_an_error_in_an_imported_file_is_shown_there() -> None:
    loaded = load_text("from gates import f\n\ncell c(D):\n    input x: [D]\n    output y = f(x)\n", "main.lsrl")
    loaded.loader.add_text("gates.lsrl", load_text("def f(x) = x + w\n", "gates.lsrl").program)
    (diagnostic,) = elaborate.check(loaded.program, loader=loaded.loader)
    assert str(diagnostic.span) == "gates.lsrl:1:16"
    assert diagnostic.notes == ("used at main.lsrl:5:16",)
