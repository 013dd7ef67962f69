"""Lags, resets, heads, used cells, repetition, grids and graphs mean what a plain loop computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lsrl
from lsrl import elaborate
from lsrl.backends.topology import make_topology
from lsrl.ir.cell import bind_sizes
from lsrl.ir.dims import Dim, DimError
from lsrl.ir.span import LsrlError
from lsrl.loader import load_path
from support.elaborated import cell_of_text, run_text

Array = np.ndarray[Any, np.dtype[Any]]
B, T, D, H = 2, 7, 3, 4
LEAKY = """
cell leaky(D):
    input x: [D]
    param a: [D] = 0.5
    state h: [D] = 1
    h' = a * h + x
    output h'
"""
GATED = """
cell gated(D, H):
    input x: [D]
    param W: [H, D], U: [H, H]
    state h: [H] = 0, n: [] = 2
    h' = tanh(W @ x + U @ h)
    n' = n / 2 + h'[0]
    output h', n'
"""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def shifted(x: Array, steps: int, pad: float = 0.0) -> Array:
    """x[t - steps] along axis 1."""
    return np.concatenate([np.full_like(x[:, :steps], pad), x[:, : x.shape[1] - steps]], axis=1)


def leaky(x: Array, a: Array, h: Array | float = 1.0) -> Array:
    """The outputs of LEAKY, [B, T, D]."""
    arrived, found = np.full(x[:, 0].shape, h), []
    for t in range(x.shape[1]):
        arrived = a * arrived + x[:, t]
        found.append(arrived)
    return np.stack(found, axis=1)


# Lags


def test_lags_of_an_input_start_at_its_pad(rng: np.random.Generator) -> None:
    text = "cell f(D):\n    input x: [D] pad 3, y: [D]\n    output z = x[t-1] + 10 * x[t-3] - y[t-2] + x[t-0]\n"
    x, y = rng.normal(size=(2, B, T, D))
    found = run_text(text, {"D": D}, {"x": x, "y": y})
    same(found.outputs["z"], shifted(x, 1, 3) + 10 * shifted(x, 3, 3) - shifted(y, 2) + x)
    same(found.state["x[t-2]"], x[:, -2])
    assert sorted(found.state) == ["x[t-1]", "x[t-2]", "x[t-3]", "y[t-1]", "y[t-2]"]


def test_a_lag_by_a_size_is_built_for_its_number(rng: np.random.Generator) -> None:
    text = "cell f(D, W=2):\n    input x: [D]\n    output z = x[t-W-1]\n"
    x = rng.normal(size=(B, T, D))
    same(run_text(text, {"D": D}, {"x": x}).outputs["z"], shifted(x, 3))
    same(run_text(text, {"D": D, "W": 4}, {"x": x}).outputs["z"], shifted(x, 5))
    same(run_text(text.replace("t-W-1", "t-(W+1)"), {"D": D}, {"x": x}).outputs["z"], shifted(x, 3))
    with pytest.raises(DimError, match="built for"):
        bind_sizes(cell_of_text(text), {"D": D, "W": 3})


def test_lags_of_states_start_at_the_initial_value(rng: np.random.Generator) -> None:
    text = LEAKY.replace("output h'", "output y = h[t-1], z = h'[t-1], w = h[t-3], v = h'[t-2]")
    x, a = rng.normal(size=(B, T, D)), rng.uniform(size=D)
    found = run_text(text, {"D": D}, {"x": x}, {"a": a}).outputs
    h = leaky(x, a)
    same(found["y"], shifted(h, 1, 1))
    same(found["z"], shifted(h, 1, 1))
    same(found["v"], shifted(h, 2, 1))
    same(found["w"], shifted(h, 3, 1))


def test_a_lag_of_a_later_name_is_a_recurrence(rng: np.random.Generator) -> None:
    """`u = ... u[t-1] ...`: the shape is found although it is known only below."""
    text = (
        "cell f(D):\n    input x: [D]\n    param a: [D]\n    y = 2 * u[t-2]\n    u = a * u[t-1] + x\n    output u, y\n"
    )
    x, a = rng.normal(size=(B, T, D)), rng.uniform(size=D)
    found = run_text(text, {"D": D}, {"x": x}, {"a": a})
    same(found.outputs["u"], leaky(x, a, 0.0))
    same(found.outputs["y"], 2 * shifted(leaky(x, a, 0.0), 2))
    assert [s.hidden for s in cell_of_text(text).states] == [True, True]


# Resets


def test_a_reset_is_a_sequence_of_its_own(rng: np.random.Generator) -> None:
    text = LEAKY.replace("input x: [D]", "input x: [D] pad 5, start: [] bool\n    reset when start").replace(
        "output h'", "output h', y = x[t-1] + h[t-2]"
    )
    x, a = rng.normal(size=(1, T, D)), rng.uniform(size=D)
    start = np.zeros((1, T), bool)
    start[0, [0, 3]] = True
    found = run_text(text, {"D": D}, {"x": x, "start": start}, {"a": a}).outputs
    for part in (slice(0, 3), slice(3, T)):
        alone = run_text(text, {"D": D}, {"x": x[:, part], "start": start[:, part] & False}, {"a": a}).outputs
        same(found["h"][:, part], alone["h"])
        same(found["y"][:, part], alone["y"])


def test_a_reset_reaches_used_and_reversed_cells(rng: np.random.Generator) -> None:
    text = GATED + (
        "cell packed(D, H):\n    input x: [D], doc: [] int(9)\n    reset when doc != doc[t-1] or doc == 8\n"
        "    a, n = gated(D, H)(x)\n    b = reverse gated(D, H)(x)\n    output a, n, c = b.h, d = b.n\n"
    )
    cell = cell_of_text(text)
    sizes = {"D": D, "H": H}
    params = {p.name: rng.normal(size=[d.evaluate(sizes) for d in p.shape]) for p in cell.params}
    x, documents = rng.normal(size=(1, T, D)), np.array([[1, 1, 2, 2, 2, 3, 1]])
    found = run_text(text, sizes, {"x": x, "doc": documents}, params).outputs
    for part in (slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 7)):
        zeros = np.zeros_like(documents[:, part])
        alone = run_text(text, sizes, {"x": x[:, part], "doc": zeros}, params).outputs
        for name in ("a", "n", "c", "d"):
            same(found[name][:, part], alone[name])


# Holds

HELD = """
cell inner(D):
    input x: [D]
    state h: [D] = 1
    h' = 0.5 * h + x + x[t-1] + mean(window(x, 19), axis=0)
    output h', y = h'

