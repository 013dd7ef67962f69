"""Sums over positions: what is summed where, and that totals are the sums, on written and on random graphs."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir import build, ops
from lsrl.ir.build import add, einsum, mul, neg
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import VARYING
from lsrl.ir.position_sums import factors, position_sums
from lsrl.ir.value import Kind, Value, depends_on, postorder
from support.graphs import random_cell

H, K = Dim.of("H"), Dim.of("K")
SIZES = {"H": 3, "K": 2, "D": 10}
LENGTH = 4


def leaf(name: str, *shape: Dim, op: str = "input", kind: Kind = Kind.FLOAT) -> Value:
    return ops.leaf(op, name, shape, kind)


g, h, x, s = leaf("g", H), leaf("h", H), leaf("x", K), leaf("s")
w, one = leaf("w", H, op="param"), ops.const(1)
outer = einsum("i,j->ij", g, x)
joined = ops.apply("concat", g, h, axis=0)

EXAMPLES = {
    "a product of what varies is summed by its factors": (outer, {outer}),
    "each product of a sum apart": (add(outer, einsum("i,j->ij", h, x)), {outer, einsum("i,j->ij", h, x)}),
    "a sign and a factor that stays are applied afterwards": (neg(mul(build.expand(w, (H, K), [1]), outer)), {outer}),
    "what repeats is repeated afterwards": (build.expand(g, (H, K), [1]), {g}),
    "a sum without products is summed as it is": (add(g, h), {add(g, h)}),
    "so are joined parts": (joined, {joined}),
    "nothing linear": (mul(g, h), {mul(g, h)}),
    "what does not vary counts at every position": (w, {w}),
    "a part of a product": (ops.apply("transpose", outer, perm=(1, 0)), {outer}),
}


def check(wanted: dict[str, Value]) -> None:
    """The totals, of the summed parts, are the sums over positions of the values themselves."""
    found = position_sums(wanted)
    everything = list(postorder([*wanted.values(), *found.totals.values()]))
    varying = depends_on(everything, lambda value: value.op in VARYING)
    generator, scope = np.random.default_rng(0), Scope(SIZES, "float64")

    def array(value: Value) -> Array:
        shape = tuple(dim.evaluate(SIZES) for dim in value.shape)
        numbers = generator.normal(size=shape)
        return (
            numbers + 1j * generator.normal(size=shape)
            if value.kind is Kind.COMPLEX
            else numbers.astype({Kind.BOOL: bool, Kind.INT: int}.get(value.kind, float))
        )

    leaves = [v for v in everything if not v.args and v.op not in ("const", "iota") and v not in found.parts]
    fixed = {v: array(v) for v in leaves if v not in varying}
    places = [{**fixed, **{v: array(v) for v in leaves if v in varying}} for _ in range(LENGTH)]

    def summed(value: Value) -> Array:
        return np.asarray(sum(evaluate([value], place, scope)[0] for place in places))

    sums = {**fixed, **{each: summed(part) for each, part in found.parts.items()}}
    for name, value in wanted.items():
        truth = summed(value)
        np.testing.assert_allclose(evaluate([found.totals[name]], sums, scope)[0], truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_summed(name: str) -> None:
    value, parts = EXAMPLES[name]
    assert set(position_sums({"d": value}).parts.values()) == parts
    check({"d": value})


def test_factors_are_made_but_not_their_product() -> None:
    found = position_sums({"dW": outer, "db": g})
    assert found.operands == (g, x)
    assert factors(outer) == (g, x)


def test_what_is_there_anyhow_is_summed_whole() -> None:
    """The bias behind a joined product takes the sum of the joined cotangent, not of each part."""
    product = einsum("i,j->ij", joined, x)
    found = position_sums({"dW": product, "db": joined})
    assert found.operands == (joined, x)
    check({"dW": product, "db": joined})


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    cell = random_cell(Random(seed), operations=25)
    wanted = {f"d{n}": v for n, v in enumerate(cell.roots()) if v.kind in (Kind.FLOAT, Kind.COMPLEX)}
    with np.errstate(all="ignore"):
        check(wanted)
