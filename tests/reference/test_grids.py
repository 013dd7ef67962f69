"""Recurrences over grids: sums over all paths, a log-semiring lattice, borders, directions, gradients."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.backends.arrays import ArrayError
from lsrl.ir import ops
from lsrl.ir.build import add, binary, dot, matmul, mul, outer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim
from lsrl.ir.value import Kind
from support.cells import arrives, cell_of, input_, param, state
from support.differences import check_gradients

Array = np.ndarray[Any, np.dtype[Any]]
K, V = Dim.of("K"), Dim.of("V")
GATES = ("rl", "ru", "dl", "du", "sr", "sd", "ml", "mu", "d")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def plstm() -> Cell:
    """pLSTM on a grid (Poeppel et al. 2025, eq. 8): R travels along x, D along y."""
    q, k, v = input_("q", K), input_("k", K), input_("v", V)
    rl, ru, dl, du, sr, sd, ml, mu, d = (input_(name) for name in GATES)
    right, down = arrives("R", K, V, axis="x"), arrives("D", K, V, axis="y")
    write = outer(k, v)
    to_right = add(add(mul(rl, right), mul(ru, down)), mul(sr, write))
    to_down = add(add(mul(dl, right), mul(du, down)), mul(sd, write))
    read = matmul(q, add(mul(ml, right), mul(mu, down)))
    output = add(read, mul(mul(d, dot(q, k)), v))
    return cell_of({"o": output}, [state(right, to_right), state(down, to_down)], ("y", "x"))


def plstm_inputs(rng: np.random.Generator, *lead: int) -> dict[str, Array]:
    arrays = {name: rng.normal(size=(*lead, n)) for name, n in (("q", 2), ("k", 2), ("v", 3))}
    return arrays | {name: rng.uniform(-1, 1, lead) for name in GATES}


def along_paths(inputs: dict[str, Array], b: int, start: tuple[int, int], end: tuple[int, int]) -> float:
    """The sum over all monotone paths of source, transitions and mark."""
    downs, rights = end[0] - start[0], end[1] - start[1]
    total = 0.0
    for chosen in combinations(range(downs + rights), downs):
        moves = ["d" if step in chosen else "r" for step in range(downs + rights)]
        y, x = start
        weight = inputs[f"s{moves[0]}"][b, y, x]
        for came, goes in zip(moves, [*moves[1:], ""]):
            y, x = (y + 1, x) if came == "d" else (y, x + 1)
            side = "u" if came == "d" else "l"
            weight *= inputs[f"{goes or 'm'}{side}"][b, y, x]
        total += float(weight)
    return total


def test_plstm_sums_over_all_paths(rng: np.random.Generator) -> None:
    lead = (2, 3, 4)
    inputs = plstm_inputs(rng, *lead)
    expected = np.einsum("byx,byxk,byxk,byxv->byxv", inputs["d"], inputs["q"], inputs["k"], inputs["v"])
    for b, *place in np.ndindex(*lead):
        y, x = place
        for source in np.ndindex(y + 1, x + 1):
            if source != (y, x):
                score = inputs["q"][b, y, x] @ inputs["k"][(b, *source)]
                expected[b, y, x] += along_paths(inputs, b, source, (y, x)) * score * inputs["v"][(b, *source)]
    found = reference.run(plstm(), {"K": 2, "V": 3}, {}, inputs)
    np.testing.assert_allclose(found.outputs["o"], expected, rtol=1e-11, atol=1e-13)


def test_plstm_gradients(rng: np.random.Generator) -> None:
    start = {"R": rng.normal(size=(2, 3, 2, 3)), "D": rng.normal(size=(2, 4, 2, 3))}
    given = {"params": {}, "inputs": plstm_inputs(rng, 2, 3, 4), "state": start}
    check_gradients(plstm(), {"K": 2, "V": 3}, given)


def test_grids_can_be_put_together_from_tiles(rng: np.random.Generator) -> None:
    inputs = plstm_inputs(rng, 1, 4, 5)
    whole = reference.run(plstm(), {"K": 2, "V": 3}, {}, inputs)
    state_ = None
    rows = []
    for tile in (slice(0, 1), slice(1, 4)):
        part = reference.run(plstm(), {"K": 2, "V": 3}, {}, {n: a[:, tile] for n, a in inputs.items()}, state_)
        rows.append(part.outputs["o"])
        state_ = {"D": part.state["D"]}
    np.testing.assert_allclose(np.concatenate(rows, 1), whole.outputs["o"], rtol=1e-13)
    np.testing.assert_allclose(part.state["D"], whole.state["D"], rtol=1e-13)


def transducer(reverse: bool = False) -> Cell:
    """The forward variable of a transducer (Graves 2012, eq. 16): one state that arrives along both axes.

    alpha(t, u) = logaddexp(alpha(t-1, u) + blank(t-1, u), alpha(t, u-1) + label(t, u-1)); a state passes on what its
    two ways out add to it, so the weights are those of the node that is left.
    """
    above, left = (arrives("a", axis=axis) for axis in ("t", "u"))
    here = binary("max", binary("logaddexp", above, left), input_("origin"))
    outgoing = add(here, input_("weight"))
    start = ops.const(float("-inf"))
    return cell_of({"alpha": here}, [state(above, outgoing, start, left, reverse=reverse)], ("t", "u"))


def brute_force(weight: Array, end: tuple[int, int]) -> float:
    """log of the sum over monotone paths from (0, 0) of the exponential of the weights left behind."""
    scores = []
    for chosen in combinations(range(sum(end)), end[0]):
        t = u = 0
        score = 0.0
        for step in range(sum(end)):
            score += weight[t, u]
            t, u = (t + 1, u) if step in chosen else (t, u + 1)
        scores.append(score)
    return float(np.logaddexp.reduce(scores))


@pytest.mark.parametrize("reverse", [False, True])
def test_transducer_lattice(rng: np.random.Generator, reverse: bool) -> None:
    weight, origin = rng.normal(size=(1, 4, 3)), np.full((1, 4, 3), -np.inf)
    origin[0, 0, 0] = 0
    turned = slice(None, None, -1 if reverse else 1)
    arrays = {"weight": weight[:, turned, turned], "origin": origin[:, turned, turned]}
    found = reference.run(transducer(reverse), {}, {}, arrays).outputs["alpha"][:, turned, turned]
    for end in np.ndindex(4, 3):
        assert found[(0, *end)] == pytest.approx(brute_force(weight[0], end), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_along_two_axes(rng: np.random.Generator, reverse: bool) -> None:
    """A nonlinear grid (multi-dimensional RNN): borders are named by axis, and have gradients of their own."""
    above, left = (arrives("h", "V", axis=axis) for axis in ("y", "x"))
    mixed = add(matmul(param("U", V, V), above), matmul(param("W", V, V), left))
    following = ops.apply("tanh", add(mixed, input_("v", V)))
    begin = param("h0", V)
    cell = cell_of({"h'": following}, [state(above, following, begin, left, reverse=reverse)], ("y", "x"))
    params = {"U": rng.normal(size=(2, 2)), "W": rng.normal(size=(2, 2)), "h0": rng.normal(size=2)}
    inputs = {"v": rng.normal(size=(2, 3, 4, 2))}
    result = reference.run(cell, {"V": 2}, params, inputs)
    assert {name: array.shape for name, array in result.state.items()} == {"h.y": (2, 4, 2), "h.x": (2, 3, 2)}
    order = -1 if reverse else 1
    padded = np.broadcast_to(params["h0"], (2, 4, 5, 2)).copy()
    for y, x in np.ndindex(3, 4):
        sent = inputs["v"][:, ::order, ::order][:, y, x]
        padded[:, y + 1, x + 1] = np.tanh(
            padded[:, y, x + 1] @ params["U"].T + padded[:, y + 1, x] @ params["W"].T + sent
        )
    np.testing.assert_allclose(result.outputs["h'"][:, ::order, ::order], padded[:, 1:, 1:], rtol=1e-13)
    np.testing.assert_allclose(result.state["h.y"][:, ::order], padded[:, -1, 1:], rtol=1e-13)
    check_gradients(cell, {"V": 2}, {"params": params, "inputs": inputs})
    border = {"h.x": rng.normal(size=(2, 3, 2))}
    check_gradients(cell, {"V": 2}, {"params": params, "inputs": inputs, "state": border})


def test_a_border_of_the_wrong_axis_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ArrayError, match=r"state R: expected float \[B=1, Y=3, K=2, V=3\], found \[1, 4, 2, 3\]"):
        reference.run(plstm(), {"K": 2, "V": 3}, {}, plstm_inputs(rng, 1, 3, 4), {"R": np.zeros((1, 4, 2, 3))})


def test_one_line_of_a_grid_is_a_sequence(rng: np.random.Generator) -> None:
    inputs = plstm_inputs(rng, 2, 1, 6)
    q, k, v = (input_(name, dim) for name, dim in (("q", K), ("k", K), ("v", V)))
    memory = arrives("R", K, V)
    following = add(mul(input_("rl"), memory), mul(input_("sr"), outer(k, v)))
    line = cell_of({"o": mul(input_("ml"), matmul(q, memory))}, [state(memory, following)])
    used = {name: inputs[name][:, 0] for name in ("q", "k", "v", "rl", "sr", "ml")}
    expected = reference.run(line, {"K": 2, "V": 3}, {}, used)
    inputs["d"] = np.zeros((2, 1, 6))
    found = reference.run(plstm(), {"K": 2, "V": 3}, {}, inputs)
    np.testing.assert_allclose(found.outputs["o"][:, 0], expected.outputs["o"], rtol=1e-13)
    np.testing.assert_allclose(found.state["R"][:, 0], expected.state["R"], rtol=1e-13)


def test_integers_count_paths() -> None:
    above, left = (arrives("n", axis=axis, kind=Kind.INT) for axis in ("y", "x"))
    ways = binary("max", add(above, left), 1)
    cell = cell_of({"n'": ways}, [state(above, ways, 0, left)], ("y", "x"))
    found = reference.run(cell, {}, {}, {}, extent={"B": 1, "Y": 4, "X": 4})
    assert found.outputs["n'"][0, -1].tolist() == [1, 4, 10, 20]
