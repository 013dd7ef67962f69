"""Rational arithmetic: the reference without rounding, and what it refuses."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import lsrl
from lsrl.backends.evaluation.exact import InexactError
from lsrl.cli import main
from lsrl.compiled import Compiled
from lsrl.ir.fault import Refusal


def run(body: str, x: list[object]) -> dict[str, list[object]]:
    """The outputs of a cell with one scalar input, along one sequence."""
    fn = lsrl.compile(lsrl.parse(f"cell f():\n    input x: []\n{body}"), target="reference", dtype="exact")
    outputs = fn({}, {"x": np.array([x], object)}).outputs
    return {name: array[0].tolist() for name, array in outputs.items()}


def test_a_leaky_sum_is_what_fractions_say() -> None:
    given = [Fraction(1, 3), Fraction(-5, 7), 2, Fraction(1, 10)]
    h, expected = Fraction(1, 3), []
    for x in given:
        h = h / 3 + Fraction(1, 10) * x
        expected.append(h)
    found = run("    state h: [] = 1/3\n    h' = h / 3 + 0.1 * x\n    output h'\n", given)
    assert found["h"] == expected
    assert all(isinstance(number, Fraction) for number in found["h"])


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("x // (2/3) + x % (2/3)", lambda x: x // Fraction(2, 3) + x % Fraction(2, 3)),
        ("floor(x) * ceil(x) + round(x)", lambda x: (x // 1) * -(-x // 1) + round(x)),
        ("relu(x) - abs(x) + sign(x)", lambda x: max(x, 0) - abs(x) + (x > 0) - (x < 0)),
        ("max(x, 1/7) / (1 + x**2) + x**-2", lambda x: max(x, Fraction(1, 7)) / (1 + x**2) + 1 / x**2),
        ("where(x > 1/3, 1, x) + float(int(x))", lambda x: (1 if x > Fraction(1, 3) else x) + int(x)),
        (
            "dot([x, 1/3, 2], [3, x, x]) + sum([x, x]) - max([x, 1/3])",
            lambda x: 5 * x + x / 3 + 2 * x - max(x, Fraction(1, 3)),
        ),
        ("[1/3, x, 2/3][int(x > 0)]", lambda x: x if x > 0 else Fraction(1, 3)),
    ],
)
def test_operations_against_fractions(expression: str, function: object) -> None:
    given = [Fraction(1, 3), Fraction(-22, 7), 5, Fraction(7, 3), Fraction(1, 2)]
    assert run(f"    output y = {expression}\n", given)["y"] == [function(Fraction(x)) for x in given]  # type: ignore[operator]


def test_floats_are_taken_as_the_numbers_they_are() -> None:
    fn = lsrl.compile(
        lsrl.parse("cell f():\n    input x: []\n    output y = x + 0.2\n"), target="reference", dtype="exact"
    )
    assert fn({}, {"x": np.array([[0.1]])}).outputs["y"][0, 0] == Fraction(0.1) + Fraction(1, 5)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    output y = tanh(x)\n", "<text>:3:16: `tanh` has no exact result; exact results are rational numbers"),
        ("    output y = 2 * pi * x\n", "pi is no rational number"),
        ("    output y = x ** (1/2)\n", "3:"),
        ("    output y = max(x, -inf)\n", "-inf is no rational number"),
        ("    output y = 1 / (x - 2)\n", "<text>:3:16: `div` divides by zero"),
    ],
)
def test_what_is_not_rational_is_refused(body: str, said: str) -> None:
    with pytest.raises(InexactError) as caught:
        run(body, [1, 2])
    assert said in str(caught.value)


def test_other_targets_and_gradients_are_refused() -> None:
    program = lsrl.load("std/counters", cell="modulo_counter")
    with pytest.raises(Refusal, match="exact results are those of the reference"):
        lsrl.compile(program, target="jax", sizes={"M": 3}, dtype="exact")
    fn = lsrl.compile(program, target="reference", sizes={"M": 3}, dtype="exact")
    for method in ("reverse", "rtrl"):
        with pytest.raises(Refusal, match="no exact ones"):
            fn.gradients({}, {}, batch=1, length=2, method=method)
    with pytest.raises(Refusal, match="rational numbers"):
        lsrl.compile(lsrl.parse("cell f():\n    input x: []\n    output y = x\n"), target="reference", dtype="exact")(
            {}, {"x": np.array([[np.nan]])}
        )


def test_exact_gives_what_float64_does_where_that_is_exact() -> None:
    """A library program whose floats are whole numbers."""
    program = lsrl.load("std/counters", cell="modulo_counter")
    exact, double = (lsrl.compile(program, target="reference", sizes={"M": 7}, dtype=d) for d in ("exact", "float64"))
    ours, theirs = (fn({}, {}, batch=1, length=20).outputs["count"] for fn in (exact, double))
    assert ours.tolist() == theirs.tolist()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, given, out = tmp_path / "thirds.lsrl", tmp_path / "in.npz", tmp_path / "out.npz"
    program.write_text("cell thirds():\n    input x: []\n    output y = x / 3, z = 3 * x\n")
    np.savez(given, x=np.array([[1.0, 3.0, 5.0]]))
    words = ["run", str(program), "--inputs", str(given), "--dtype", "exact", "-o", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    assert "y: 2 of 3 elements were rounded to float64" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(out)["y"], [[1 / 3, 1, 5 / 3]])
    np.testing.assert_array_equal(np.load(out)["z"], [[3, 9, 15]])


LAGGED = """cell f(H=2):
    input x: [H]
    param w: [H]
    state h: [H] = w / 3
    h' = h / 3 + x[t-1]
    output h'
"""
GRID = """cell ways() over y, x:
    input u: []
    state n: [] along y, x = 0
    n' = u / 3 + n[y-1] + n[x-1]
    output n'
"""
GRAPH = """cell paths() over graph:
    node input q: []
    edge state c: []
    c' = sum_in(c) + q / 3
    output o = sum_in(c)
"""


def compiled(text: str) -> Compiled:
    return lsrl.compile(lsrl.parse(text), target="reference", dtype="exact")


def test_position_by_position() -> None:
    fn, x = compiled(LAGGED), np.arange(8.0).reshape(1, 4, 2)
    params = {"w": np.array([Fraction(1, 3), 2], object)}
    state = fn.initial_state(params, 1)
    for t in range(4):
        stepped = fn.step(params, {"x": x[:, t]}, state)
        state = stepped.state
    assert stepped.outputs["h"].tolist() == fn(params, {"x": x}).outputs["h"][:, -1].tolist()
    assert stepped.outputs["h"][0, 0] == Fraction(1, 9) / 81 + Fraction(2, 3) + 4
    assert "scan" in fn.explain()


def test_grids_and_graphs() -> None:
    found = compiled(GRID)({}, {"u": np.ones((1, 2, 2))}).outputs["n"]
    assert found[0].tolist() == [[Fraction(1, 3), Fraction(2, 3)], [Fraction(2, 3), Fraction(5, 3)]]
    given = {"q": np.ones(3), "edges": np.array([[0, 1], [1, 2]])}
    assert compiled(GRAPH)({}, given).outputs["o"].tolist() == [0, Fraction(1, 3), Fraction(2, 3)]