cell f(D):
    input x: [D], p: [] bool
    state n: [] = 0, g: [D] = 3
    hold when p
    s = inner(D)(x)
    u = reverse inner(D)(x)
    g' = x
    n' = n + 1
    z = 2 * x
    output h = s.h, y = s.y, u = u.y, g', old = g, n', last = z[t-1]
"""


def test_a_hold_leaves_positions_out(rng: np.random.Generator) -> None:
    """The other positions are as if the held ones were not there; at those, everything stays."""
    x, p = rng.normal(size=(1, 30, D)), rng.uniform(size=(1, 30)) < 0.4
    found = run_text(HELD, {"D": D}, {"x": x, "p": p})
    alone = run_text(HELD, {"D": D}, {"x": x[:, ~p[0]], "p": p[:, ~p[0]]})
    for name, array in alone.outputs.items():
        same(found.outputs[name][:, ~p[0]], array)
    for name, array in alone.state.items():
        same(found.state[name], array)
    before = np.concatenate([np.ones((1, 1, D)), found.outputs["h"][:, :-1]], 1)
    same(found.outputs["h"][p], before[p])
    same(found.outputs["y"], found.outputs["h"])
    same(found.outputs["n"][0], np.cumsum(~p[0]))


def test_a_reset_comes_before_a_hold(rng: np.random.Generator) -> None:
    text = HELD.replace("p: [] bool", "p, r: [] bool\n    reset when r")
    x, p, r = rng.normal(size=(1, 12, D)), np.zeros((1, 12), bool), np.zeros((1, 12), bool)
    p[0, [2, 6, 7]], r[0, [0, 6]] = True, True
    found = run_text(text, {"D": D}, {"x": x, "p": p, "r": r}).outputs
    same(found["h"][0, 6:8], 1)
    for part in (slice(0, 6), slice(6, 12)):
        alone = run_text(text, {"D": D}, {"x": x[:, part], "p": p[:, part], "r": r[:, part] & False}).outputs
        for name, array in alone.items():
            same(found[name][:, part], array)


def test_a_state_may_say_when_to_hold(rng: np.random.Generator) -> None:
    text = (
        "cell f(N, D) heads N:\n    input x: [D], g: []\n    state h: [D] = 0, done: [] = 0\n    hold when done > 1\n"
        "    done' = done + g\n    h' = h + x\n    output h', done'\n"
    )
    x, g = rng.normal(size=(1, T, 2, D)), rng.uniform(size=(1, T, 2))
    found = run_text(text, {"D": D, "N": 2}, {"x": x, "g": g}).outputs
    for head in range(2):
        h, done = np.zeros(D), 0.0
        for t in range(T):
            if done <= 1:
                h, done = h + x[0, t, head], done + g[0, t, head]
            same(found["h"][0, t, head], h)
            same(found["done"][0, t, head], done)


def test_holds_join(rng: np.random.Generator) -> None:
    text = (
        "cell leaky(D):\n    input x: [D], q: [] bool\n    hold when q\n    state h: [D] = 1\n"
        "    h' = h / 2 + x\n    output h'\n\n"
        "cell f(D):\n    input x: [D], p, q: [] bool\n    hold when p or p[t-1]\n    output h = leaky(D)(x, q)\n"
    )
    x, p, q = rng.normal(size=(1, T, D)), rng.uniform(size=(1, T)) < 0.3, rng.uniform(size=(1, T)) < 0.3
    found = run_text(text, {"D": D}, {"x": x, "p": p, "q": q}).outputs["h"]
    held = (p | shifted(p, 1, False).astype(bool) | q)[0]
    same(found[:, ~held], leaky(x[:, ~held], np.full(D, 0.5)))


# Heads


def test_heads_are_runs_side_by_side(rng: np.random.Generator) -> None:
    body = """
    input q: [K], a: [], x: [D] shared, i: [] int(3)
    param W: [K, D], b: [] = 1, s: [K] shared = 2
    state S: [K, K] = 0, m: [] = -inf, h: [K] = s
    reset when a > 1
    k = W @ x + q[t-1]
    S' = a * S + outer(k, q)
    m' = max(m, a * b)
    h' = where(m' > 0, q, h) + s[i] * eye(K)[i]
    output o = softmax(q @ S'), m', h', c = x, T = concat(k, [a, b]), u = sum(S', axis=1) + mean(x)
