"""Recurrences along time, against PyTorch's modules, closed forms and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lsrl.backends import reference
from lsrl.ir import build, ops
from lsrl.ir.adjoint import gradient
from lsrl.ir.build import add, binary, dot, einsum, matmul, mul, outer, sub, unary
from lsrl.ir.cell import Cell, State
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import PipelineError
from lsrl.ir.value import Kind, Value
from support.cells import arrives, cell_of, input_, param, state
from support.differences import check_gradients

Array = np.ndarray[Any, np.dtype[Any]]
H, D = Dim.of("H"), Dim.of("D")
SIZES = {"H": 5, "D": 3}
NARROW = {"D": 3}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def complex_normal(rng: np.random.Generator, *shape: int) -> Array:
    return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def lstm_layer(x: Value, suffix: str = "", reverse: bool = False) -> tuple[list[State], Value]:
    """PyTorch's LSTM, gates in its order."""
    w, u, b = param(f"W{suffix}", 4 * H, x.shape[0]), param(f"U{suffix}", 4 * H, H), param(f"b{suffix}", 4 * H)
    h, c = arrives(f"h{suffix}", H), arrives(f"c{suffix}", H)
    i, f, g, o = build.split(add(add(matmul(w, x), matmul(u, h)), b), 4)
    memory = add(mul(unary("sigmoid", f), c), mul(unary("sigmoid", i), unary("tanh", g)))
    hidden = mul(unary("sigmoid", o), unary("tanh", memory))
    return [state(h, hidden, reverse=reverse), state(c, memory, reverse=reverse)], hidden


def lstm() -> Cell:
    """Two layers, the second in both directions."""
    first, hidden = lstm_layer(input_("x", D), "0")
    forth, right = lstm_layer(hidden, "1")
    back, left = lstm_layer(hidden, "2", reverse=True)
    return cell_of({"o": build.concat([right, left])}, [*first, *forth, *back])


def torch_lstm(width: int, params: dict[str, Array], suffix: str) -> torch.nn.LSTM:
    module = torch.nn.LSTM(width, 5, batch_first=True).double()
    arrays = [params[f"{name}{suffix}"] for name in "WUb"]
    module.load_state_dict(
        dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), map(torch.tensor, arrays)))
        | {"bias_hh_l0": torch.zeros(20, dtype=torch.float64)}
    )
    return module


