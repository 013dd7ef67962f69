"""What is said about programs at fault: word for word, all at once, and quickly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lsrl.codes import CODES
from lsrl.diagnostics import render
from support.elaborated import codes, problems
from support.golden import Golden

ERRORS = Path(__file__).parents[1] / "errors"
PROGRAMS = sorted(ERRORS.glob("*.lsrl"))
OF_MEANING = [code for code in CODES if code[:3] not in ("E01", "E02")]


@pytest.mark.parametrize("code", OF_MEANING)
def test_the_example_of_a_code_provokes_it(code: str) -> None:
    assert code in codes(CODES[code].example)


@pytest.mark.parametrize("code", OF_MEANING)
def test_the_example_of_a_code_is_reported_as_reviewed(code: str, golden: Golden) -> None:
    golden.check(ERRORS / f"{code}.txt", render(problems(CODES[code].example)))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_slip_of_a_program_is_reported_as_reviewed(program: Path, golden: Golden) -> None:
    golden.check(program.with_suffix(".txt"), render(problems(program.read_text())))


def test_the_users_of_what_is_wrong_say_nothing() -> None:
    text = (
        "cell f(D):\n    input x: [D]\n    y = unknown(x)\n    z = y @ y + sum(y) * f(y)(y)\n    h' = z\n    output z\n"
    )
    assert codes(text) == ["E0301", "E0503"]


def test_a_mistake_in_a_used_cell_is_said_once() -> None:
    text = "cell g(D):\n    input x: [D]\n    output y = wrong(x)\n\n"
    text += "cell f(D):\n    input x: [D]\n    output y = g(D)(x) + g(2*D)(concat(x, x))[:D] + reverse g(D)(x)\n"
    assert codes(text) == ["E0301"]


def test_a_mistake_in_the_use_of_a_library_function_is_said_of_the_use() -> None:
    text = "from std.logic import ifeq\n\ncell f(D, H):\n    input x: [D], y: [H]\n    output z = ifeq(x, y, 1, 2)\n"
    (diagnostic,) = problems(text)
    assert diagnostic.span is not None
    assert (diagnostic.code, diagnostic.span.text) == ("E0401", "ifeq(x, y, 1, 2)")


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("solve(W, x)", "`solve` takes a square matrix"),
        ("solve(V, y)", "the right side of `solve` does not fit the matrix"),
        ("solve(V, W.T)", "the right side of `solve` does not fit the matrix"),
        ("inverse(x)", "`inverse` takes a matrix"),
        ("inverse(W)", "`solve` takes a square matrix"),
    ],
)
def test_what_cannot_be_solved(system: str, message: str) -> None:
    text = f"cell f(D):\n    input x: [D], y: [2*D]\n    param W: [D, 2*D], V: [D, D]\n    output z = {system}\n"
    assert [diagnostic.message for diagnostic in problems(text) if diagnostic.severity == "error"] == [message]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["hold when p", "hold when p", "h' = h + x"], "E0516"),
        (["h' = h + x", "hold when p"], "E0516"),
        (["hold when x", "h' = h + x"], "E0402"),
        (["hold when h' > 0", "h' = h + x"], "E0505"),
        (["repeat 2:", "    hold when p", "h' = h + x"], "E0509"),
        (["repeat i in 2:", "    z = x[t-i]", "h' = h + i * x"], "E0301"),
    ],
)
def test_what_cannot_be_held(lines: list[str], code: str) -> None:
    body = "".join(f"    {line}\n" for line in lines)
    text = f"cell f(D):\n    input x: [D], p: [] bool\n    state h: [D] = 0\n{body}    output h'\n"
    assert code in codes(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cell f(D):\n    input x: [D]\n    state h: [D] = 0\n    z = h\n    h' = x\n    output z\n", []),
        ("cell f(D):\n    input x, _x: [D]\n    _y = x\n    output x\n", []),
        ("cell f(D, H):\n    input x: [D]\n    output x\n", ["W0301"]),
        ("def f(a, b) = a\n\ncell g(D):\n    input x: [D]\n    output y = f(x, x)\n", ["W0301"]),
        ("cell f(D):\n    input x: [D]\n    repeat 2:\n        y = x\n        x = 2 * x\n    output x\n", ["W0301"]),
    ],
)
def test_warnings(text: str, found: list[str]) -> None:
    assert codes(text) == found


def doubling(form: str, first: str, times: int = 60) -> str:
    """A chain of definitions each of which uses the one before twice."""
    return "\n".join([first, *(form.format(this=n, before=n - 1) for n in range(1, times))]) + "\n"


SIZES = [f"S{n}" for n in range(40)]
HOSTILE = {
    "functions that double": (
        doubling("def f{this}(x) = f{before}(x) + f{before}(2 * x)", "def f0(x) = x", 45)
        + "cell c(D):\n    input x: [D]\n    output y = f44(x)\n",
        {"E0604"},
    ),
    "cells that double": (
        doubling(
            "cell c{this}(D):\n    input x: [D]\n    output y = c{before}(D)(x) + c{before}(D)(2 * x)\n",
            "cell c0(D):\n    input x: [D]\n    state h: [D] = 0\n    h' = h + x\n    output h'\n",
            45,
        ),
        {"E0604"},
    ),
    "cells sixty deep": (
        doubling(
            "cell c{this}(D):\n    input x: [D]\n    output y = c{after}(D)(x)\n".replace("{after}", "{before}"),
            "cell c0(D):\n    input x: [D]\n    output y = x\n",
        ),
        set(),
    ),
    "cells sixty deep from the top": (
        "".join(f"cell c{n}(D):\n    input x: [D]\n    output y = c{n + 1}(D)(x)\n" for n in range(60))
        + "cell c60(D):\n    input x: [D]\n    output y = x\n",
        {"E0605"},
    ),
    "functions deep inside of expressions": (
        doubling("def f{this}(x) = " + "tanh(" * 20 + "f{before}(x)" + ")" * 20, "def f0(x) = x", 40)
        + "cell c(D):\n    input x: [D]\n    output y = f39(x)\n",
        {"E0605"},
    ),
    "cells deep inside of expressions": (
        "".join(
            f"cell c{n}(D):\n    input x: [D]\n    output y = {'tanh(' * 9}c{n + 1}(D)(x){')' * 9}\n" for n in range(45)
        )
        + "cell c45(D):\n    input x: [D]\n    output y = x\n",
        {"E0605"},
    ),
    "a sum of a hundred terms in a hundred sums": (
        "def f(x) = "
        + " + ".join(["x"] * 100)
        + "\n\ncell c(D):\n    input x: [D]\n    output y = "
        + " + ".join(["f(x)"] * 100)
        + "\n",
        set(),
    ),
    "a million turns of turns": (
        "cell c(D):\n    input x: [D]\n" + "    repeat 100:\n        repeat 100:\n            repeat 100:\n"
        "                x = x + 1\n    output y = x\n",
        {"E0603"},
    ),
    "a size of many terms": (
        f"cell c({', '.join(SIZES)}):\n    input x: [({' + '.join(SIZES)})**3]\n    output x\n",
        {"E0602"},
    ),
    "a tower of powers": ("cell c():\n    input x: [9**9**9**9]\n    output x\n", {"E0602"}),
    "a number as a tower of powers": ("cell c():\n    input x: []\n    output y = x * 9**9**9**9\n", set()),
    "constants that double": (
        doubling("const C{this} = C{before} // 3 + C{before} % 7", "const C0 = 12345678901234")
        + "cell c():\n    input x: [C59]\n    output x\n",
        set(),
    ),
    "sizes that double": (
        "cell c(N):\n    input x: [N]\n"
        + doubling("    const C{this} = C{before} // (C{before} + N)", "    const C0 = N // 3")
        + "    output y = x * C59\n",
        {"E0602"},
    ),
    "a lag without end": ("cell c(D):\n    input x: [D]\n    output y = x[t-1000000000]\n", {"E0606"}),
    "parts without end": ("cell c(D):\n    input x: [D]\n    y = split(x, 10**9)\n    output y\n", {"E0408"}),
    "a constant that is itself": ("const A = B + 1\nconst B = A\n\ncell c():\n    output y = A\n", {"E0508"}),
    "heads beyond reason": ("cell c(D) heads 10**30:\n    input x: [D]\n    output x\n", {"E0602"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_are_answered_quickly(name: str) -> None:
    text, expected = HOSTILE[name]
    start = time.process_time()
    found = set(codes(text))
    assert time.process_time() - start < 3, "a second on a machine that does nothing else"
    assert {code for code in found if code.startswith("E")} == expected