"""
    sizes = {"K": 3, "D": 2}
    one, many = "cell f(K, D):" + body, "cell f(K, D, N) heads N:" + body
    inputs = {"q": rng.normal(size=(B, T, 4, 3)), "a": rng.normal(size=(B, T, 4)), "x": rng.normal(size=(B, T, 2))}
    inputs["i"] = rng.integers(0, 3, size=(B, T, 4))
    params = {"W": rng.normal(size=(4, 3, 2)), "b": rng.normal(size=4), "s": rng.normal(size=3)}
    found = run_text(many, {**sizes, "N": 4}, inputs, params)
    for head in range(4):
        alone = run_text(
            one.replace(" shared", ""),
            sizes,
            {name: array if name == "x" else array[:, :, head] for name, array in inputs.items()},
            {name: array if name == "s" else array[head] for name, array in params.items()},
        )
        for name, expected in alone.outputs.items():
            same(found.outputs[name][:, :, head], expected)
        for name, expected in alone.state.items():
            same(found.state[name][:, head], expected)


def test_what_heads_share_has_no_axis_of_heads() -> None:
    text = """
cell f(D, N) heads N:
    input x: [D] shared, y: [D], start: [] bool shared
    param W: [D, D] shared, V: [D, D]
    state c: [D] shared = 0
    reset when start
    c' = tanh(W @ x + c)
    output o = V @ c' + y[t-1] + x[t-1]