def test_lstm_in_both_directions(rng: np.random.Generator) -> None:
    """Outputs, final states and all gradients."""
    cell = lstm()
    params = {p.name: rng.normal(size=[d.evaluate(SIZES) for d in p.shape]) for p in cell.params}
    x = rng.normal(size=(2, 7, 3))
    start = {s.name: rng.normal(size=(2, 5)) for s in cell.states}
    layers = {suffix: torch_lstm(3 if suffix == "0" else 5, params, suffix) for suffix in "012"}
    given = {name: torch.tensor(array, requires_grad=True) for name, array in {**start, "x": x}.items()}

    def layer(suffix: str, sequence: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        return layers[suffix](sequence, (given[f"h{suffix}"][None], given[f"c{suffix}"][None]))

    hidden, end0 = layer("0", given["x"])
    right, end1 = layer("1", hidden)
    left, end2 = layer("2", hidden.flip(1))
    outputs = torch.cat([right, left.flip(1)], -1)
    ends = {f"{n}{s}": e[0] for s, end in zip("012", (end0, end1, end2)) for n, e in zip("hc", end)}

    result = reference.run(cell, SIZES, params, {"x": x}, start)
    np.testing.assert_allclose(result.outputs["o"], outputs.detach().numpy(), rtol=1e-12, atol=1e-14)
    for name, end in ends.items():
        np.testing.assert_allclose(result.state[name], end.detach().numpy(), rtol=1e-12, atol=1e-14)

    weights = {"o": rng.normal(size=outputs.shape), **{f"state.{name}": rng.normal(size=(2, 5)) for name in ends}}
    loss = (outputs * torch.tensor(weights["o"])).sum()
    for name, end in ends.items():
        loss = loss + (end * torch.tensor(weights[f"state.{name}"])).sum()
    loss.backward()
    found = reference.gradients(cell, SIZES, params, {"x": x}, start, weights)
    expected = {name: tensor.grad for name, tensor in given.items()}
    for suffix, module in layers.items():
        expected |= {f"W{suffix}": module.weight_ih_l0.grad, f"U{suffix}": module.weight_hh_l0.grad}
        expected |= {f"b{suffix}": module.bias_ih_l0.grad}
    everything = {**found.inputs, **found.params, **found.state}
    assert set(everything) == set(expected)
    for name, tensor in expected.items():
        assert tensor is not None
        np.testing.assert_allclose(everything[name], tensor.numpy(), rtol=1e-10, atol=1e-12)


def attention() -> Cell:
    """Gated linear attention, one head: S' = a S + outer(k, v), o = q S'."""
    q, k, v, a = input_("q", H), input_("k", H), input_("v", D), input_("a")
    memory = arrives("S", H, D)
    following = add(mul(a, memory), outer(k, v))
    return cell_of({"o": matmul(q, following)}, [state(memory, following)])


def test_linear_attention_is_the_masked_quadratic_form(rng: np.random.Generator) -> None:
    q, k, v = (rng.normal(size=(2, 9, n)) for n in (5, 5, 3))
    a = rng.uniform(0.5, 1.0, (2, 9))
    since = np.cumsum(np.log(a), 1)
    decay = np.tril(np.exp(since[:, :, None] - since[:, None, :]))
    expected = np.einsum("bts,bth,bsh,bsd->btd", decay, q, k, v)
    inputs = {"q": q, "k": k, "v": v, "a": a}
    found = reference.run(attention(), SIZES, {}, inputs)
    np.testing.assert_allclose(found.outputs["o"], expected, rtol=1e-11, atol=1e-13)
    check_gradients(attention(), SIZES, {"params": {}, "inputs": inputs, "state": {"S": rng.normal(size=(2, 5, 3))}})


def lru() -> Cell:
    """Orvieto et al. 2023, without normalisation: h' = lambda h + B u, y = Re(C h')."""
    nu, theta = param("nu", H), param("theta", H)
    b, c = param("B", H, D, kind=Kind.COMPLEX), param("C", D, H, kind=Kind.COMPLEX)
    h = arrives("h", H, kind=Kind.COMPLEX)
    decay = mul(unary("exp", build.neg(unary("exp", nu))), unary("cis", theta))
    following = add(mul(decay, h), matmul(b, input_("u", D)))
    return cell_of({"y": unary("re", matmul(c, following))}, [state(h, following)])


def test_complex_diagonal_recurrence_is_a_convolution(rng: np.random.Generator) -> None:
    params = {"nu": rng.normal(size=5), "theta": rng.normal(size=5)}
    params |= {"B": complex_normal(rng, 5, 3), "C": complex_normal(rng, 3, 5)}
    u, start = rng.normal(size=(2, 8, 3)), complex_normal(rng, 2, 5)
    decay = np.exp(-np.exp(params["nu"]) + 1j * params["theta"])
    powers = decay ** np.arange(9)[:, None]  # [9, H]
    kernel = np.einsum("oh,sh,hi->soi", params["C"], powers, params["B"])
    expected = [sum(kernel[t - s] @ u[b, s] for s in range(t + 1)) for b in range(2) for t in range(8)]
    expected = np.reshape(expected, (2, 8, 3)) + np.einsum("oh,th,bh->bto", params["C"], powers[1:], start)
    result = reference.run(lru(), SIZES, params, {"u": u}, {"h": start})
    np.testing.assert_allclose(result.outputs["y"], expected.real, rtol=1e-11, atol=1e-12)
    check_gradients(lru(), SIZES, {"params": params, "inputs": {"u": u}, "state": {"h": start}})


def viterbi() -> Cell:
    """h'_i = max_j (A_ij + h_j) + x_i, starting from -inf except at state 0."""
    a, x, h = param("A", H, H), input_("x", H), arrives("h", H)
    moved = add(a, build.expand(h, (H, H), [0]))
    following = add(build.reduce("reduce_max", moved, [1]), x)
    start = build.where(binary("eq", ops.iota(H), 0), build.zeros((H,)), ops.const(float("-inf")))
    return cell_of({"best": build.reduce("reduce_max", following)}, [state(h, following, start)])


def test_max_plus_finds_the_best_path(rng: np.random.Generator) -> None:
    a, x = rng.normal(size=(3, 3)), rng.normal(size=(2, 5, 3))
    paths = np.stack(np.meshgrid(*[np.arange(3)] * 5, indexing="ij"), -1).reshape(-1, 5)
    steps = a[paths, np.concatenate([np.zeros((len(paths), 1), int), paths[:, :-1]], 1)]
    scores = (steps[None] + x[:, np.arange(5), paths]).sum(-1)
    result = reference.run(viterbi(), {"H": 3}, {"A": a}, {"x": x})
    np.testing.assert_allclose(result.outputs["best"][:, -1], scores.max(1), rtol=1e-13)
    check_gradients(viterbi(), {"H": 3}, {"params": {"A": a}, "inputs": {"x": x}})


def test_delta_rule_against_autograd(rng: np.random.Generator) -> None:
    q, k, v, b = input_("q", H), input_("k", H), input_("v", D), input_("b")
    memory = arrives("S", H, D)
    following = add(memory, outer(mul(b, k), sub(v, matmul(k, memory))))
    cell = cell_of({"o": matmul(q, following)}, [state(memory, following)])
    arrays = {"q": rng.normal(size=(2, 6, 5)), "k": rng.normal(size=(2, 6, 5)), "v": rng.normal(size=(2, 6, 3))}
    arrays["b"] = rng.uniform(size=(2, 6))
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    tq, tk, tv, tb = tensors.values()
    kept, outputs = torch.zeros(2, 5, 3, dtype=torch.float64), []
    for t in range(6):
        error = tv[:, t] - torch.einsum("bh,bhd->bd", tk[:, t], kept)
        kept = kept + torch.einsum("b,bh,bd->bhd", tb[:, t], tk[:, t], error)
        outputs.append(torch.einsum("bh,bhd->bd", tq[:, t], kept))
    expected = torch.stack(outputs, 1)
    expected.sum().backward()
    found = reference.gradients(cell, SIZES, {}, arrays)
    np.testing.assert_allclose(reference.run(cell, SIZES, {}, arrays).outputs["o"], expected.detach(), rtol=1e-11)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(found.inputs[name], tensor.grad, rtol=1e-10, atol=1e-11)


def test_lags_shift_and_read_ahead(rng: np.random.Generator) -> None:
    """x[t-1], x[t-2] and, from a reversed state, x[t+1]; the first of a sequence comes from the initial state."""
    x, one, two, ahead = input_("x", D), *(arrives(name, D) for name in ("one", "two", "ahead"))
    states = [state(one, x), state(two, one), state(ahead, x, 7.0, reverse=True)]
    cell = cell_of({"one": one, "two": two, "ahead": ahead}, states)
    array, last = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 3))
    result = reference.run(cell, NARROW, {}, {"x": array}, {"one": last})
    blank = np.zeros((2, 1, 3))
    np.testing.assert_array_equal(result.outputs["one"], np.concatenate([last[:, None], array[:, :-1]], 1))
    np.testing.assert_array_equal(result.outputs["two"], np.concatenate([blank, last[:, None], array[:, :-2]], 1))
    np.testing.assert_array_equal(result.outputs["ahead"], np.concatenate([array[:, 1:], blank + 7], 1))
    np.testing.assert_array_equal(result.state["one"], array[:, -1])
    np.testing.assert_array_equal(result.state["two"], array[:, -2])
    np.testing.assert_array_equal(result.state["ahead"], array[:, 0])
    check_gradients(cell, NARROW, {"params": {}, "inputs": {"x": array}, "state": {"one": last}})


