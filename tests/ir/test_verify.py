"""The verifier finds each way in which a cell can be broken, and nothing in a sound one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.ir.text import parse
from lsrl.ir.verify import BrokenCell, check, verify
from support.graphs import random_cell

SOUND = """\
cell leaky over t:
    size H
    size D = H
    input x: float[H]
    param a: float[] ~ normal(%1, %2)
    noise eps: float[H] ~ uniform(%2)
    state h: float[H] along t = %3 -> %7

    %1 = const(value=0/1) : float[]
    %2 = const(value=1/1) : float[]
    %3 = expand(%1, axes=(0,), shape=[H]) : float[H]
    %a = param(name="a") : float[]
    %h = state(axis="t", name="h") : float[H]
    %4 = mul(%a, %h) : float[H]
    %x = input(name="x") : float[H]
    %eps = noise(name="eps") : float[H]
    %5 = add(%x, %eps) : float[H]
    %7 = add(%4, %5) : float[H]

    output o = %7
    require <H - 1> "H is positive"
"""
GRAPH = """\
cell sums over graph:
    size H
    input x: node float[H]
    state h: edge float[H] along graph = %0 -> %3

    %z = const(value=0/1) : float[]
    %0 = expand(%z, axes=(0,), shape=[H]) : float[H]
    %h = state(axis="graph", name="h") : edge float[H]
    %x = input(name="x") : node float[H]
    %2 = read(%x, via="edge.from") : edge float[H]
    %3 = add(%h, %2) : edge float[H]
    %4 = sum_in(%3, via="edge.to") : node float[H]

    output o = %4
"""

BREAKS = [
    ("param a: float[]", "param b: float[]", "the param a is used but not declared"),
    ("input x: float[H]", "input x: float[D]", "the input x is declared float[D] but used as float[H]"),
    ("noise eps:", "noise x:", "the input or noise x is declared 2 times"),
    ("size D = H", "size H", "the size H is declared 2 times"),
    ("size D = H", "size D = K", "the default of the size D uses K"),
    ("    output o = %7\n", "", "there is no output"),
    ("over t:", "over t, t:", "the axes ('t', 't') are none or repeat"),
    ("over t:", "over t, graph:", "a cell over a graph has no further axes: ('t', 'graph')"),
    ("along t", "along y", "the state h travels along ('y',), the cell along ('t',)"),
    ('state(axis="t"', 'state(axis="y"', "the state h is read along y, but travels along t"),
    ("%5 = add", "%5 = plus", "the plus: there is no operation `plus`"),
    (
        "%5 = add(%x, %eps) : float[H]",
        "%5 = add(%x, %eps) : int[H]",
        "the add has type int[H] but should have float[H]",
    ),
    ("%5 = add(%x, %eps)", "%5 = add(%x)", "the add: verify: `add` takes 2 operands and the attributes ()"),
    (
        "%5 = add(%x, %eps)",
        "%5 = and(%x, %eps)",
        "the and: E0402: a truth value is needed; found: float; expected: bool",
    ),
    ("value=1/1", "value=1", "the const has type float[] but should have int[]"),
    ("= %3 -> %7", "= %3 -> %a", "the state h is float[H] but passes on float[]"),
    ("= %3 -> %7", "= %1 -> %7", "the state h is float[H] but starts as float[]"),
    ("= %3 -> %7", "= %x -> %7", "the initial value of the state h is not static: it reads x"),
    ("uniform(%2)", "unifrom(%2)", "the noise eps: there is no distribution unifrom"),
    ("uniform(%2)", "uniform()", "the noise eps: uniform takes (1, 2) arguments, not 0"),
    ("uniform(%2)", "uniform(%3)", "the noise eps: an argument of uniform has the shape [H]"),
    ("normal(%1, %2)", "value(%h)", "the param a: an argument of value has the shape [H]"),
    ("normal(%1, %2)", "value(%h)", "the param a: an argument of value is not static: it reads h"),
    ("over t:", "over t heads N:", "the heads uses the unknown size N"),
    ("<H - 1>", "<N - 1>", "a requirement uses the unknown size N"),
    ("size H\n", "size N\n", "the expand uses the unknown size H"),
    ("input x: float[H]", "input x: node float[H]", "the input x lives on each node, but the cell is not over a graph"),
]


def test_sound_cells_have_no_problems() -> None:
    assert verify(parse(SOUND)) == ()
    assert verify(parse(GRAPH)) == ()


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_grown_cells_have_no_problems(random: Random) -> None:
    assert verify(random_cell(random)) == ()


@pytest.mark.parametrize(("old", "new", "problem"), BREAKS)
def test_a_broken_cell_is_found(old: str, new: str, problem: str) -> None:
    assert SOUND.count(old) == 1
    problems = verify(parse(SOUND.replace(old, new)))
    assert problem in problems


def test_domains_are_checked_in_cells_over_graphs() -> None:
    crossed = GRAPH.replace('%2 = read(%x, via="edge.from") : edge float[H]\n', "").replace("%2", "%x")
    assert "a edge value and node value cannot meet here" in "\n".join(verify(parse(crossed)))
    timed = GRAPH.replace("graph", "t")
    assert "the read lives on each edge, but the cell is not over a graph" in verify(parse(timed))


def test_check_raises_with_every_problem() -> None:
    cell = parse(SOUND.replace("uniform(%2)", "unifrom(%2)").replace("size D = H", "size H"))
    with pytest.raises(BrokenCell, match=r"leaky is not well formed:\n- the size H .*\n- the noise eps: .*unifrom"):
        check(cell)
    assert check(parse(SOUND)) == parse(SOUND)