"""
    cell = cell_of_text(text)
    shapes = {s.name: s.shape for s in cell.states} | {p.name: p.shape for p in cell.params}
    n, d = Dim.of("N"), Dim.of("D")
    assert shapes == {"c": (d,), "y[t-1]": (n, d), "x[t-1]": (d,), "W": (d, d), "V": (n, d, d)}
    assert cell.outputs[0].value.shape == (n, d)


def test_heads_know_their_number(rng: np.random.Generator) -> None:
    text = """
cell f(K, N) heads h in N:
    input x: [K]
    param w: [K] = 1 / (1 + h), v: [] = h, table: [N] shared
    state S: [K] = 2 * h
    y = h * x
    S' = S + w * y[t-1]
    output o = S' + table[h] + v
"""
    x, table = rng.normal(size=(2, 4, 3, 2)), rng.normal(size=3)
    numbers = np.arange(3.0)
    params = lsrl.compile(lsrl.parse(text), target="reference", sizes={"K": 2, "N": 3}).init(0)
    same(params["w"], np.tile(1 / (1 + numbers)[:, None], 2))
    same(params["v"], numbers)
    found = run_text(text, {"K": 2, "N": 3}, {"x": x}, {**params, "table": table})
    per_head = 3 * numbers + table
    sums = np.cumsum(shifted(x, 1), axis=1) * (numbers / (1 + numbers))[:, None]
    same(found.outputs["o"], sums + per_head[:, None])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y = ones([h])", "size"),
        ("h = 2", "is a number of the head"),
        ("state s: [] shared\n    s' = s + h", "differs from head"),
    ],
)
def test_the_number_of_a_head_is_no_size(line: str, message: str) -> None:
    with pytest.raises(LsrlError, match=message):
        cell_of_text(f"cell f(N) heads h in N:\n    input x: []\n    {line}\n    output z = x * h\n")


# Used cells


def test_names_of_used_cells() -> None:
    text = (
        LEAKY
        + GATED
        + """
cell model(D, L=2):
    input x: [D]
    param v: [D]
    y = leaky(D)(x) + leaky(D)(x)
    repeat L:
        y = y + leaky(D)(y)
    repeat 2 shared as tied:
        y = y + leaky(D)(y)
    repeat 1:
        param w: [D]
        y = w * y + leaky(D)(y) + gated(D, D)(y).h
        repeat 1:
            y = leaky(D)(y)
    output y = v * y
