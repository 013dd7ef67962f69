"""`lsrl.load`, `lsrl.parse` and `Program`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lsrl
from lsrl import stages
from lsrl.ir.dims import Dim, DimError
from lsrl.ir.schedules.how import HowError
from lsrl.schedule import ScheduleError
from lsrl.sizes import infer_sizes
from support.commands import DECAY

TWO = """cell first(D):
    input x: [D]
    output y = 2 * x


cell second(D, N=D//2):
    \"\"\"Its own words.\"\"\"
    input x: [D], i: [] int(N), go: [] bool
    input z: [N] complex
    output y = x
"""


def test_a_program_tells_what_it_needs_and_gives() -> None:
    program = lsrl.parse(DECAY)
    assert repr(program) == (
        "decay(D, H=4)\n"
        "  inputs   x: [D]\n"
        "  params   Wa: [H, D], Wb: [H, D]\n"
        "  states   h: [H]\n"
        "  outputs  h: [H]"
    )
    assert (program.name, program.doc) == ("decay", "A sum that forgets, at a rate that the input sets.")
    assert list(program.sizes) == ["D", "H"]
    assert program.sizes["D"].default is None
    assert program.sizes["H"].default == Dim.of(4)
    assert program.params["Wa"].shape == (Dim.of("H"), Dim.of("D"))
    assert program.outputs["h"].kind == "float"


def test_kinds_are_shown() -> None:
    inputs = lsrl.parse(TWO).inputs
    assert {name: repr(declared) for name, declared in inputs.items()} == {
        "x": "[D]",
        "i": "[] int(N)",
        "go": "[] bool",
        "z": "[N] complex",
    }


def test_one_of_several_cells() -> None:
    assert lsrl.parse(TWO).name == "second"
    assert lsrl.parse(TWO).doc == "Its own words."
    assert lsrl.parse(TWO, cell="first").name == "first"
    with pytest.raises(lsrl.LsrlError, match="third"):
        lsrl.parse(TWO, cell="third").graph  # noqa: B018


def test_programs_come_from_paths_and_the_library(tmp_path: Path) -> None:
    (tmp_path / "decay.lsrl").write_text(DECAY)
    for place in (tmp_path / "decay.lsrl", str(tmp_path / "decay.lsrl")):
        assert lsrl.load(place).name == "decay"
    assert lsrl.load("std/gru").name == "gru"
    with pytest.raises(FileNotFoundError):
        lsrl.load(tmp_path / "absent.lsrl")
    with pytest.raises(lsrl.LsrlError, match="std/absent"):
        lsrl.load("std/absent")


def test_a_file_of_functions_has_nothing_to_run() -> None:
    program = lsrl.parse("def double(x) = 2 * x\n")
    assert not program.has_cell
    with pytest.raises(lsrl.Refusal, match="functions only"):
        program.graph  # noqa: B018


def test_mistakes_are_raised_together() -> None:
    with pytest.raises(lsrl.LsrlError) as raised:
        lsrl.parse("cell f(D):\n    input x: [D]\n    output y = a + x, z = b\n")
    assert len(raised.value.diagnostics) == 2


def test_the_reference_computes_in_float64() -> None:
    """h' = a * h + (1 - a) * u for a = sigmoid(x), u = 2 x, written out for three positions."""
    program = lsrl.parse(DECAY)
    x = np.array([0.5, -1, 2.0])
    params = {"Wa": np.ones((1, 1)), "Wb": np.full((1, 1), 2)}
    result = program.reference(params, {"x": x.reshape(1, 3, 1)}, state={"h": [[0.25]]})
    h, expected = 0.25, []
    for value in x:
        a = 1 / (1 + np.exp(-value))
        h = a * h + (1 - a) * 2 * value
        expected.append(h)
    np.testing.assert_allclose(result.outputs["h"][0, :, 0], expected, rtol=1e-14)
    np.testing.assert_allclose(result.state["h"], [[h]], rtol=1e-14)
    assert result.outputs["h"].dtype == np.float64


def test_noise_is_drawn_with_a_fixed_seed() -> None:
    program = lsrl.parse("cell n(D):\n    input x: [D]\n    noise e: [D] ~ normal(1)\n    output y = x + e\n")
    one, two = (program.reference({}, {"x": np.zeros((1, 50, 2))}).outputs["y"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert 0.5 < one.std() < 1.5


# Sizes


def shapes(**arrays: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape) for name, shape in arrays.items()}


SIZED = """cell sized(A, B, C=7, L=2*A):
    input x: [A], y: [2*B + A]
    param W: [C, A - 1]
    state s: [B*C] = 0
    s' = s
    output o = x
"""


def test_sizes_follow_from_shapes() -> None:
    graph = lsrl.parse(SIZED).graph
    inputs = shapes(x=(1, 1, 3), y=(1, 1, 13))
    assert infer_sizes(graph, {}, {}, inputs) == {"A": 3, "B": 5, "C": 7, "L": 6}
    assert infer_sizes(graph, {}, shapes(W=(9, 2)), inputs) == {"A": 3, "B": 5, "C": 9, "L": 6}
    assert infer_sizes(graph, {"C": 4}, {}, inputs, shapes(s=(1, 20))) == {"A": 3, "B": 5, "C": 4, "L": 6}
    assert infer_sizes(graph, {}, {}, inputs, shapes(s=(1, 10)))["C"] == 2


@pytest.mark.parametrize(
    ("given", "inputs", "words"),
    [
        ({}, shapes(x=(1, 1, 3)), r"input y is missing: expected float \[B, T, A \+ 2\*B\]"),
        ({"B": 1}, shapes(x=(1, 1, 3), y=(1, 1, 9)), r"is 5: A=3 by input x \[A\], B=1 by the given sizes"),
        ({"A": 4}, shapes(x=(1, 1, 3), y=(1, 1, 6)), r"input x \[A\] has 3 where A is 4: A=4 by the given sizes"),
        ({"Q": 4}, shapes(x=(1, 1, 3), y=(1, 1, 5)), "has no size Q"),
        ({}, shapes(x=(1, 1, 3), y=(1, 1, 6)), "needs a value for the size B"),
    ],
)
def test_sizes_that_disagree_are_refused(given: dict[str, int], inputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises((DimError, lsrl.ArrayError), match=words):
        infer_sizes(lsrl.parse(SIZED).graph, given, {}, inputs)


# Schedules


def test_schedules_name_recurrences() -> None:
    graph, sizes = lsrl.load("std/mlstm").bind({"N": 2, "K": 3, "V": 4})
    for text in ("sequential", "C=sequential, m=sequential,n = sequential"):
        assert str(stages.make(graph, sizes, "jax", text).schedule) == "m=sequential,C=sequential,n=sequential"
    pointwise = lsrl.parse("cell f(D):\n    input x: [D]\n    output x\n").graph
    assert str(stages.make(pointwise, {"D": 2}, "jax").schedule) == "auto"


@pytest.mark.parametrize("text", ["newton", "fast", "q=sequential", "", "C=", "dag", "C=chunk(0)", "C=scan(3)"])
def test_other_schedules_are_refused(text: str) -> None:
    graph, sizes = lsrl.load("std/mlstm").bind({"N": 2, "K": 3, "V": 4})
    with pytest.raises((ScheduleError, HowError)):
        stages.make(graph, sizes, "jax", text)


def test_sizes_other_than_the_defaults_decide_the_turns_of_repeat() -> None:
    program = lsrl.parse(
        "cell model(D, L=2, untied=0):\n"
        "    input x: [D]\n"
        "    repeat L:\n"
        "        param w: [D]\n"
        "        x = w * x\n"
        "    repeat untied as head:\n"
        "        param v: [D]\n"
        "        x = v * x\n"
        "    output x\n"
    )
    cell, sizes = program.bind({"D": 3, "L": 1, "untied": 1})
    assert [param.name for param in cell.params] == ["layers.0.w", "head.0.v"]
    assert sizes == {"D": 3, "L": 1, "untied": 1}
    params = {"layers.0.w": np.full(3, 2.0), "head.0.v": np.full(3, 5.0)}
    result = program.reference(params, {"x": np.ones((1, 4, 3))}, sizes={"L": 1, "untied": 1})
    np.testing.assert_array_equal(result.outputs["x"], np.full((1, 4, 3), 10.0))


def test_a_cell_gives_its_names_the_name_that_it_is_imported_under() -> None:
    program = lsrl.parse(
        "from std import rnn as encoder, rnn\n"
        "import std as library\n\n"
        "cell model(D):\n"
        "    input x: [D]\n"
        "    output y = encoder(D, D)(x) + encoder(D, D)(x) + rnn(D, D)(x) + library.gru(D, D)(x)\n"
    )
    assert [state.name for state in program.graph.states] == ["encoder.h", "encoder_2.h", "rnn.h", "gru.h"]