def test_swapped_states(rng: np.random.Generator) -> None:
    """Next values that are arriving values themselves."""
    a, b = arrives("a", D), arrives("b", D)
    cell = cell_of({"a": a}, [state(a, b), state(b, a, 1.0)])
    result = reference.run(cell, NARROW, {}, {}, extent={"B": 1, "T": 4})
    np.testing.assert_array_equal(result.outputs["a"][0, :, 0], [0, 1, 0, 1])
    start = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=(2, 3))}
    given = reference.gradients(cell, NARROW, {}, {}, start, {"state.a": np.ones((2, 3))}, extent={"T": 3})
    np.testing.assert_array_equal(given.state["a"], np.zeros((2, 3)))
    np.testing.assert_array_equal(given.state["b"], np.ones((2, 3)))


def counter() -> Cell:
    """An int state, an embedding of tokens, and a reset that starts the count anew."""
    token, again = input_("token", kind=Kind.INT), input_("again", kind=Kind.BOOL)
    table, n, h = param("E", 4, D), arrives("n", kind=Kind.INT), arrives("h", D)
    count = add(build.where(again, build.value(0), n), 1)
    following = add(mul(0.5, build.where(again, param("h0", D), h)), build.gather(table, token))
    states = [state(n, count, 0), state(h, following, param("h0", D))]
    return cell_of({"count": count, "h'": following}, states, bounds={"token": 4})