"""
    )
    cell = cell_of_text(text)
    assert [p.name for p in cell.params] == [
        *("v", "leaky.a", "leaky_2.a", "layers.0.a", "layers.1.a", "tied.a", "layers_2.0.w", "layers_2.0.leaky.a"),
        *("layers_2.0.gated.W", "layers_2.0.gated.U", "layers_2.0.layers.0.a"),
    ]
    assert [s.name for s in cell.states] == [
        *("leaky.h", "leaky_2.h", "layers.0.h", "layers.1.h", "tied.0.h", "tied.1.h", "layers_2.0.leaky.h"),
        *("layers_2.0.gated.h", "layers_2.0.gated.n", "layers_2.0.layers.0.h"),
    ]


def test_a_turn_knows_its_number(rng: np.random.Generator) -> None:
    """As a lag, an index, a shape, a number."""
    text = (
        "cell f(D, L=3):\n    input x: [D]\n    param k: [L], m: []\n    y = x\n    repeat i in L:\n"
        "        param w: [i+1]\n        y = k[i] * y[t-2**i] + i / 2 + sum(w)\n"
        "    repeat i in 2 shared:\n        param w: []\n        y = y + i * w\n    output z = m * y\n"
    )
    x, k = rng.normal(size=(B, T, D)), rng.normal(size=3)
    w = [rng.normal(size=n + 1) for n in range(3)]
    params = {"k": k, "m": np.array(2.0), "layers_2.w": np.array(0.25)} | {f"layers.{n}.w": w[n] for n in range(3)}
    y = x
    for i in range(3):
        y = k[i] * shifted(y, 2**i) + i / 2 + w[i].sum()
    same(run_text(text, {"D": D}, {"x": x}, params).outputs["z"], 2 * (y + 0.25))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("repeat i in 3 shared:\n        param w: [i+1]\n        y = y + sum(w)", "differs from turn to turn"),
        ("repeat i in 3:\n        i = 2\n        y = i * y", "is a number of the turn"),
        ("repeat i in 3:\n        y = y[t-i]\n    y = i * y", "no name `i`"),
    ],
)
def test_the_number_of_a_turn_stays_within(block: str, message: str) -> None:
    with pytest.raises(LsrlError, match=message):
        cell_of_text(f"cell f(D):\n    input x: [D]\n    y = x\n    {block}\n    output y\n")


def test_layers_are_applied_in_turn(rng: np.random.Generator) -> None:
    text = LEAKY + (
        "cell model(D, L):\n    input x: [D]\n    y = x\n    repeat L:\n        y = leaky(D)(y) - y\n"
        "    repeat 2 shared:\n        y = leaky(D)(x=y)\n    output y\n"
    )
    x, a = rng.normal(size=(B, T, D)), rng.uniform(size=(4, D))
    params = {f"layers.{layer}.a": a[layer] for layer in range(3)} | {"layers_2.a": a[3]}
    y = x
    for layer in range(3):
        y = leaky(y, a[layer]) - y
    expected = leaky(leaky(y, a[3]), a[3])
    same(run_text(text, {"D": D, "L": 3}, {"x": x}, params).outputs["y"], expected)


def test_reverse_runs_from_the_end_and_twice_reversed_is_forward(rng: np.random.Generator) -> None:
    text = LEAKY + (
        "cell back(D):\n    input x: [D]\n    output y = reverse leaky(D)(x) + 0 * x[t-1], z = x[t-1]\n\n"
        "cell model(D):\n    input x: [D]\n    r = reverse back(D)(x)\n"
        "    output back = reverse leaky(D)(x), forth = r.y, later = r.z\n"
    )
    x, a = rng.normal(size=(B, T, D)), rng.uniform(size=D)
    found = run_text(text, {"D": D}, {"x": x}, {"leaky.a": a, "back.leaky.a": a}).outputs
    same(found["back"], leaky(x[:, ::-1], a)[:, ::-1])
    same(found["forth"], leaky(x, a))
    same(found["later"], shifted(x[:, ::-1], 1)[:, ::-1])


def test_sizes_of_used_cells_are_formulas_of_the_users() -> None:
    text = "cell inner(H, D=H-1):\n    input x: [2*H]\n    state h: [D] = 0\n    h' = x[:D] + h\n    output h'\n\n"
    text += "cell outer(K):\n    input x: [6*K]\n    output y = inner(3*K)(x)\n"
    cell = cell_of_text(text)
    assert cell.outputs[0].value.shape == (3 * Dim.of("K") - 1,)
    assert bind_sizes(cell, {"K": 1}) == {"K": 1}
    with pytest.raises(DimError, match="negative"):
        bind_sizes(cell, {"K": 0})


def test_parts_of_a_split() -> None:
    text = "cell f(D):\n    input x: [D]\n    p = split(x, 2)\n    q = split(x, [1, D - 1])\n"
    text += "    output y = concat(p[1], p[0]) + concat(q[-1], q[0])\n"
    x = np.arange(4.0)[None, None]
    same(run_text(text, {"D": 4}, {"x": x}).outputs["y"][0, 0], [2 + 1, 3 + 2, 0 + 3, 1 + 0])
    assert cell_of_text(text).outputs[0].value.shape == (Dim.of("D"),)


def test_requirements_are_checked_when_sizes_are_known() -> None:
    cell = cell_of_text("cell f(D, K):\n    input x: [D]\n    a, b = split(x, 2)\n    output y = x[1:K], z = a * b\n")
    assert bind_sizes(cell, {"D": 6, "K": 4}) == {"D": 6, "K": 4}
    with pytest.raises(DimError, match="slice 1:K does not lie within an axis of D"):
        bind_sizes(cell, {"D": 6, "K": 7})
    with pytest.raises(DimError, match="2 equal parts"):
        bind_sizes(cell, {"D": 5, "K": 3})


def test_defaults_of_arguments_see_the_arguments_before() -> None:
    text = "def f(a, b=2 * a, c=b + 1) = [a, b, c]\n\ncell g():\n    input x: []\n    output y = f(x, c=x), z = f(x)\n"
    outputs = run_text(text, {}, {"x": np.array([[3.0]])}).outputs
    same(outputs["y"][0, 0], [3, 6, 3])
    same(outputs["z"][0, 0], [3, 6, 7])


def test_a_kernel_may_have_a_size() -> None:
    text = "cell f(C, Y, X, K=3):\n    input x: [C, Y, X]\n    param W: [C, C, K, K]\n    output y = conv(x, W)\n"
    for taps in (3, 5):
        cell = cell_of_text(text, sizes={"K": taps})
        assert cell.outputs[0].value.shape == cell.inputs[0].shape
        x, w = np.random.default_rng(0).normal(size=(2, 4, 6)), np.random.default_rng(1).normal(size=(2, 2, taps, taps))
        expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding="same")
        sizes = {"C": 2, "Y": 4, "X": 6, "K": taps}
        same(run_text(text, sizes, {"x": x[None, None]}, {"W": w}).outputs["y"][0, 0], expected)
    with pytest.raises(DimError, match="built for K = 3"):
        bind_sizes(cell_of_text(text), {"C": 2, "Y": 4, "X": 6, "K": 5})


def test_a_memory_that_learns_at_test_time(rng: np.random.Generator) -> None:
    """Titans (Behrouz et al., 2025): gradient steps on a small network inside of the recurrence, per head."""
    text = """
