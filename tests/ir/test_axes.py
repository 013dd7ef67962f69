"""Which axes run together, and which can be cut."""

from __future__ import annotations

from lsrl.ir import build, ops
from lsrl.ir.axes import axis_classes
from lsrl.ir.build import add, mul, unary
from lsrl.ir.dims import Dim
from lsrl.ir.value import Kind, Value, postorder

H, K, V, N = (Dim.of(name) for name in "HKVN")


def leaf(name: str, *shape: Dim) -> Value:
    return ops.leaf("input", name, shape, Kind.FLOAT)


def state(name: str, *shape: Dim) -> Value:
    return ops.state(name, "t", shape, Kind.FLOAT)


Numbers = tuple[int, ...]


def classes(arriving: Value, following: Value, *more: Value) -> tuple[Numbers, set[int], dict[str, Numbers]]:
    """The classes of the state's axes, those that are parallel, and those of the other leaves."""
    body = [v for v in postorder([following, *more]) if v.args]
    found = axis_classes(body, [(arriving, following)])
    leaves = {str(v.attr("name")): found.of(v) for v in postorder([following, *more]) if v.op == "input"}
    every = set(found.numbers.values())
    return found.of(arriving), every - found.mixed, leaves


def test_channels_of_a_gate_are_parallel() -> None:
    h, a, b = state("h", H), leaf("a", H), leaf("b", H)
    (own,), parallel, leaves = classes(h, add(mul(a, h), unary("tanh", b)))
    assert parallel == {own}
    assert leaves == {"a": (own,), "b": (own,)}


def test_the_value_axis_of_a_matrix_state_is_parallel_and_the_key_axis_is_not() -> None:
    S, q, k, v = state("S", N, K, V), leaf("q", N, K), leaf("k", N, K), leaf("v", N, V)
    read = ops.apply("einsum", k, S, spec="nk,nkv->nv")
    following = add(build.neg(ops.apply("einsum", k, read, spec="nk,nv->nkv")), S)
    written = add(following, ops.apply("einsum", k, v, spec="nk,nv->nkv"))
    (n, key, value), parallel, leaves = classes(S, written, ops.apply("einsum", q, written, spec="nk,nkv->nv"))
    assert parallel == {n, value}
    assert leaves == {"k": (n, key), "q": (n, key), "v": (n, value)}


def test_a_recurrent_matrix_mixes_its_axis() -> None:
    """h' = tanh(R h): both axes of R are that of h, because h' becomes h."""
    h, R = state("h", N, H), leaf("R", N, H, H)
    (n, own), parallel, leaves = classes(h, unary("tanh", ops.apply("einsum", R, h, spec="nab,nb->na")))
    assert parallel == {n}
    assert leaves == {"R": (n, own, own)}


def test_transposition_exchanges_axes_and_ties_them_through_the_state() -> None:
    S = state("S", H, H)
    (first, second), parallel, _ = classes(S, ops.apply("transpose", S, perm=(1, 0)))
    assert first == second
    assert parallel == set()  # an axis that a value has twice cannot be cut


def test_reductions_slices_and_joins_mix() -> None:
    for following in (
        lambda h: mul(h, build.reduce("reduce_sum", h)),
        lambda h: build.concat([build.slice_(h, 1, None), build.slice_(h, 0, 1)]),
        lambda h: ops.apply("flip", h, axis=0),
        lambda h: mul(h, build.select(h, 0)),
        lambda h: build.softmax(h),
    ):
        h = state("h", Dim.of(8))
        _, parallel, _ = classes(h, following(h))
        assert parallel == set()


def test_axes_beside_a_slice_stay_parallel() -> None:
    h = state("h", K, H)
    turned = build.concat([build.slice_(h, 1, None), build.slice_(h, 0, 1)])
    (key, own), parallel, _ = classes(h, turned)
    assert parallel == {own}
    assert key != own


def test_a_new_axis_is_one_of_its_own() -> None:
    h, a = state("h", H, K), leaf("a", H)
    (first, second), parallel, leaves = classes(h, add(h, build.expand(a, (H, K), [1])))
    assert parallel == {first, second}
    assert leaves == {"a": (first,)}
