"""Expressions mean what NumPy and PyTorch compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsrl.ir.dims import Dim
from support.elaborated import cell_of_text, run_text, value_of

Array = np.ndarray[Any, np.dtype[Any]]

A = np.array([0.5, -1.25, 2.0, -0.75])
B = np.array([1.5, 0.25, -3.0, 2.5])
M = np.arange(12.0).reshape(3, 4) / 7 - 0.6
S = np.arange(24.0).reshape(2, 3, 4) ** 0.5
Z = np.array([1 + 2j, -0.5j, 3.0, -1 + 1j])
R = np.array([[2.0, -1.0, 0.5], [0.0, 1.5, 1.0], [-1.0, 0.25, 3.0]])
P, Q = np.array([True, False, True, False]), np.array([True, True, False, False])

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "a + 2 * b - 1": (A + 2 * B - 1, {"a": A, "b": B}),
    "a / b ** 2": (A / B**2, {"a": A, "b": B}),
    "-a ** 2": (-(A**2), {"a": A}),
    "a // 0.5 + a % 0.75": (A // 0.5 + A % 0.75, {"a": A}),
    "2 ** 3 ** 2": (512.0, {}),
    "7 / 2 * a": (3.5 * A, {"a": A}),
    "p and q or not p": (P & Q | ~P, {"p": P, "q": Q}),
    "xor(p, q)": (P ^ Q, {"p": P, "q": Q}),
    "p + p + 1": (np.array([3, 1, 3, 1]), {"p": P}),
    "a < b": (A < B, {"a": A, "b": B}),
    "a == a and not (a != a)": (np.ones(4, bool), {"a": A}),
    "max(a, b, 0)": (np.maximum(np.maximum(A, B), 0), {"a": A, "b": B}),
    "min(a, b)": (np.minimum(A, B), {"a": A, "b": B}),
    "where(a > 0, a, 0)": (np.where(A > 0, A, 0), {"a": A}),
    "m @ a": (M @ A, {"m": M, "a": A}),
    "m @ m.T": (M @ M.T, {"m": M}),
    "a @ m.T": (A @ M.T, {"m": M, "a": A}),
    "a @ b": (A @ B, {"a": A, "b": B}),
    "m @ diag(a)": (M * A, {"m": M, "a": A}),
    "diag(m[:, 1]) @ m": (M[:, 1:2] * M, {"m": M}),
    "-diag(a) @ b": (-A * B, {"a": A, "b": B}),
    "diag(a) @ diag(b)": (np.diag(A * B), {"a": A, "b": B}),
    "diag(a) + 1": (np.diag(A) + 1, {"a": A}),
    "outer(a, b)": (np.outer(A, B), {"a": A, "b": B}),
    "dot(a, b)": (A @ B, {"a": A, "b": B}),
    "m.T": (M.T, {"m": M}),
    "transpose(s, axes=[1, 2, 0])": (S.transpose(1, 2, 0), {"s": S}),
    'einsum("h k v, v -> k h", s, a)': (np.einsum("hkv,v->kh", S, A), {"s": S, "a": A}),
    'einsum("hkv->", s)': (S.sum(), {"s": S}),
    "m[1]": (M[1], {"m": M}),
    "m[-1, 2]": (M[-1, 2], {"m": M}),
    "m[:, 1:3]": (M[:, 1:3], {"m": M}),
    "m[1:]": (M[1:], {"m": M}),
    "m[:-1, ::2]": (M[:-1, ::2], {"m": M}),
    "s[..., 0]": (S[..., 0], {"s": S}),
    "s[0, ..., 1:4]": (S[0, ..., 1:4], {"s": S}),
    "m[i]": (M[2], {"m": M, "i": np.array(2)}),
    "m[:, i]": (M[:, 2], {"m": M, "i": np.array(2)}),
    "m[i, j]": (M[2, 1], {"m": M, "i": np.array(2), "j": np.array(1)}),
    "a[k]": (A[[3, 0, 0]], {"a": A, "k": np.array([3, 0, 0])}),
    "s[:, k, 1]": (S[:, [2, 0], 1], {"s": S, "k": np.array([2, 0])}),
    "a[1 + 1]": (2.0, {"a": A}),
    "concat(a, b)": (np.concatenate([A, B]), {"a": A, "b": B}),
    "concat(m, m, axis=1)": (np.concatenate([M, M], 1), {"m": M}),
    "stack(a, b)": (np.stack([A, B]), {"a": A, "b": B}),
    "stack(a, b, axis=-1)": (np.stack([A, B], -1), {"a": A, "b": B}),
    "reshape(m, [2, 6])": (M.reshape(2, 6), {"m": M}),
    "flip(m, axis=1)": (M[:, ::-1], {"m": M}),
    "zeros([2]) + ones([2]) + full([2], 3)": (np.full(2, 4.0), {}),
    "eye(3)": (np.eye(3), {}),
    "iota(3)": (np.arange(3), {}),
    "one_hot(k, 3)": (np.eye(3)[[2, 0]], {"k": np.array([2, 0])}),
    "size(m) * 10 + size(m, axis=1)": (34, {"m": M}),
    "[1, 2, 3] + [0.5, 0.5, 0.5]": (np.array([1.5, 2.5, 3.5]), {}),
    "[[1, 0], [0, 1]]": (np.eye(2, dtype=int), {}),
    "[a[0], b[1]]": (np.array([A[0], B[1]]), {"a": A, "b": B}),
    "int(a) + int(p)": (np.trunc(A).astype(int) + P, {"a": A, "p": P}),
    "float(p) * a": (P * A, {"p": P, "a": A}),
    "bool(a)": (A != 0, {"a": A}),
    "complex(a, b) + 2j": (A + 1j * B + 2j, {"a": A, "b": B}),
    "re(z) + im(z) + abs(z) + arg(z)": (Z.real + Z.imag + abs(Z) + np.angle(Z), {"z": Z}),
    "conj(z) * cis(a)": (Z.conj() * np.exp(1j * A), {"z": Z, "a": A}),
    "sum(m)": (M.sum(), {"m": M}),
    "sum(m, axis=0)": (M.sum(0), {"m": M}),
    "sum(s, axis=[0, -1])": (S.sum((0, 2)), {"s": S}),
    "prod(a)": (A.prod(), {"a": A}),
    "mean(m, axis=1)": (M.mean(1), {"m": M}),
    "var(m, axis=1)": (M.var(1), {"m": M}),
    "norm(a) + norm(z)": (np.linalg.norm(A) + np.linalg.norm(Z), {"a": A, "z": Z}),
    "max(m, axis=0) - min(m, axis=0)": (np.ptp(M, 0), {"m": M}),
    "max(m)": (M.max(), {"m": M}),
    "argmax(m, axis=1) + argmin(a)": (M.argmax(1) + A.argmin(), {"m": M, "a": A}),
    "any(p) and not all(p)": (True, {"p": P}),
    "logsumexp(a)": (np.log(np.exp(A).sum()), {"a": A}),
    "softmax(m)": (np.exp(M) / np.exp(M).sum(1, keepdims=True), {"m": M}),
    "softmax(m, axis=0)": (np.exp(M) / np.exp(M).sum(0), {"m": M}),
    "stopgrad(a)": (A, {"a": A}),
    "atan2(a, b)": (np.arctan2(A, B), {"a": A, "b": B}),
    "logaddexp(a, b)": (np.logaddexp(A, B), {"a": A, "b": B}),
    "solve(r, b[:3])": (np.linalg.solve(R, B[:3]), {"r": R, "b": B}),
    "solve(r, m)": (np.linalg.solve(R, M), {"r": R, "m": M}),
    "solve(diag(a), b)": (B / A, {"a": A, "b": B}),
    "inverse(r) @ b[:3]": (np.linalg.solve(R, B[:3]), {"r": R, "b": B}),
    "cos(2 * pi / 3) * a": (-0.5 * A, {"a": A}),
    "min(a, inf)": (A, {"a": A}),
    "grad(sum(a ** 3), a)": (3 * A**2, {"a": A}),
    "grad(sum(stopgrad(a) * a), a)": (A, {"a": A}),
}


@pytest.mark.parametrize("expression", CASES)
def test_an_expression_is_numpys(expression: str) -> None:
    expected, inputs = CASES[expression]
    found = value_of(expression, **inputs)
    assert found.shape == np.shape(expected)
    assert np.asarray(expected).dtype.kind == found.dtype.kind or found.dtype.kind == "f"
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_axes_are_named_by_sizes() -> None:
    text = "cell f(K, V):\n    input a: [K, V]\n"
    text += "    output y = sum(a, K), z = softmax(a, axis=V), w = max(a, axis=[V])\n"
    outputs = run_text(text, {"K": 2, "V": 3}, {"a": M[None, None, :2, :3]}).outputs
    np.testing.assert_allclose(outputs["y"][0, 0], M[:2, :3].sum(0), rtol=1e-12)
    np.testing.assert_allclose(outputs["z"][0, 0], torch.softmax(torch.from_numpy(M[:2, :3]), 1), rtol=1e-12)
    np.testing.assert_allclose(outputs["w"][0, 0], M[:2, :3].max(1), rtol=1e-12)


def test_a_cell_means_the_same_when_two_sizes_agree() -> None:
    text = "cell inner(K, V):\n    input a: [K, V]\n    output y = sum(a, K)\n\n"
    text += "cell outer(D):\n    input a: [D, D]\n    output y = inner(D, D)(a), z = inner(2, 2)(a[:2, :2])\n"
    outputs = run_text(text, {"D": 3}, {"a": M[None, None, :3, :3]}).outputs
    np.testing.assert_allclose(outputs["y"][0, 0], M[:3, :3].sum(0), rtol=1e-12)
    np.testing.assert_allclose(outputs["z"][0, 0], M[:2, :2].sum(0), rtol=1e-12)


def test_sizes_are_numbers() -> None:
    assert value_of("(2 * K + V // 2) / sqrt(K)", {"K": 4, "V": 5}) == 5.0


def test_powers_and_whole_parts_of_sizes_are_sizes() -> None:
    cell = cell_of_text("cell f(D, K):\n    output y = 2 * K**2, z = size(zeros([D/2]) // 1) // 1\n")
    y, z = (output.value for output in cell.outputs)
    assert (y.attr("dim"), z.attr("dim")) == (2 * Dim.of("K") * Dim.of("K"), Dim.of("D") / 2)


def test_an_argument_that_is_a_size_stays_one() -> None:
    text = "def ends(x, n) = concat(x[0:n], x[size(x) - n:size(x)])\n\n"
    text += "cell f(D):\n    input x: [D]\n    y = x\n    repeat i in 1:\n        y = ends(x, 2**i + D // 5)\n"
    text += "    output y\n"
    x = np.arange(5.0)
    np.testing.assert_array_equal(run_text(text, {"D": 5}, {"x": x[None, None]}).outputs["y"][0, 0], [0, 1, 3, 4])


def test_a_fraction_of_sizes_is_no_size() -> None:
    assert value_of("square(K / 2) + square(-K / V)", {"K": 4, "V": 2}) == 8.0


def test_constants_are_exact() -> None:
    cell = cell_of_text("cell f():\n    output y = 1/3 + 1/6 - 0.1 * 5, z = 2 * pi / 5 + pi, w = -inf\n")
    y, z, w = (output.value for output in cell.outputs)
    assert (y.op, y.attr("value")) == ("const", 0)
    assert str(z.args[0].attr("value")) == "7/5"
    assert w.attr("value") == float("-inf")


def test_shapes_stay_symbolic() -> None:
    cell = cell_of_text("cell f(D, H=3):\n    input x: [2*D + H]\n    output y = x[H:H + D]\n", sizes={"D": 5})
    assert cell.outputs[0].value.shape == (Dim.of("D"),)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "swish(x)": F.silu,
    "relu6(9 * x)": lambda x: F.relu6(9 * x),
    "leaky_relu(x)": F.leaky_relu,
    "leaky_relu(x, slope=0.3)": lambda x: F.leaky_relu(x, 0.3),
    "elu(x)": F.elu,
    "elu(x, 0.5)": lambda x: F.elu(x, 0.5),
    "selu(x)": F.selu,
    "celu(x, 2)": lambda x: F.celu(x, 2),
    "mish(x)": F.mish,
    "softsign(x)": F.softsign,
    "tanhshrink(x)": F.tanhshrink,
    "hard_tanh(x)": F.hardtanh,
    "hard_sigmoid(4 * x)": lambda x: (4 * x / 6 + 0.5).clamp(0, 1),  # F.hardsigmoid divides by a float32 6
    "hard_swish(4 * x)": lambda x: 4 * x * (4 * x / 6 + 0.5).clamp(0, 1),
    "gelu(x)": F.gelu,
    "gelu_tanh(x)": lambda x: F.gelu(x, approximate="tanh"),
    "clamp(x, -0.5, 0.25)": lambda x: x.clamp(-0.5, 0.25),
    "square(x)": torch.square,
    "lerp(x, 2, 0.25)": lambda x: torch.lerp(x, torch.full_like(x, 2), 0.25),
    "logit(sigmoid(x))": lambda x: x,
    "softcap(x, 3)": lambda x: 3 * torch.tanh(x / 3),
    "log_softmax(x)": lambda x: F.log_softmax(x, 0),
    "layer_norm(x)": lambda x: F.layer_norm(x, x.shape),
    "rms_norm(x, eps=1e-5)": lambda x: F.rms_norm(x, x.shape, eps=1e-5),
    "l2_normalize(x)": lambda x: F.normalize(x, dim=0),
    "x * cosine_similarity(x, x + 1)": lambda x: x * F.cosine_similarity(x, x + 1, dim=0),
    "cumsum(x)": lambda x: x.cumsum(0),
    "tril(4) @ x + triu(4) @ x": lambda x: (
        torch.ones(4, 4, dtype=x.dtype).tril() @ x + torch.ones(4, 4, dtype=x.dtype).triu() @ x
    ),
    "trace(outer(x, x)) * x": lambda x: (x @ x) * x,
    "softplus(x)": F.softplus,
    "logsigmoid(x)": F.logsigmoid,
}


@pytest.mark.parametrize("expression", ACTIVATIONS)
def test_an_activation_and_its_derivative_are_pytorchs(expression: str) -> None:
    x = torch.tensor([0.5, -1.25, 2.0, -30.0], dtype=torch.float64, requires_grad=True)
    expected = ACTIVATIONS[expression](x)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad((expected * weights).sum(), x)
    values = x.detach().numpy()
    np.testing.assert_allclose(value_of(expression, x=values), expected.detach(), rtol=1e-10, atol=1e-12)
    found = value_of(f"grad(dot({expression}, w), x)", x=values, w=weights.numpy())
    np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("", {"padding": "same"}),
        (', padding="valid"', {}),
        (", stride=2, padding=1", {"stride": 2, "padding": 1}),
        (', dilation=2, padding="valid"', {"dilation": 2}),
    ],
)
def test_convolution_is_pytorchs(arguments: str, options: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(2, 6, 7)), generator.normal(size=(3, 2, 3, 3))
    expected = F.conv2d(torch.from_numpy(x), torch.from_numpy(w), **options)
    np.testing.assert_allclose(value_of(f"conv(x, w{arguments})", x=x, w=w), expected, rtol=1e-10)


def test_grad_of_several() -> None:
    text = """
cell f(K):
    input a, b: [K]
    da, db = grad(sum(a ** 2 * b), [a, b])
    output da, db
"""
    cell = cell_of_text(text)
    assert [output.value.shape for output in cell.outputs] == [(Dim.of("K"),)] * 2
