"""Arrays that do not fit are refused with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.backends.arrays import ArrayError, validate
from lsrl.ir import build
from lsrl.ir.build import add, matmul
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim, DimError
from lsrl.ir.value import Domain, Kind
from support.cells import arrives, cell_of, input_, param, state

H, D = Dim.of("H"), Dim.of("D")
SIZES = {"H": 2, "D": 3}


def rnn() -> Cell:
    h, token = arrives("h", 2 * H), input_("token", kind=Kind.INT)
    moved = add(matmul(param("W", 2 * H, D), input_("x", D)), build.gather(param("E", D + 1, 2 * H), token))
    following = build.where(input_("keep", kind=Kind.BOOL), h, moved)
    return cell_of({"h'": following}, [state(h, following)], bounds={"token": D + 1})


def arrays() -> dict[str, dict[str, Any]]:
    inputs = {"x": np.zeros((5, 7, 3)), "token": np.zeros((5, 7), np.int32), "keep": np.zeros((5, 7), bool)}
    return {
        "params": {"W": np.zeros((4, 3)), "E": np.zeros((4, 4))},
        "inputs": inputs,
        "state": {"h": np.zeros((5, 4))},
    }


def test_what_fits() -> None:
    assert validate(rnn(), SIZES, **arrays()) == {"B": 5, "T": 7}
    without = {**arrays(), "state": None}
    assert validate(rnn(), SIZES, **without) == {"B": 5, "T": 7}


@pytest.mark.parametrize(
    ("group", "name", "array", "message"),
    [
        ("params", "W", None, "param W is missing: expected float [2*H=4, D=3]"),
        ("params", "w", np.zeros(1), "there is no param w; the params are W, E"),
        ("params", "Ws", np.zeros(1), "there is no param Ws; did you mean W?"),
        ("params", "W", np.zeros((3, 4)), "param W: expected float [2*H=4, D=3], found [3, 4]"),
        ("params", "W", np.zeros((4, 3), complex), "param W: expected float elements, found complex128"),
        ("inputs", "x", None, "input x is missing: expected float [B, T, D=3]"),
        ("inputs", "tokens", np.zeros(1), "there is no input tokens; did you mean token?"),
        ("inputs", "x", np.zeros((5, 3)), "input x: expected float [B=5, T=7, D=3], found [5, 3]"),
        ("inputs", "x", np.zeros((4, 7, 3)), "input x: expected float [B=5, T=7, D=3], found [4, 7, 3]"),
        ("inputs", "token", np.zeros((5, 7)), "input token: expected int elements, found float64"),
        ("inputs", "keep", np.zeros((5, 7), int), "input keep: expected bool elements, found int64"),
        ("state", "h", np.zeros((1, 4)), "state h: expected float [B=5, 2*H=4], found [1, 4]"),
        ("state", "g", np.zeros((1, 4)), "there is no state g; the states are h"),
    ],
)
def test_what_does_not_fit(group: str, name: str, array: Any, message: str) -> None:
    given = arrays()
    given[group].pop(name, None)
    if array is not None:
        given[group][name] = array
    with pytest.raises(ArrayError) as caught:
        validate(rnn(), SIZES, **given)
    assert str(caught.value) == message


def test_an_int_outside_its_bound_is_named() -> None:
    given = arrays()
    given["inputs"]["token"][2, 3] = 4
    with pytest.raises(ArrayError) as caught:
        validate(rnn(), SIZES, **given)
    assert str(caught.value) == "input token: 4 at [2, 3] is outside int(D + 1=4)"
    given["inputs"]["token"][2, 3] = -1
    with pytest.raises(ArrayError, match=r"-1 at \[2, 3\]"):
        validate(rnn(), SIZES, **given)


def test_a_run_without_arrays_needs_numbers() -> None:
    h = arrives("h")
    counter = cell_of({"n": h}, [state(h, add(h, 1))])
    with pytest.raises(ArrayError, match="no array of tested tells B and T"):
        reference.run(counter, {}, {}, {})
    with pytest.raises(ArrayError, match="tells T: give"):
        reference.run(counter, {}, {}, {}, {"h": np.zeros(2)})
    run = reference.run(counter, {}, {}, {}, {"h": np.zeros(2)}, extent={"T": 3})
    assert run.outputs["n"].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_graphs_agree_on_their_numbers() -> None:
    x, weight = input_("x", domain=Domain.NODE), input_("w", domain=Domain.EDGE)
    cell = cell_of({"y": x, "w": weight}, (), ("graph",))
    inputs = {"x": np.zeros(3), "w": np.zeros(2), "edges": np.array([(0, 1), (1, 2)])}
    assert validate(cell, {}, {}, inputs) == {"nodes": 3, "edges": 2}
    with pytest.raises(ArrayError, match=r"input edges: expected int \[edges=2, 2\], found \[3, 2\]"):
        validate(cell, {}, {}, {**inputs, "edges": np.zeros((3, 2), int)})
    with pytest.raises(ArrayError, match=r"input edges is missing: expected int \[edges, 2\]"):
        validate(cell, {}, {}, {"x": np.zeros(3), "w": np.zeros(2)})


@pytest.mark.parametrize(
    ("cotangents", "message"),
    [
        ({"y": np.zeros(1)}, "there is no output y to have a cotangent; there are h', state.h"),
        ({"h'": np.zeros((5, 7, 3))}, "cotangent h': expected [5, 7, 4], found [5, 7, 3]"),
        ({"state.h": np.zeros((5, 7, 4))}, "cotangent state.h: expected [5, 4], found [5, 7, 4]"),
    ],
)
def test_cotangents_that_do_not_fit(cotangents: dict[str, Any], message: str) -> None:
    with pytest.raises(ArrayError) as caught:
        reference.gradients(rnn(), SIZES, **arrays(), cotangents=cotangents)
    assert str(caught.value) == message


def test_sizes_and_precisions_that_do_not_exist() -> None:
    with pytest.raises(DimError, match="needs a value for the size H"):
        reference.run(rnn(), {"D": 3}, {}, {})
    with pytest.raises(ArrayError, match="there is no precision bfloat16; there are float64, float32, float16"):
        reference.run(rnn(), SIZES, **arrays(), dtype="bfloat16")
