"""Equations as LaTeX: how each form is set, and that what is printed is well formed for the whole library."""

from __future__ import annotations

import re

import pytest

from lsrl.catalog import PARTS, catalog
from lsrl.program import load
from lsrl.program import parse as program

HEAD = """
cell f(K, V):
    input q, k: [K], v: [V], a, b: [], p: [] bool
    param W: [V, K], gate_bias: [V], theta: []
    state S: [K, V] = 0, h: [V] = 0
    S' = a * S
    h' = a * h
"""

# An expression, and how it is set.
FORMS = [
    ("q @ S'", r"q_{t}^\top \, S_{t}"),
    ("W @ k", r"W \, k_{t}"),
    ("(W @ k) * v", r"\left(W \, k_{t}\right) \odot v_{t}"),
    ("a * v", r"a_{t} \, v_{t}"),
    ("v * 2", r"v_{t} \cdot 2"),
    ("(a + b) * a", r"\left(a_{t} + b_{t}\right) \, a_{t}"),
    ("a - (b - a)", r"a_{t} - \left(b_{t} - a_{t}\right)"),
    ("a / (1 + b)", r"\frac{a_{t}}{1 + b_{t}}"),
    ("(a + b) ** 2", r"\left(a_{t} + b_{t}\right)^{2}"),
    ("-a * b", r"-a_{t} \, b_{t}"),
    ("a - (-b)", r"a_{t} - \left(-b_{t}\right)"),
    ("sqrt(a / K)", r"\sqrt{\frac{a_{t}}{K}}"),
    ("outer(k, v)", r"k_{t}\, v_{t}^\top"),
    ("dot(q, k)", r"q_{t}^\top k_{t}"),
    ("W.T @ v", r"W^\top \, v_{t}"),
    ("h[t-1] + h", r"h_{t-1} + h_{t-1}"),
    ("x", r"x_{t}"),
    ("k[t-3]", r"k_{t-3}"),
    ("k[0]", r"k_{t}\left[0\right]"),
    ("S[:, 1:V]", r"S_{t-1}\left[{:}, 1{:}V\right]"),
    ("v + gate_bias", r"v_{t} + \mathit{gate\_bias}"),
    ("theta * pi", r"\theta \, \pi"),
    ("where(p, a, b)", r"\begin{cases} a_{t} & p_{t} \\ b_{t} & \text{otherwise} \end{cases}"),
    ("where(not p and a < b, a, b)", r"\begin{cases} a_{t} & \lnot p_{t} \land a_{t} < b_{t} \\"),
    ("concat(k, q)", r"\left[k_{t}; q_{t}\right]"),
    ("sum(S, axis=0)", r"\textstyle\sum\!\left(S_{t-1}, \mathrm{axis}=0\right)"),
    ("abs(a) + norm(k)", r"\left|a_{t}\right| + \left\|k_{t}\right\|"),
    ('einsum("k v, k -> v", S, q)', r"\operatorname{einsum}_{k v,\; k \to  v}\!\left(S_{t-1}, q_{t}\right)"),
    ("re(cis(theta) * 2j)", r"\Re\!\left(e^{i\, \theta} \cdot 2i\right)"),
    ("1e-8 * a", r"10^{-8}"),
    ("grad(a * b, a)", r"\nabla_{a_{t}}\, \left(a_{t} \, b_{t}\right)"),
    ("reverse along t gru(K, V)(k)", r"\overleftarrow{\operatorname{gru}}_{t}\!\left(k_{t}\right)"),
    ("reverse gru(K, V)(k)", r"\overleftarrow{\operatorname{gru}}\!\left(k_{t}\right)"),
    ("a // b", r"\left\lfloor \frac{a_{t}}{b_{t}} \right\rfloor"),
]


@pytest.mark.parametrize(("text", "formula"), FORMS, ids=[text for text, _ in FORMS])
def test_forms(text: str, formula: str) -> None:
    head = "from std import gru\n" if "gru" in text else ""
    fuller = HEAD.replace("    S' =", "    x = a * k\n    S' =")
    last = program(f"{head}{fuller}    output y = {text}\n").equations().splitlines()[-2]
    assert last.startswith(("y_{t} &= ", "y &= "))
    assert formula in last


def test_what_does_not_move_has_no_position() -> None:
    text = "cell f(D):\n    input x: [D]\n    param W: [D]\n    w = exp(W)\n    z = w * x\n    output z\n"
    assert program(text).equations().splitlines()[1:3] == [
        r"w &= \exp\!\left(W\right) \\",
        r"z_{t} &= w \odot x_{t}",
    ]


def test_grids_have_two_indices() -> None:
    text = (
        "cell f(D) over y, x:\n    input u: [D]\n    state R: [D] along x = 0\n    state h: [D] along y, x = 0\n"
        "    R' = R + u\n    h' = h[y-1] + h[x-1] + R'\n    output h'\n"
    )
    assert program(text).equations().splitlines()[1:3] == [
        r"R_{y, x} &= R_{y, x-1} + u_{y, x} \\",
        r"h_{y, x} &= h_{y-1, x} + h_{y, x-1} + R_{y, x}",
    ]


def test_turns_have_their_number_and_names_take_new_values() -> None:
    text = (
        "cell f(D, n=3):\n    input k: [n, D], b: [n]\n    state h: [D] = 0\n    x = h\n"
        "    repeat i in n:\n        x = x + b[i] * k[i]\n    h' = x\n    output h'\n"
    )
    assert program(text).equations().splitlines()[1:5] == [
        r"x_{t} &= h_{t-1} \\",
        r"&\text{for } i = 0, \ldots, n - 1 \text{:} \\",
        r"\quad x_{t} &\leftarrow x_{t} + b_{t}\left[i\right] \, k_{t}\left[i\right] \\",
        r"h_{t} &= x_{t}",
    ]


def test_resets_and_held_states_are_told() -> None:
    text = (
        "cell f(D):\n    input x: [D], r, p: [] bool\n    state h: [D] = 0\n    reset when r\n    hold when not p\n"
        "    h' = h + x\n    output h'\n"
    )
    assert program(text).equations().splitlines()[1:3] == [
        r"&\text{start anew where } r_{t} \\",
        r"&\text{states stay where } \lnot p_{t} \\",
    ]


def test_the_cell_that_is_meant_is_printed() -> None:
    assert r"\mathit{place}_{t}" in load("std/counters", cell="modulo_counter").equations()
    assert r"\mathit{place}_{t}" not in load("std/counters", cell="tally").equations()


@pytest.mark.parametrize("name", [entry.name for entry in catalog() if entry.family != PARTS])
def test_the_library_is_well_formed(name: str) -> None:
    text = load(name).equations()
    bare = re.sub(r"\\[{}|]", "", text)
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    assert text.count(r"\begin{") == text.count(r"\end{")
    rows = text.splitlines()[1:-1]
    assert [row for row in map(without_cases, rows) if row.count("&") != 1] == []


def without_cases(row: str) -> str:
    """A row without choices, the innermost first."""
    less = re.sub(r"\\begin\{cases\}((?!\\begin).)*?\\end\{cases\}", "", row)
    return row if less == row else without_cases(less)
