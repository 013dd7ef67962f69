"""Laws that bring a value into kernel form, by what they make of an example and by evaluating both sides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lsrl.ir import build, ops
from lsrl.ir.build import add, mul, unary
from lsrl.ir.dims import Dim
from lsrl.ir.laws_parts import KERNEL_FORM
from lsrl.ir.rewrite import Law, rewritten
from lsrl.ir.value import Kind, Value, postorder
from support.evaluate import Array, evaluate

H, K = Dim.of("H"), Dim.of("K")
SIZES = {"H": 6, "K": 4}
LAWS = {law.__name__: law for law in KERNEL_FORM}


def leaf(name: str, *shape: Dim, kind: Kind = Kind.FLOAT) -> Value:
    return ops.leaf("input", name, shape, kind)


x, y, s = leaf("x", H), leaf("y", H), leaf("s")
A, B, W = leaf("A", H, K), leaf("B", H, K), leaf("W", H, H)


def part(v: Value, axis: int = 0) -> Value:
    return build.slice_(v, 1, 3, axis)


def at(v: Value, axis: int = 0) -> Value:
    return build.select(v, 2, axis)


def flip(v: Value, axis: int = 0) -> Value:
    return ops.apply("flip", v, axis=axis)


def T(v: Value) -> Value:
    return ops.apply("transpose", v, perm=(1, 0))


def product(spec: str, *args: Value) -> Value:
    return ops.apply("einsum", *args, spec=spec)


def wide(v: Value, *axes: int) -> Value:
    return build.expand(v, (H, K), axes)


def total(v: Value, axis: int, op: str = "reduce_sum") -> Value:
    return ops.apply(op, v, axes=(axis,))


EXAMPLES = [
    ("part_of_elementwise", part(add(x, y)), add(part(x), part(y))),
    ("part_of_elementwise", at(mul(x, s)), mul(at(x), s)),
    ("part_of_elementwise", flip(unary("exp", A), 1), unary("exp", flip(A, 1))),
    ("part_of_elementwise", part(build.cast(x, Kind.INT)), build.cast(part(x), Kind.INT)),
    ("part_of_einsum", part(product("ab,b->a", W, x)), product("ab,b->a", part(W), x)),
    ("part_of_einsum", at(product("a,b->ab", x, y), 1), product("a,->a", x, at(y))),
    ("part_of_einsum", flip(product("ab,a->ba", A, x), 0), product("ab,a->ba", flip(A, 1), x)),
    ("part_of_einsum", part(product("a,ab->ab", x, A)), product("a,ab->ab", part(x), part(A))),
    ("part_of_transpose", part(T(A)), T(part(A, 1))),
    ("part_of_transpose", at(T(A), 1), ops.apply("transpose", at(A), perm=(0,))),
    ("part_of_expand_beside", part(wide(x, 1)), ops.apply("expand", part(x), shape=(Dim.of(2), K), axes=(1,))),
    ("part_of_expand_beside", at(wide(x, 1)), ops.apply("expand", at(x), shape=(K,), axes=(0,))),
    ("part_of_reduction", part(total(A, 1)), total(part(A), 1)),
    ("part_of_reduction", at(total(A, 0, "reduce_max")), total(at(A, 1), 0, "reduce_max")),
    (
        "product_with_concat",
        product("ab,b->a", W, build.concat([part(x), build.slice_(y, 0, H - 2)])),
        add(
            product("ab,b->a", build.slice_(W, 0, 2, 1), part(x)),
            product("ab,b->a", build.slice_(W, 2, H, 1), build.slice_(y, 0, H - 2)),
        ),
    ),
    ("product_with_multiple", product("ab,b->a", A, mul(s, leaf("u", K))), mul(s, product("ab,b->a", A, leaf("u", K)))),
    (
        "product_with_multiple",
        product("ab,b->a", mul(wide(x, 1), A), leaf("u", K)),
        mul(x, product("ab,b->a", A, leaf("u", K))),
    ),
    ("product_with_multiple", product("ab,a->b", unary("neg", A), x), unary("neg", product("ab,a->b", A, x))),
    ("part_of_concat_beside", part(build.concat([A, B]), 1), build.concat([part(A, 1), part(B, 1)])),
    ("part_of_concat_beside", at(build.concat([A, B], 1)), build.concat([at(A), at(B)])),
]


@pytest.mark.parametrize(("name", "before", "after"), EXAMPLES, ids=lambda case: case if isinstance(case, str) else "")
def test_example(name: str, before: Value, after: Value) -> None:
    assert LAWS[name](before) is after
    np.testing.assert_allclose(numbers(before), numbers(after), rtol=1e-14)


@pytest.mark.parametrize("op", ["softmax", "logsumexp"])
def test_spelled_out_reductions(op: str) -> None:
    value = ops.apply(op, A, axis=1) if op == "softmax" else ops.apply(op, A, axes=(1,))
    (law,) = [law for law in KERNEL_FORM if law.__name__ == f"{op}_by_reductions"]
    after = law(value)
    assert after is not None
    assert not {op} & {v.op for v in postorder([after])}
    ordinary, endless = [[1, 2, 3, 4], [800, -800, 0, 1]], [[-math.inf, 0, 1, 2], [-math.inf] * 4, [math.inf, 0, 1, 2]]
    special = np.array([*ordinary, *endless, [math.nan, 0, 1, 2]])
    for rows in (special, np.random.default_rng(0).normal(size=(6, 4))):
        found, wanted = numbers(after, A=rows), numbers(value, A=rows)
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


@pytest.mark.parametrize("law", KERNEL_FORM, ids=lambda law: law.__name__)
def test_says_what_it_does(law: Law) -> None:
    assert law.__doc__


def test_parts_reach_the_arrays() -> None:
    """Gates cut out of one product are products with parts of the matrix."""
    gates = add(product("ab,b->a", leaf("U", H * 4, H), x), leaf("b", H * 4))
    cut = [build.slice_(unary("tanh", gates), H * n, H * (n + 1)) for n in range(4)]
    for gate in rewritten(cut, KERNEL_FORM).values():
        assert gate.op not in ("slice", "select") or gate.args[0].op == "input"


def numbers(value: Value, **given: Array) -> Array:
    generator = np.random.default_rng(1)
    leaves = [v for v in postorder([value]) if v.op == "input"]
    names = sorted({(str(v.attr("name")), tuple(d.evaluate(SIZES) for d in v.shape)) for v in leaves})
    drawn = {"A": (6, 4), "B": (6, 4), "W": (6, 6), "s": (), "x": (6,), "y": (6,), "u": (4,)}
    arrays = {name: generator.normal(size=shape) for name, shape in drawn.items()}
    assert all(drawn[name] == shape for name, shape in names)
    return evaluate(value, {**arrays, **given}, SIZES)
