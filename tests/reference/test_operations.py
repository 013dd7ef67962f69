"""What operations give where care is needed: huge, tiny, infinite and missing operands, indices, places."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir import build, ops
from lsrl.ir.dims import Dim, DimLike
from lsrl.ir.value import Kind, Value
from support.cells import input_


def of(value: Value, real: str = "float64", **sizes: int) -> Any:
    return evaluate([value], {}, Scope(sizes, real))[0].tolist()


def vector(*numbers: float | complex) -> Value:
    return ops.const(numbers)


@pytest.mark.parametrize(
    ("op", "operand", "expected"),
    [
        ("sigmoid", [-1000.0, 1000.0, -40.0], [0.0, 1.0, np.exp(-40)]),
        ("softplus", [-1000.0, 1000.0, -40.0, -inf, inf], [0.0, 1000.0, np.exp(-40), 0.0, inf]),
        ("logsigmoid", [-1000.0, 1000.0, 40.0, -inf], [-1000.0, 0.0, -np.exp(-40), -inf]),
        ("tanh", [-1000.0, 1000.0, 1e-300], [-1.0, 1.0, 1e-300]),
        ("gelu", [-30.0, 40.0], [-30 * 4.906713927148187e-198, 40.0]),
        ("expm1", [1e-20], [1e-20]),
        ("log1p", [1e-20], [1e-20]),
        ("log", [0.0, inf], [-inf, inf]),
        ("rsqrt", [0.0, inf], [inf, 0.0]),
        ("round", [0.5, 1.5, -2.5], [0.0, 2.0, -2.0]),
        ("sign", [-0.0, 3.0, -inf], [0.0, 1.0, -1.0]),
    ],
)
def test_safe_forms(op: str, operand: list[float], expected: list[float]) -> None:
    assert of(build.unary(op, vector(*operand))) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("op", "x", "y", "expected"),
    [
        ("logaddexp", [-inf, 1000.0, -inf, inf], [-inf, 1000.0, 2.0, 1.0], [-inf, 1000 + np.log(2), 2.0, inf]),
        ("mod", [-1.0, 5.0, -5.0, 5.5], [3.0, 3.0, -3.0, -2.0], [2.0, 2.0, -2.0, -0.5]),
        ("floordiv", [-1.0, 5.0, -5.0, 5.5], [3.0, 3.0, -3.0, -2.0], [-1.0, 1.0, 1.0, -3.0]),
        ("pow", [0.0, 0.0, 2.0, -2.0], [0.0, 2.0, -1.0, 3.0], [1.0, 0.0, 0.5, -8.0]),
        ("div", [1.0, -1.0], [0.0, 0.0], [inf, -inf]),
        ("atan2", [0.0, 1.0, -1.0], [-1.0, 0.0, 0.0], [np.pi, np.pi / 2, -np.pi / 2]),
    ],
)
def test_operands_that_need_care(op: str, x: list[float], y: list[float], expected: list[float]) -> None:
    assert of(build.binary(op, vector(*x), vector(*y))) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("op", "operand", "expected"),
    [
        ("logsumexp", [-inf, -inf], -inf),
        ("logsumexp", [1000.0, 1000.0], 1000 + np.log(2)),
        ("logsumexp", [-1000.0, -inf], -1000.0),
        ("logsumexp", [inf, 0.0], inf),
        ("reduce_max", [-inf, -inf], -inf),
        ("argmax", [1.0, 3.0, 3.0], 1),
        ("argmin", [1.0, 0.0, 0.0], 1),
    ],
)
def test_reductions(op: str, operand: list[float], expected: float) -> None:
    assert of(build.reduce(op, vector(*operand))) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("op", "unit"),
    [
        *(("reduce_sum", 0.0), ("reduce_prod", 1.0), ("reduce_max", -inf), ("reduce_min", inf)),
        ("logsumexp", -inf),
    ],
)
def test_reductions_of_nothing(op: str, unit: float) -> None:
    assert of(build.reduce(op, build.zeros((Dim.of("N"),))), N=0) == unit


def test_softmax_of_large_numbers() -> None:
    assert of(build.softmax(vector(1000.0, 1000.0, -inf))) == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (build.add(ops.const(True), ops.const(True)), 2),
        (build.reduce("reduce_sum", ops.const((True, True, False))), 2),
        (build.reduce("reduce_max", ops.const((False, True))), True),
        (build.reduce("reduce_min", ops.const((False, True))), False),
        (build.div(1, 2), 0.5),
        (build.unary("floor", ops.const(3)), 3),
        (build.cast(ops.const((-1.7, 1.7, 0.0)), Kind.INT), [-1, 1, 0]),
        (build.cast(ops.const((0.0, 1j, 2.0)), Kind.BOOL), [False, True, True]),
        (build.cast(ops.const(3 + 4j), Kind.FLOAT), 3.0),
        (build.unary("abs", ops.const(3 + 4j)), 5.0),
        (build.unary("arg", ops.const(0j)), 0.0),
        (build.unary("cis", ops.const("pi")), -1 + 1.2246467991473532e-16j),
        (build.binary("lt", ops.const(2), ops.const(2.5)), True),
        (ops.const(Fraction(1, 3)), 1 / 3),
        (ops.const(Fraction(10) ** 400), inf),
        (ops.const(-(Fraction(10) ** 400)), -inf),
        (ops.const(((1, 2), (Fraction(1, 2), "pi"))), [[1.0, 2.0], [0.5, np.pi]]),
        (build.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
        (ops.size(Dim.of("N") * 2 + 1), 7),
        (ops.iota("N"), [0, 1, 2]),
    ],
)
def test_kinds_and_constants(value: Value, expected: Any) -> None:
    found = of(value, N=3)
    assert found == expected
    assert type(found) is type(expected)


def test_every_value_has_the_precision_of_the_run() -> None:
    values = [build.unary(op, vector(0.5, 1.0)) for op in ("gelu", "erf", "sigmoid", "cis")]
    found = evaluate(values, {}, Scope({}, "float32"))
    assert [array.dtype.name for array in found] == ["float32", "float32", "float32", "complex64"]


def test_an_index_outside_is_clamped() -> None:
    assert of(build.gather(vector(1.0, 2.0, 3.0), ops.const((-5, 1, 7)))) == [1.0, 2.0, 3.0]
    spread = ops.apply("scatter", vector(1.0, 2.0, 4.0), ops.const((-5, 0, 7)), axis=0, batch=0, size=Dim.of(3))
    assert of(spread) == [3.0, 0.0, 4.0]


def leaf(name: str, *shape: DimLike, kind: Kind = Kind.FLOAT) -> Value:
    return input_(name, *shape, kind=kind)


X, Y = leaf("x", 2, 3), leaf("y", 2, 3)
MANY = [
    build.add(X, leaf("s")),
    build.where(build.binary("gt", X, leaf("s")), X, Y),
    build.einsum("ab,cb->ac", X, Y),
    build.transpose(X),
    build.reshape(X, (Dim.of(6),)),
    build.expand(X, (Dim.of(2), Dim.of(4), Dim.of(3)), [1]),
    build.slice_(X, 1, 3, axis=1),
    build.select(X, 1, axis=1),
    ops.apply("flip", X, axis=1),
    build.concat([X, Y], axis=1),
    build.gather(X, leaf("i", 4, kind=Kind.INT)),
    build.gather(X, leaf("i", 4, kind=Kind.INT), axis=1),
    build.gather(X, leaf("j", 2, kind=Kind.INT), axis=1, batch=1),
    ops.apply("scatter", X, leaf("j", 2, kind=Kind.INT), axis=0, batch=0, size=Dim.of(3)),
    ops.apply("scatter", leaf("r", 2), leaf("j", 2, kind=Kind.INT), axis=1, batch=1, size=Dim.of(3)),
    build.reduce("reduce_max", X, [0]),
    build.reduce("logsumexp", X, [1]),
    build.reduce("argmax", X),
    build.softmax(X, 0),
    build.conv(X, leaf("w", 4, 2, 3)),
    build.solve(leaf("a", 2, 2), X),
    build.solve(leaf("a", 2, 2), leaf("r", 2)),
]


@pytest.mark.parametrize("value", MANY, ids=lambda value: repr(value))
@pytest.mark.parametrize("still", ["none", "first", "last"])
def test_many_places_at_once_are_each_place_alone(value: Value, still: str) -> None:
    """The first or the last operand may be the same at every place."""
    rng = np.random.default_rng(0)
    leaves = sorted(set(_leaves(value)), key=repr)
    fixed = {"none": [], "first": leaves[:1], "last": leaves[-1:]}[still]
    env = {}
    for each in leaves:
        shape = (
            Scope({}).shape(each.shape) if each in fixed and len(leaves) > 1 else (2, 5, *Scope({}).shape(each.shape))
        )
        env[each] = rng.integers(-1, 4, shape) if each.kind is Kind.INT else rng.normal(size=shape)
    found = evaluate([value], dict(env), Scope({}))[0]
    for place in np.ndindex(2, 5):
        here = {each: array[place] if array.ndim > each.rank else array for each, array in env.items()}
        np.testing.assert_allclose(found[place], evaluate([value], here, Scope({}))[0], rtol=1e-13, atol=1e-14)


def _leaves(value: Value) -> list[Value]:
    return [value] if not value.args else [leaf for arg in value.args for leaf in _leaves(arg)]


def test_a_singular_system_has_no_solution_and_leaves_the_others_theirs() -> None:
    matrices, right = np.stack([np.eye(2), np.zeros((2, 2))]), np.ones((2, 3))
    found = evaluate([build.solve(leaf("a", 2, 2), X)], {leaf("a", 2, 2): matrices, X: right}, Scope({}))[0]
    np.testing.assert_array_equal(found, [right, np.full((2, 3), nan)])


def test_nan_is_not_hidden() -> None:
    assert np.isnan(of(build.binary("max", vector(nan), vector(1.0)))[0])
    assert np.isnan(of(build.reduce("reduce_sum", vector(nan, 1.0))))
