"""Interning: one object per value, and what must not be merged."""

from __future__ import annotations

import gc
import math
import weakref
from fractions import Fraction

import pytest

from lsrl.ir import build, ops
from lsrl.ir.dims import shape_of
from lsrl.ir.fault import Fault
from lsrl.ir.value import Domain, Kind, depends_on, postorder, users


def leaf(name: str, *shape: str | int, kind: Kind = Kind.FLOAT, domain: Domain = Domain.NONE) -> ops.Value:
    return ops.leaf("input", name, shape_of(*shape), kind, domain)


def test_equal_values_are_the_same_object() -> None:
    x = leaf("x", "H")
    assert build.add(x, 1) is build.add(leaf("x", "H"), 1)
    assert build.add(x, 1) is not build.add(1, x)


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, True), (1, 1.0), (1.0, Fraction(1)), (0.0, -0.0), (0, False), (1.0, 1 + 0j)],
)
def test_constants_that_python_calls_equal_stay_apart(a: ops.Attr, b: ops.Attr) -> None:
    assert ops.const(a) is not ops.const(b)


def test_nan_is_one_value() -> None:
    assert ops.const(math.nan) is ops.const(float("nan"))


def test_values_die_with_their_users() -> None:
    value = build.add(leaf("short", "H"), 12345)
    alive = weakref.ref(value)
    del value
    gc.collect()
    assert alive() is None


def test_postorder_survives_depth_and_visits_once() -> None:
    value = leaf("x", "H")
    for _ in range(20_000):
        value = build.add(value, value)
    order = list(postorder([value]))
    assert len(order) == len(set(order)) == 20_001
    place = {v: i for i, v in enumerate(order)}
    assert all(place[a] < place[v] for v in order for a in v.args)


def test_users_and_dependence() -> None:
    x, y = leaf("x", "H"), leaf("y", "H")
    total = build.add(build.mul(x, x), y)
    assert users([total])[x] == (build.mul(x, x),)
    assert depends_on([total], lambda v: v is x) == {x, build.mul(x, x), total}


def test_nothing_broadcasts_silently() -> None:
    with pytest.raises(Fault, match="E0401: shapes differ"):
        build.add(leaf("S", "K", "V"), leaf("v", "V"))
    with pytest.raises(Fault) as caught:
        build.mul(leaf("S", "K", "V"), leaf("v", "K"))
    assert "diag" in str(caught.value.remedy)


def test_products_know_their_transposes() -> None:
    with pytest.raises(Fault) as caught:
        build.matmul(leaf("W", "D", "H"), leaf("x", "D"))
    assert caught.value.remedy == "transpose the left operand: `W.T @ x`"


def test_a_diagonal_matrix_is_never_materialised_by_a_product() -> None:
    a, S = leaf("a", "K"), leaf("S", "K", "V")
    scaled = build.matmul(build.diag(a), S)
    assert isinstance(scaled, ops.Value)
    assert scaled.args == (a, S)
    assert scaled.shape == S.shape
    both = build.matmul(build.diag(a), build.diag(a))
    assert isinstance(both, build.Diag)


def test_einsum_names_axes_by_words_or_letters() -> None:
    S, q = leaf("S", "K", "V"), leaf("q", "K")
    assert build.einsum("key value, key -> value", S, q) is build.einsum("kv,k->v", S, q)
    with pytest.raises(Fault, match="E0401"):
        build.einsum("kv,v->k", S, q)
    with pytest.raises(Fault, match="E0405"):
        build.einsum("kv,k", S, q)


def test_kinds_promote_and_are_refused() -> None:
    flag, number, z = leaf("r", kind=Kind.BOOL), leaf("n", kind=Kind.INT), leaf("z", kind=Kind.COMPLEX)
    assert build.sub(1, flag).kind is Kind.INT
    assert build.div(number, 2).kind is Kind.FLOAT
    assert build.unary("abs", z).kind is Kind.FLOAT
    with pytest.raises(Fault, match="E0402"):
        build.unary("tanh", z)
    with pytest.raises(Fault, match="E0402"):
        build.where(number, 1, 2)
    with pytest.raises(Fault, match="E0402"):
        build.promoted(z, Kind.FLOAT)


def test_places_of_a_graph_do_not_mix() -> None:
    with pytest.raises(Fault, match="E0406"):
        build.add(leaf("n", domain=Domain.NODE), leaf("e", domain=Domain.EDGE))
