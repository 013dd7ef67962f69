"""Windows in emitted modules: what is read of a line is a view of one sequence, forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest
import torch

import lsrl
from lsrl.verify import case, verify

pytestmark = pytest.mark.filterwarnings("ignore:.*plain PyTorch form")

TAIL = """
cell tail(D=2, K=18):
    input x: [D] pad 2, r: [] bool
    param w: [4, D]
    reset when r
    far = window(causal_conv(x, w), K)
    output y = softmax(far @ x) @ far, z = x[t-17], u = sum(window(x, 3, dilation=9), axis=0)
"""

BOTH_WAYS = (
    TAIL
    + """
cell many(N, D, K) heads N:
    input x: [D]
    output y = window(x, K) @ x

cell fed(D, K):
    input x: [D]
    param h0: [D]
    state h: [D] = h0
    h' = tanh(x + mean(window(h, K), axis=0) + window(h, 3)[1])
    output h'

cell f(D=3, N=2, K=18):
    input x: [D], m: [N, D], first: [] bool, r: [] bool
    reset when first
    a = tail(D, K)(x, r)
    b = reverse tail(D, K)(x, r)
    c = fed(D, K)(a.u)
    d = reverse fed(D, K)(b.u)
    output ay = a.y, az = a.z, by = b.y, bz = b.z, c, d, e = many(N, D, K)(m)
"""
)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("text", "target"), [(BOTH_WAYS, "torch"), (TAIL, "triton"), (TAIL, "jax")])
def test_windows_agree_with_the_reference(text: str, target: str) -> None:
    found = list(verify(case(lsrl.parse(text), length=23), (target,), ("float64",)))
    assert found
    assert [row for row in found if not row.holds] == []


def test_a_window_needs_no_loop_and_few_lines() -> None:
    program = lsrl.parse(
        "cell f(D):\n    input x: [D]\n    output y = window(x, 2048), z = window(x, 2, dilation=512)\n"
    )
    for target in ("jax", "triton"):
        text = lsrl.compile(program, target=target, sizes={"D": 3}).source
        assert "for t" not in text
        assert "scan" not in text
        assert text.count("windowed(x") == 2


def test_positions_one_at_a_time() -> None:
    """The state that a step leaves holds the window of the next one."""
    program = lsrl.parse("cell f(D=3):\n    input x: [D]\n    output y = window(x, 20), z = x[t-17]\n")
    model = lsrl.compile(program, target="triton", dtype="float64")
    x = torch.randn(2, 25, 3, dtype=torch.float64)
    whole, state, found = model({}, {"x": x}), None, []
    for t in range(25):
        result = model.step({}, {"x": x[:, t]}, state)
        state = result.state
        found.append(result.outputs["y"])
    torch.testing.assert_close(torch.stack(found, 1), whole.outputs["y"])
    torch.testing.assert_close(state["x[t-19:t]"], whole.state["x[t-19:t]"])
    assert model({}, {"x": x[:, :0]}).outputs["y"].shape == (2, 0, 20, 3)
