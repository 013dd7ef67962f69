"""Windows, and lags that reach far: what a loop over positions holds, in all places where a program may stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lsrl.backends.initialise import init_params
from lsrl.ir.lines import line_of
from lsrl.loader import load_text
from lsrl.unparse import unparse
from support.elaborated import cell_of_text, problems, run_text

Array = np.ndarray[Any, np.dtype[Any]]
B, T, D = 2, 45, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def windows(x: Array, size: int, dilation: int = 1, pad: float = 0.0) -> Array:
    """[B, T, size, ...] of x [B, T, ...], oldest first."""
    rows = [[x[:, t - back] if t >= back else np.full_like(x[:, 0], pad) for t in range(x.shape[1])]
            for back in range((size - 1) * dilation, -1, -dilation)]  # fmt: skip
    return np.stack([np.stack(row, 1) for row in rows], 2)


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (4, 1), (17, 1), (18, 1), (40, 1), (3, 5), (3, 20), (2, 44)])
def test_a_window_holds_the_last_values(size: int, dilation: int, rng: np.random.Generator) -> None:
    text = (
        "cell f(D, K, S):\n    input x: [D], m: [2, D] pad 3\n    y = 2 * x\n"
        "    output u = window(x, K, dilation=S), v = window(y, K, S), w = window(y + x, K, S), z = window(m, K, S)\n"
    )
    x, m = rng.normal(size=(B, T, D)), rng.normal(size=(B, T, 2, D))
    found = run_text(text, {"D": D, "K": size, "S": dilation}, {"x": x, "m": m}).outputs
    for name, values, pad in (("u", x, 0), ("v", 2 * x, 0), ("w", 3 * x, 0), ("z", m, 3)):
        same(found[name], windows(values, size, dilation, pad))


@pytest.mark.parametrize("size", [4, 20])
def test_windows_of_states_begin_with_the_initial_value(size: int, rng: np.random.Generator) -> None:
    text = (
        f"cell f(D):\n    input x: [D]\n    state h: [D] = 2\n    u = window(h, {size})\n    h' = 0.3 * h + x\n"
        f"    output h', u, v = window(h', {size})\n"
    )
    found = run_text(text, {"D": D}, {"x": rng.normal(size=(B, T, D))}).outputs
    same(found["v"], windows(found["h"], size, pad=2))
    same(found["u"], windows(np.concatenate([np.full((B, 1, D), 2), found["h"][:, :-1]], 1), size, pad=2))


def test_a_state_may_feed_on_its_window(rng: np.random.Generator) -> None:
    text = (
        "cell f(D):\n    input x: [D]\n    state h: [D] = 1\n    h' = mean(window(h, 20), axis=0) + x\n    output h'\n"
    )
    x = rng.normal(size=(B, T, D))
    found = run_text(text, {"D": D}, {"x": x}).outputs["h"]
    before = np.concatenate([np.ones((B, 20, D)), found], 1)
    same(found, np.stack([before[:, t : t + 20].mean(1) + x[:, t] for t in range(T)], 1))


def test_far_lags_are_lines_and_near_ones_registers(rng: np.random.Generator) -> None:
    text = (
        "cell f(D):\n    input x: [D] pad 5\n    state h: [D] = 1\n    h' = 0.5 * h + x\n    d = y[t-30]\n    y = -x\n"
        "    output a = x[t-16], b = x[t-30], c = h[t-30], d, e = h'\n"
    )
    x = rng.normal(size=(B, T, D))
    found = run_text(text, {"D": D}, {"x": x})
    same(found.outputs["a"], windows(x, 17, pad=5)[:, :, 0])
    same(found.outputs["b"], windows(x, 31, pad=5)[:, :, 0])
    same(found.outputs["c"], windows(found.outputs["e"], 31, pad=1)[:, :, 0])
    same(found.outputs["d"], windows(-x, 31)[:, :, 0])
    same(found.state["x[t-30:t]"], x[:, -30:])
    lines = [s.name for s in cell_of_text(text).states if line_of(s) is not None]
    assert lines == ["y[t-30:t]", "x[t-30:t]", "h[t-30:t-1]"]


def test_a_window_continues_from_a_state(rng: np.random.Generator) -> None:
    text = "cell f(D):\n    input x: [D]\n    output y = window(x, 20, dilation=2), z = window(x, 3)\n"
    x = rng.normal(size=(B, T, D))
    whole, first = run_text(text, {"D": D}, {"x": x}), run_text(text, {"D": D}, {"x": x[:, :7]})
    rest = run_text(text, {"D": D}, {"x": x[:, 7:]}, state=first.state)
    for name in ("y", "z"):
        same(np.concatenate([first.outputs[name], rest.outputs[name]], 1), whole.outputs[name])
    for name, array in whole.state.items():
        same(rest.state[name], array)


def test_a_window_is_as_long_as_the_size_says(rng: np.random.Generator) -> None:
    text = "cell f(D, K=2):\n    input x: [D]\n    param w: [D, K]\n"
    text += "    output y = causal_conv(x, w.T), z = window(x, K).T * w\n"
    x, w = rng.normal(size=(B, T, D)), rng.normal(size=(D, 3))
    found = run_text(text, {"D": D, "K": 3}, {"x": x}, {"w": w}).outputs
    same(found["y"], (windows(x, 3) * w.T).sum(2))
    same(found["z"], windows(x, 3).swapaxes(2, 3) * w)


def test_functions_look_back_on_their_arguments(rng: np.random.Generator) -> None:
    text = (
        "def ahead(x) = x - x[t-2]\n\ncell f(D):\n    input x: [D] pad 1\n    param w: [4, D], v: [3, D]\n"
        "    output y = causal_conv(x, w), z = causal_conv(2 * x, v, dilation=9), u = ahead(x), s = ahead(3 * x)\n"
    )
    x, w, v = rng.normal(size=(B, T, D)), rng.normal(size=(4, D)), rng.normal(size=(3, D))
    found = run_text(text, {"D": D}, {"x": x}, {"w": w, "v": v}).outputs
    same(found["y"], (windows(x, 4, pad=1) * w).sum(2))
    same(found["z"], (windows(2 * x, 3, 9) * v).sum(2))
    same(found["u"], x - windows(x, 3, pad=1)[:, :, 0])
    same(found["s"], 3 * (x - windows(x, 3)[:, :, 0]))


@pytest.mark.parametrize("size", [4, 20])
@pytest.mark.parametrize("reverse", ["", "reverse "])
def test_a_reset_forgets_the_window(reverse: str, size: int, rng: np.random.Generator) -> None:
    text = (
        f"cell g(D):\n    input x: [D] pad 2, r: [] bool\n    reset when r\n    output y = window(x, {size})\n\n"
        "cell f(D):\n    input x: [D], r, s: [] bool\n    reset when s\n"
        f"    output a = {reverse}g(D)(x, r), b = {reverse}g(D)(2 * x, r)\n"
    )
    x, none = rng.normal(size=(1, T, D)), np.zeros((1, T), bool)
    r, s = none.copy(), none.copy()
    (s if reverse else r)[0, [0, 9]] = True
    s[0, [13, 40]] = True
    found = run_text(text, {"D": D}, {"x": x, "r": r, "s": s}).outputs
    for part in (slice(0, 9), slice(9, 13), slice(13, 40), slice(40, T)):
        flags = none[:, part]
        alone = run_text(text, {"D": D}, {"x": x[:, part], "r": flags, "s": flags}).outputs
        same(found["a"][:, part], alone["a"])
        same(found["b"][:, part], alone["b"])


def test_windows_in_heads(rng: np.random.Generator) -> None:
    text = (
        "cell f(N, D) heads N:\n    input x: [D], u: [D] shared\n    output y = window(x, 20), z = window(u, 20) @ x\n"
    )
    x, u = rng.normal(size=(B, T, 4, D)), rng.normal(size=(B, T, D))
    found = run_text(text, {"D": D, "N": 4}, {"x": x, "u": u}).outputs
    same(found["y"], np.moveaxis(windows(x, 20), 2, 3))
    same(found["z"], np.einsum("btkd,btnd->btnk", windows(u, 20), x))


def test_windows_lie_along_an_axis_of_a_grid(rng: np.random.Generator) -> None:
    text = "cell f(D) over y, x:\n    input u: [D]\n    output a = window(u, 3, axis=x), b = window(u, 20, axis=y)\n"
    u = rng.normal(size=(B, 25, 5, D))
    found = run_text(text, {"D": D}, {"u": u}).outputs
    same(found["a"][:, 7], windows(u[:, 7], 3))
    same(found["b"][:, :, 2], windows(u[:, :, 2], 20))


def test_windows_come_back_as_text() -> None:
    text = "cell f(D):\n    input x: [D]\n    output y = window(x, 3), z = window(x, 20), u = x[t-40]\n"
    cell = cell_of_text(text)
    again = cell_of_text(unparse(cell))
    assert [output.value.shape for output in again.outputs] == [output.value.shape for output in cell.outputs]
    assert unparse(again) == unparse(cell)


def test_long_windows_make_small_graphs() -> None:
    text = "cell f(D):\n    input x: [D]\n    output y = window(x, 2048), z = x[t-4000]\n"
    cell = cell_of_text(text)
    assert [s.name for s in cell.states] == ["x[t-2047:t]", "x[t-4000:t]"]
    assert init_params(cell, {"D": D}, seed=0) == {}
    assert load_text(unparse(cell))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("window(x, 0)", "E0510"),
        ("window(x, 2, dilation=0)", "E0510"),
        ("window(x, 5000)", "E0606"),
        ("window(x, x)", "E0601"),
        ("window(x)", "E0403"),
        ("window(x, 3, axis=y)", "E0512"),
        ("window(later, 3)", "E0302"),
    ],
)
def test_what_is_no_window(value: str, code: str) -> None:
    text = f"cell f(D):\n    input x: [D]\n    y = {value}\n    later = 2 * x\n    output z = mean(y) * later\n"
    assert [problem.code for problem in problems(text) if problem.severity == "error"] == [code]
