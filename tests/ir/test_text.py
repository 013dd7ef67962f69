"""Cells print as text that parses back to the same graph."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Input, Output, Param, Size, State
from lsrl.ir.dims import Dim
from lsrl.ir.ops import OPS
from lsrl.ir.text import TextError, parse, parse_dim, show, show_value
from lsrl.ir.value import Attr, Domain, Kind, Value, postorder
from support.graphs import CONSTANTS, Grower, random_cell

H = Dim.of("H")
MINGRU = '''\
cell mingru over t:
    doc "Minimal gated recurrent unit."
    size D
    size H = 64
    input x: float[D]
    param Wz: float[H, D] ~ uniform(%3)
    state h: float[H] along t = %2 -> %h'

    %Wz = param(name="Wz") : float[H, D]
    %x = input(name="x") : float[D]
    %0 = einsum(%Wz, %x, spec="ab,b->a") : float[H]
    %z = sigmoid(%0) : float[H]
    %h = state(axis="t", name="h") : float[H]
    %h' = mul(%z, %h) : float[H]
    %1 = const(value=0/1) : float[]
    %2 = expand(%1, axes=(0,), shape=[H]) : float[H]
    %3 = const(value=1/8) : float[]

    output h = %h'
'''


def mingru() -> Cell:
    x, w = ops.leaf("input", "x", (Dim.of("D"),), Kind.FLOAT), ops.leaf("param", "Wz", (H, Dim.of("D")), Kind.FLOAT)
    h = ops.state("h", "t", (H,), Kind.FLOAT)
    z = build.unary("sigmoid", build.einsum("ab,b->a", w, x))
    after = build.mul(z, h)
    return Cell(
        name="mingru",
        doc="Minimal gated recurrent unit.",
        sizes=(Size("D"), Size("H", Dim.of(64))),
        axes=("t",),
        inputs=(Input("x", x.shape),),
        params=(Param("Wz", w.shape, Kind.FLOAT, Distribution("uniform", (parsed_const("1/8"),))),),
        noises=(),
        states=(State("h", (H,), Kind.FLOAT, ("t",), build.zeros((H,)), after),),
        outputs=(Output("h", after),),
        names={w: "Wz", x: "x", z: "z", h: "h", after: "h'"},
    )


def parsed_const(text: str) -> Value:
    return parse(f"cell c over t:\n %0 = const(value={text}) : float[]\n output o = %0").outputs[0].value


def test_the_text_of_a_cell() -> None:
    assert show(mingru()) == MINGRU
    assert parse(MINGRU) == mingru()
    assert parse(MINGRU).names == mingru().names


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_parse_undoes_show(random: Random) -> None:
    cell = random_cell(random)
    again = parse(show(cell, spans=True))
    assert again == cell
    reached = set(postorder(cell.all_roots()))
    assert again.names == {v: name for v, name in cell.names.items() if v in reached}
    assert again.spans == {v: spans for v, spans in cell.spans.items() if v in reached}


@pytest.mark.parametrize("op", OPS)
def test_every_operation_round_trips(op: str) -> None:
    value = Grower(Random(op)).grow(op)
    text = "cell c over graph:\n" + show_value(value) + "\noutput o = %" + str(len(show_value(value).splitlines()) - 1)
    assert parse(text).outputs[0].value is value


@pytest.mark.parametrize("constant", CONSTANTS, ids=repr)
def test_every_constant_keeps_its_type_and_sign(constant: Attr) -> None:
    value = ops.const(constant)
    assert parse(f"cell c over t:\n{show_value(value)}\noutput o = %0").outputs[0].value is value


def test_domains_grids_and_heads_round_trip() -> None:
    s = ops.state("S", "y", (H,), Kind.COMPLEX, Domain.EDGE)
    cell = Cell(
        "c", "", (), ("y", "x"), (Input("n", (), Kind.INT, H, Domain.NODE),), (), (),
        (State("S", (H,), Kind.COMPLEX, ("y", "x"), s, s, frozenset({"y"}), Domain.EDGE, True),), (), heads=H * 2,
    )  # fmt: skip
    assert parse(show(cell)) == cell


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("H", 12), ("0", 0), ("-H + 1", -11), ("2*H - 3", 21), ("3*H/2", 18), ("(H // 2)*D", 24), ("H**3", 1728),
        ("(H*K + 1) % 4", 1), ("(H + D)/K", 2), ("H/D - 3", 0), ("(H - 5) // (D - 1)", 2), ("-(H - 1)*(D + 1)", -55),
    ],
)  # fmt: skip
def test_sizes_parse_to_what_prints_as_them(text: str, number: int) -> None:
    dim = parse_dim(text)
    assert parse_dim(str(dim)) == dim
    assert dim.evaluate({"H": 12, "D": 4, "K": 8}) == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a cell"),
        ("cell c over t", "line 1: expected `:`, found 'the end of the line'"),
        ("cell c over t:\n\n  output o = %1", "line 3: there is no value %1"),
        ("cell c over t:\n  %1 = relu(%0) : float[]", "line 2: there is no value %0"),
        ("cell c over t:\n  %1 = const(value=1) : double[]", "line 2: there is no kind `double`"),
        ("cell c over t:\n  %1 = const(value=1) : int[] 5", "line 2: expected the end of the line, found '5'"),
        ("cell c over t:\n  %1 = const(value=1) : int[]\n  %1 = const(value=2) : int[]", "line 3: %1 is given twice"),
        ("cell c over t:\n  banana", "line 2: no statement begins with `banana`"),
        ("cell c over t:\n  size H = 1.5", "line 2: expected a whole number, found 1.5"),
        ("cell c over t:\n  ?", "line 2: `\\?` is no part of a cell's text"),
    ],
)
def test_faults_say_the_line(text: str, message: str) -> None:
    with pytest.raises(TextError, match=f"^{message}"):
        parse(text)