cell titans(N, K, H) heads N:
    input q, k, v: [K], rate, decay: []
    param A0: [H, K], B0: [K, H]
    state A: [H, K] = A0, B: [K, H] = B0
    loss = sum((B @ tanh(A @ k) - v) ** 2) / 2
    dA, dB = grad(loss, [A, B])
    A' = (1 - decay) * A - rate * dA
    B' = (1 - decay) * B - rate * dB
    output o = B' @ tanh(A' @ q)
"""
    q, k, v = (torch.from_numpy(rng.normal(size=(T, 2, 3))) for _ in range(3))
    rate, decay = (torch.from_numpy(rng.uniform(0, 0.3, size=(T, 2))) for _ in range(2))
    A0, B0 = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 3, 4))
    inputs = {n: x.numpy()[None] for n, x in (("q", q), ("k", k), ("v", v), ("rate", rate), ("decay", decay))}
    found = run_text(text, {"N": 2, "K": 3, "H": 4}, inputs, {"A0": A0, "B0": B0}).outputs["o"]
    for head in range(2):
        A, B = torch.from_numpy(A0[head]), torch.from_numpy(B0[head])
        for t in range(T):
            A, B = A.detach().requires_grad_(), B.detach().requires_grad_()
            loss = ((B @ torch.tanh(A @ k[t, head]) - v[t, head]) ** 2).sum() / 2
            dA, dB = torch.autograd.grad(loss, (A, B))
            A = (1 - decay[t, head]) * A - rate[t, head] * dA
            B = (1 - decay[t, head]) * B - rate[t, head] * dB
            same(found[0, t, head], (B @ torch.tanh(A @ q[t, head])).detach())


# Grids and graphs


def test_a_grid_reads_its_neighbours(rng: np.random.Generator) -> None:
    text = """
cell grid(K) over y, x:
    input u, a, b: [K]
    state h: [K] along y, x = 1, w: [K] along x = 0
    h' = a * h[y-1] + b * h[x-1] + u
    w' = w + u[y-1]
    output h', w'
"""
    u, a, b = rng.normal(size=(3, B, 4, 5, 2))
    h, w = np.ones((B, 5, 6, 2)), np.zeros((B, 4, 6, 2))
    for i in range(4):
        for j in range(5):
            h[:, i + 1, j + 1] = a[:, i, j] * h[:, i, j + 1] + b[:, i, j] * h[:, i + 1, j] + u[:, i, j]
            w[:, i, j + 1] = w[:, i, j] + (u[:, i - 1, j] if i else 0)
    found = run_text(text, {"K": 2}, {"u": u, "a": a, "b": b}).outputs
    same(found["h"], h[:, 1:, 1:])
    same(found["w"], w[:, :, 1:])


def test_a_graph_reads_values_where_they_live(rng: np.random.Generator) -> None:
    text = """