def test_packed_sequences(rng: np.random.Generator) -> None:
    tokens = rng.integers(0, 4, (2, 6))
    again = np.array([[0, 0, 1, 0, 0, 0], [1, 0, 0, 1, 1, 0]], bool)
    params = {"E": rng.normal(size=(4, 3)), "h0": rng.normal(size=3)}
    inputs = {"token": tokens, "again": again}
    result = reference.run(counter(), NARROW, params, inputs)
    assert result.outputs["count"].tolist() == [[1, 2, 1, 2, 3, 4], [1, 2, 3, 1, 1, 2]]
    assert result.outputs["count"].dtype == np.int64
    alone = reference.run(counter(), NARROW, params, {"token": tokens[:1, 2:], "again": again[:1, 3:4].repeat(4, 1)})
    np.testing.assert_array_equal(result.outputs["h'"][0, 2:], alone.outputs["h'"][0])
    check_gradients(counter(), NARROW, {"params": params, "inputs": inputs})
    check_gradients(counter(), NARROW, {"params": params, "inputs": inputs, "state": {"h": rng.normal(size=(2, 3))}})


def test_continuing_gives_the_same(rng: np.random.Generator) -> None:
    cell, x = cell_of({"h": lstm_layer(input_("x", D))[1]}, lstm_layer(input_("x", D))[0]), rng.normal(size=(2, 9, 3))
    params = {p.name: rng.normal(size=[d.evaluate(SIZES) for d in p.shape]) for p in cell.params}
    whole = reference.run(cell, SIZES, params, {"x": x})
    first = reference.run(cell, SIZES, params, {"x": x[:, :4]})
    second = reference.run(cell, SIZES, params, {"x": x[:, 4:]}, first.state)
    joined = np.concatenate([first.outputs["h"], second.outputs["h"]], 1)
    np.testing.assert_allclose(joined, whole.outputs["h"], rtol=1e-13)
    for name, end in whole.state.items():
        np.testing.assert_allclose(second.state[name], end, rtol=1e-13)


def test_empty_sequence_keeps_the_state(rng: np.random.Generator) -> None:
    start = rng.normal(size=(2, 5, 3))
    inputs = {"q": np.zeros((2, 0, 5)), "k": np.zeros((2, 0, 5)), "v": np.zeros((2, 0, 3)), "a": np.zeros((2, 0))}
    result = reference.run(attention(), SIZES, {}, inputs, {"S": start})
    assert result.outputs["o"].shape == (2, 0, 3)
    np.testing.assert_array_equal(result.state["S"], start)
    weight = rng.normal(size=(2, 5, 3))
    found = reference.gradients(attention(), SIZES, {}, inputs, {"S": start}, {"state.S": weight})
    np.testing.assert_array_equal(found.state["S"], weight)


