"""What `gradient` and `cotangents` promise: kinks, zeros, derivatives of derivatives, errors, random graphs."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir import build, fault, ops
from lsrl.ir.adjoint import cotangents, gradient
from lsrl.ir.dims import Dim
from lsrl.ir.fault import Fault
from lsrl.ir.ops import OPS, Family
from lsrl.ir.value import Kind, Value, postorder
from support.graphs import Grower

INF = float("inf")
X = ops.leaf("input", "x", (Dim.of(3),), Kind.FLOAT)
Y = ops.leaf("input", "y", (Dim.of(3),), Kind.FLOAT)
SCOPE = Scope({"H": 4, "D": 3})


def derivative(value: Value, at: list[float], by: Value = X, **others: Any) -> list[float]:
    """The gradient of the sum of a value of X (and Y)."""
    (found,) = gradient(build.reduce("reduce_sum", value), [by])
    env = {X: np.array(at), Y: np.array(others.get("y", [0.0, 0.0, 0.0]))}
    return [float(number) for number in evaluate([found], env, SCOPE)[0]]


@pytest.mark.parametrize(
    ("value", "at", "expected"),
    [
        (build.binary("max", X, build.neg(X)), [0.0, 1.0, -2.0], [0.0, 1.0, -1.0]),
        (build.binary("max", X, 1), [1.0, 0.0, 2.0], [0.5, 0.0, 1.0]),
        (build.binary("min", X, 1), [1.0, 0.0, 2.0], [0.5, 1.0, 0.0]),
        (build.reduce("reduce_max", X), [2.0, 2.0, 1.0], [0.5, 0.5, 0.0]),
        (build.reduce("reduce_min", X), [2.0, 2.0, 2.0], [1 / 3, 1 / 3, 1 / 3]),
        (build.reduce("reduce_prod", X), [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
        (build.reduce("reduce_prod", X), [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
        (build.unary("abs", X), [-1.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (build.unary("relu", X), [-1.0, 0.0, 2.0], [0.0, 0.0, 1.0]),
        (build.reduce("logsumexp", X), [-INF, 0.0, 0.0], [0.0, 0.5, 0.5]),
        (build.reduce("logsumexp", X), [-INF, -INF, -INF], [0.0, 0.0, 0.0]),
        (build.binary("logaddexp", X, 0), [-INF, 0.0, INF], [0.0, 0.5, 1.0]),
        (build.unary("logsigmoid", X), [-1000.0, 0.0, 1000.0], [1.0, 0.5, 0.0]),
        (build.unary("tanh", X), [-1000.0, 0.0, 1000.0], [0.0, 1.0, 0.0]),
        (build.binary("pow", X, 2), [0.0, 1.0, -3.0], [0.0, 2.0, -6.0]),
        (build.binary("pow", X, 0), [0.0, 1.0, -3.0], [0.0, 0.0, 0.0]),
        (build.binary("pow", X, build.full(X.shape, ops.size("H"))), [0.0, 1.0, 2.0], [0.0, 4.0, 32.0]),
        (build.where(build.binary("gt", X, 0), X, build.neg(X)), [1.0, -1.0, 2.0], [1.0, -1.0, 1.0]),
    ],
)
def test_kinks(value: Value, at: list[float], expected: list[float]) -> None:
    assert derivative(value, at) == pytest.approx(expected, rel=1e-15, abs=0)


def test_power_by_its_exponent_at_zero() -> None:
    power = build.binary("pow", Y, X)
    assert derivative(power, [2.0, 0.0, 1.0], y=[0.0, 0.0, np.e]) == pytest.approx([0.0, 0.0, np.e])


def test_masked_operand_gives_no_nan() -> None:
    positive = build.binary("gt", X, 0)
    safe = build.where(positive, build.unary("log", build.where(positive, X, 1)), 0)
    assert derivative(safe, [-1.0, 0.0, 2.0]) == [0.0, 0.0, 0.5]


def test_complex_modulus_at_zero() -> None:
    z = build.mul(build.cast(X, Kind.COMPLEX), ops.const(1 + 1j))
    assert derivative(build.unary("abs", z), [0.0, 1.0, -1.0]) == pytest.approx([0.0, 2**0.5, -(2**0.5)])


def test_stopgrad_blocks() -> None:
    assert derivative(build.mul(X, build.unary("stopgrad", X)), [1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]


def test_gradient_downhill_in_the_complex_plane() -> None:
    """Of |z|^2 it is 2z: a step against it goes towards 0."""
    z = ops.leaf("input", "z", (), Kind.COMPLEX)
    squared = build.binary("pow", build.unary("abs", z), 2)
    (found,) = gradient(squared, [z])
    assert evaluate([found], {z: np.array(3 - 4j)}, SCOPE)[0] == pytest.approx(6 - 8j)


def test_unrelated_value_has_a_zero_gradient() -> None:
    assert gradient(build.reduce("reduce_sum", Y), [X]) == (build.zeros(X.shape),)


def test_values_between_receive_what_passes_through_them() -> None:
    square = build.mul(X, X)
    loss = build.reduce("reduce_sum", build.mul(square, square))
    by_x, by_square = gradient(loss, [X, square])
    env = {X: np.array([1.0, 2.0, 3.0])}
    np.testing.assert_allclose(evaluate([by_x, by_square], env, SCOPE), [[4, 32, 108], [2, 8, 18]])
    apart = cotangents([loss], [ops.const(1.0)], [X, square], independent=True)
    np.testing.assert_allclose(evaluate(apart, dict(env), SCOPE), [[0, 0, 0], [2, 8, 18]])


def test_derivative_of_a_derivative() -> None:
    """One inner step of gradient descent, differentiated by its start: against PyTorch."""
    w = ops.leaf("input", "w", (Dim.of(3), Dim.of(3)), Kind.FLOAT)
    error = build.sub(build.unary("tanh", build.matmul(w, X)), Y)
    (slope,) = gradient(build.dot(error, error), [w])
    stepped = build.sub(w, build.mul(ops.const(0.1), slope))
    after = build.reduce("logsumexp", build.matmul(stepped, X))
    rng = np.random.default_rng(0)
    env = {w: rng.normal(size=(3, 3)), X: rng.normal(size=3), Y: rng.normal(size=3)}
    found = evaluate(gradient(after, [w, X, Y]), dict(env), SCOPE)
    tensors = [torch.tensor(env[leaf], requires_grad=True) for leaf in (w, X, Y)]
    tw, tx, ty = tensors
    (inner,) = torch.autograd.grad(((torch.tanh(tw @ tx) - ty) ** 2).sum(), tw, create_graph=True)
    expected = torch.autograd.grad(torch.logsumexp((tw - 0.1 * inner) @ tx, 0), tensors)
    for own, theirs in zip(found, expected):
        np.testing.assert_allclose(own, theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("output", "wrt"),
    [
        (X, X),
        (ops.size("H"), X),
        (build.reduce("reduce_sum", build.unary("cis", X)), X),
        (build.reduce("reduce_sum", X), ops.leaf("input", "i", (), Kind.INT)),
    ],
    ids=["vector", "int", "complex", "by an int"],
)
def test_what_has_no_gradient_says_so(output: Value, wrt: Value) -> None:
    with pytest.raises(Fault) as caught:
        gradient(output, [wrt])
    assert caught.value.code == fault.NOT_DIFFERENTIABLE


def test_ill_shaped_seed_is_refused() -> None:
    with pytest.raises(Fault) as caught:
        gradient(X, [X], ops.const(1.0))
    assert caught.value.code == fault.SHAPES_DIFFER


SMOOTH = [
    name for name, op in OPS.items() if op.family is not Family.GRAPH and name not in ("slice", "select", "stopgrad")
]


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_against_differences(seed: int) -> None:
    """A few operations in a row, any that fit; numbers keep away from kinks with probability almost one."""
    g = Grower(Random(seed))
    for op in Random(seed).choices(SMOOTH, k=12):
        g.grow(op)
    roots = [v for v in g.values if v.args and v.kind in (Kind.FLOAT, Kind.COMPLEX)]
    rng = np.random.default_rng(seed)
    env = {v: _number(v, rng) for v in postorder(g.values) if v.op in ("input", "param")}
    arrays = evaluate(roots, dict(env), SCOPE)
    roots = [root for root, array in zip(roots, arrays) if np.isfinite(array).all() and np.abs(array).max() < 1e3]
    wrt = [v for v in postorder(roots) if v in env and v.kind in (Kind.FLOAT, Kind.COMPLEX)]
    seeds = [ops.leaf("input", f"seed{i}", root.shape, root.kind) for i, root in enumerate(roots)]
    weights = {leaf: _number(leaf, rng) for leaf in seeds}
    pulled = evaluate(cotangents(roots, seeds, wrt), env | weights, SCOPE)
    for leaf, cotangent in zip(wrt, pulled):
        direction = _number(leaf, rng)
        step = 1e-6
        ahead, behind = (
            _weighed(evaluate(roots, env | {leaf: env[leaf] + sign * step * direction}, SCOPE), weights.values())
            for sign in (1, -1)
        )
        along = float(np.sum(np.conj(cotangent) * direction).real)
        assert along == pytest.approx((ahead - behind) / (2 * step), rel=1e-5, abs=1e-5)


def _number(value: Value, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    shape = SCOPE.shape(value.shape)
    match value.kind:
        case Kind.BOOL:
            return np.asarray(rng.random(shape) < 0.5)
        case Kind.INT:
            return rng.integers(0, 3, shape)
        case Kind.FLOAT:
            return rng.uniform(0.5, 1.5, shape)
        case _:
            return np.asarray(rng.uniform(0.5, 1.5, shape) + 1j * rng.uniform(0.5, 1.5, shape))


def _weighed(arrays: Any, weights: Any) -> float:
    """The real loss whose cotangents the weights are."""
    return float(sum(np.sum(np.conj(weight) * array).real for array, weight in zip(arrays, weights)))
