"""Drawing parameters and noise: repeatable, independent by name, and distributed as declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lsrl.backends.initialise import draw_noise, init_params
from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution
from lsrl.ir.dims import Dim
from lsrl.ir.value import Domain, Kind, Value
from support.cells import cell_of, param

N, M = Dim.of("N"), Dim.of("M")


def drawn(
    name: str, *args: Value | float, shape: tuple[int, ...] = (100, 100), kind: Kind = Kind.FLOAT
) -> np.ndarray[Any, np.dtype[Any]]:
    weight = param("W", *shape, kind=kind)
    cell = cell_of({"w": weight}, inits={"W": Distribution(name, tuple(build.value(a) for a in args))})
    return init_params(cell, {}, seed=3)["W"]


@pytest.mark.parametrize(
    ("array", "cdf"),
    [
        (drawn("uniform", 0.5), stats.uniform(-0.5, 1).cdf),
        (drawn("uniform", 1.0, 3.0), stats.uniform(1, 2).cdf),
        (drawn("normal"), stats.norm.cdf),
        (drawn("normal", 0.02), stats.norm(0, 0.02).cdf),
        (drawn("normal", 1.0, 0.1), stats.norm(1, 0.1).cdf),
        (drawn("log_uniform", 0.001, 0.1), stats.loguniform(0.001, 0.1).cdf),
        (drawn("glorot", shape=(50, 200)), stats.uniform(-((6 / 250) ** 0.5), 2 * (6 / 250) ** 0.5).cdf),
        (drawn("normal", kind=Kind.COMPLEX).real, stats.norm.cdf),
        (drawn("normal", kind=Kind.COMPLEX).imag, stats.norm.cdf),
    ],
)
def test_distributions(array: Any, cdf: Callable[[Any], Any]) -> None:
    assert stats.kstest(array.ravel(), cdf).pvalue > 0.001


def test_bernoulli() -> None:
    array = drawn("bernoulli", 0.3)
    assert set(np.unique(array)) == {0.0, 1.0}
    assert array.mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("kind", [Kind.FLOAT, Kind.COMPLEX])
def test_orthogonal(kind: Kind) -> None:
    wide, tall = drawn("orthogonal", 2.0, shape=(3, 4, 6), kind=kind), drawn("orthogonal", shape=(6, 4), kind=kind)
    for matrix in wide:
        np.testing.assert_allclose(matrix @ matrix.conj().T, 4 * np.eye(4), atol=1e-13)
    np.testing.assert_allclose(tall.conj().T @ tall, np.eye(4), atol=1e-14)


def test_fixed_values() -> None:
    np.testing.assert_array_equal(drawn("value", 2.0, shape=(2, 3)), np.full((2, 3), 2.0))
    np.testing.assert_array_equal(drawn("value", ops.iota(3), shape=(3,)), [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(drawn("eye", 3.0, shape=(2, 2, 3)), 3 * np.stack([np.eye(2, 3)] * 2))


@pytest.mark.parametrize(("name", "shape"), [("glorot", (3,)), ("orthogonal", ()), ("cauchy", (2, 2))])
def test_what_cannot_be_drawn(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        drawn(name, shape=shape)


def two(*order: str) -> Cell:
    return cell_of({name: param(name, N, M) for name in order})


def test_each_name_is_drawn_on_its_own() -> None:
    sizes = {"N": 3, "M": 4}
    both, swapped, alone = (init_params(two(*order), sizes, 7) for order in (("a", "b"), ("b", "a"), ("b",)))
    np.testing.assert_array_equal(both["b"], swapped["b"])
    np.testing.assert_array_equal(both["b"], alone["b"])
    assert not np.array_equal(both["a"], both["b"])
    assert not np.array_equal(both["a"], init_params(two("a"), sizes, 8)["a"])


def test_a_value_may_use_an_earlier_param() -> None:
    first, second = param("a", N), param("b", N)
    inits = {"b": Distribution("value", (build.mul(2, first),))}
    found = init_params(cell_of({"y": build.add(first, second)}, inits=inits), {"N": 5})
    np.testing.assert_array_equal(found["b"], 2 * found["a"])


def test_scale_from_a_size() -> None:
    bound = build.div(1, build.unary("sqrt", ops.size("M")))
    cell = cell_of({"w": param("W", N, M)}, inits={"W": Distribution("uniform", (bound,))})
    found = init_params(cell, {"N": 50, "M": 100})["W"]
    assert 0.09 < np.abs(found).max() <= 0.1


def test_noise_at_every_place() -> None:
    eps = ops.leaf("noise", "eps", (N,), Kind.FLOAT)
    line = cell_of({"y": eps})
    drawn_ = draw_noise(line, {"N": 3}, {"B": 2, "T": 40}, seed=1)["eps"]
    assert drawn_.shape == (2, 40, 3)
    assert stats.kstest(drawn_.ravel(), stats.norm.cdf).pvalue > 0.001
    np.testing.assert_array_equal(drawn_, draw_noise(line, {"N": 3}, {"B": 2, "T": 40}, seed=1)["eps"])
    on_edges = cell_of({"y": ops.leaf("noise", "eps", (N,), Kind.FLOAT, Domain.EDGE)}, axes=("graph",))
    assert draw_noise(on_edges, {"N": 3}, {"nodes": 4, "edges": 5, "turns": 2})["eps"].shape == (5, 3)