cell dag(K) over graph:
    node input u, p: [K]
    edge input s: [], e: [K]
    turn input t: []
    param W: [K, K]
    edge state C: [K] = 0
    n = tanh(p)
    C' = sum_in(t * C * e * n) + s * (W @ u) + sum_in(C)
    output o = sum_in(s * C + u * e) + n, m = max_in(C - p), c = sum_in(1)
"""
    edges = np.array([(0, 1), (0, 2), (1, 2), (2, 3), (1, 3), (4, 3)])
    turns = make_topology(5, edges).turns
    u, p, s, e, t = (rng.normal(size=shape) for shape in ((5, 2), (5, 2), 6, (6, 2), len(turns)))
    W = rng.normal(size=(2, 2))
    inputs = {"u": u, "p": p, "s": s, "e": e, "t": t, "edges": edges, "turns": turns}
    n, C = np.tanh(p), np.zeros((6, 2))
    for edge in (0, 1, 2, 3, 4, 5):  # in an order in which every edge comes after those into its node
        source = edges[edge, 0]
        into = [f for f in range(6) if edges[f, 1] == source]
        through = sum((t[i] * C[f] * e[f] * n[source] for i, (f, g) in enumerate(turns) if g == edge), np.zeros(2))
        C[edge] = through + s[edge] * (W @ u[source]) + sum((C[f] for f in into), np.zeros(2))
    into_node = [[f for f in range(6) if edges[f, 1] == node] for node in range(5)]
    o = [sum((s[f] * C[f] + u[v] * e[f] for f in into), np.zeros(2)) + n[v] for v, into in enumerate(into_node)]
    m = [
        np.max([C[f] - p[v] for f in into], axis=0) if into else np.full(2, -np.inf) for v, into in enumerate(into_node)
    ]
    found = run_text(text, {"K": 2}, inputs, {"W": W})
    same(found.outputs["o"], o)
    same(found.outputs["m"], m)
    same(found.outputs["c"], [len(into) for into in into_node])
    same(found.state["C"], C)


def test_a_cell_without_states_runs_at_every_node(rng: np.random.Generator) -> None:
    text = (
        "cell mlp(K):\n    input x: [K]\n    param W: [K, K]\n    output y = tanh(W @ x)\n\n"
        "cell dag(K) over graph:\n    node input u: [K]\n    edge input s: [K]\n    edge state C: [K] = 0\n"
        "    C' = mlp(K)(sum_in(C) + u) * s\n    output o = sum_in(C)\n"
    )
    edges = np.array([(0, 1), (1, 2)])
    u, s, W = rng.normal(size=(3, 2)), rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    first = np.tanh(W @ u[0]) * s[0]
    second = np.tanh(W @ (u[1] + first)) * s[1]
    found = run_text(text, {"K": 2}, {"u": u, "s": s, "edges": edges}, {"mlp.W": W})
    same(found.outputs["o"], [np.zeros(2), first, second])


# Imports


def test_imports_reach_the_programs_folder_and_the_library(tmp_path: Any, rng: np.random.Generator) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "gates.lsrl").write_text("const SCALE = 2\n\ndef twice(x) = SCALE * x\n" + LEAKY)
    main = tmp_path / "main.lsrl"
    main.write_text(
        "import parts.gates as g\nimport std.logic\nfrom parts.gates import leaky as smooth, SCALE\n"
        "from std import gru\n\n"
        "cell main(D):\n    input x: [D]\n    output y = g.twice(smooth(D)(x)) * SCALE + std.logic.step(gru(D, D)(x))\n"
    )
    loaded = load_path(main)
    cell = elaborate.elaborate(loaded.program, loader=loaded.loader)
    assert [p.name for p in cell.params] == ["smooth.a", "gru.W_ih", "gru.W_hh", "gru.b_ih", "gru.b_hh"]
    (tmp_path.parent / "outside.lsrl").write_text("def f(x) = x\n")
    (tmp_path / "link.lsrl").symlink_to(tmp_path.parent / "outside.lsrl")
    for line in ("from link import f", "from main import main", "import main", "from std.nowhere import f"):
        main.write_text(f"{line}\n\ncell main(D):\n    input x: [D]\n    output x\n")
        loaded = load_path(main)
        with pytest.raises(LsrlError, match=r"E030[68]"):
            elaborate.elaborate(loaded.program, loader=loaded.loader)