def test_what_is_the_same_everywhere_is_given_everywhere(rng: np.random.Generator) -> None:
    weight = param("W", D)
    cell = cell_of({"w": weight, "twice": mul(2, weight), "x": input_("x", D)})
    params, x = {"W": rng.normal(size=3)}, rng.normal(size=(2, 4, 3))
    result = reference.run(cell, NARROW, params, {"x": x})
    np.testing.assert_array_equal(result.outputs["twice"], np.broadcast_to(2 * params["W"], (2, 4, 3)))
    found = reference.gradients(cell, NARROW, params, {"x": x})
    np.testing.assert_array_equal(found.params["W"], [24, 24, 24])
    np.testing.assert_array_equal(found.inputs["x"], np.ones((2, 4, 3)))


def test_inner_gradient_descent(rng: np.random.Generator) -> None:
    """A fast weight that takes a gradient step at each position is the delta rule."""
    k, v, rate, memory = input_("k", H), input_("v", D), param("rate"), arrives("S", H, D)
    error = sub(matmul(k, memory), v)
    (slope,) = gradient(mul(0.5, dot(error, error)), [memory])
    learner = cell_of({"e": error}, [state(memory, sub(memory, mul(rate, slope)))])
    rule = cell_of({"e": error}, [state(memory, sub(memory, mul(rate, einsum("h,d->hd", k, error))))])
    params, inputs = {"rate": np.array(0.1)}, {"k": rng.normal(size=(2, 6, 5)), "v": rng.normal(size=(2, 6, 3))}
    own, known = (reference.run(cell, SIZES, params, inputs) for cell in (learner, rule))
    np.testing.assert_allclose(own.outputs["e"], known.outputs["e"], rtol=1e-12)
    check_gradients(learner, SIZES, {"params": params, "inputs": inputs})


def test_noise_is_drawn_by_seed_or_given(rng: np.random.Generator) -> None:
    eps, h = ops.leaf("noise", "eps", (D,), Kind.FLOAT), arrives("h", D)
    following = add(mul(param("a"), h), mul(input_("x"), eps))
    cell = cell_of({"h'": following}, [state(h, following)])
    params, inputs = {"a": np.array(0.5)}, {"x": rng.normal(size=(2, 50))}
    first, again, other = (reference.run(cell, NARROW, params, inputs, seed=seed).outputs["h'"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0
    given = {**inputs, "eps": rng.normal(size=(2, 50, 3))}
    assert reference.run(cell, NARROW, params, given).outputs["h'"][0, 0, 0] == given["x"][0, 0] * given["eps"][0, 0, 0]
    check_gradients(cell, NARROW, {"params": params, "inputs": given})
    assert set(reference.gradients(cell, NARROW, params, inputs).inputs) == {"x"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_lower_precision(rng: np.random.Generator, dtype: str, tolerance: float) -> None:
    inputs = {"q": rng.normal(size=(2, 9, 5)), "k": rng.normal(size=(2, 9, 5)), "v": rng.normal(size=(2, 9, 3))}
    inputs["a"] = rng.uniform(size=(2, 9))
    exact, rounded = (reference.run(attention(), SIZES, {}, inputs, dtype=d).outputs["o"] for d in ("float64", dtype))
    assert rounded.dtype == np.dtype(dtype)
    np.testing.assert_allclose(rounded, exact, rtol=tolerance, atol=10 * tolerance)
    assert reference.gradients(attention(), SIZES, {}, inputs, dtype=dtype).inputs["q"].dtype == np.dtype(dtype)


def test_states_that_wait_for_each_other_are_refused() -> None:
    a, b = arrives("a"), arrives("b")
    cell = cell_of({"a": a}, [state(a, b), state(b, a, reverse=True)])
    with pytest.raises(PipelineError, match="a, b depend on each other"):
        reference.run(cell, {}, {}, {}, extent={"B": 1, "T": 2})
