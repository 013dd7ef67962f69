"""Arithmetic counted by hand."""

from __future__ import annotations

import pytest

from lsrl.ir import build, ops
from lsrl.ir.cost import elements, flops
from lsrl.ir.dims import shape_of
from lsrl.ir.value import Kind, Value

SIZES = {"D": 3, "H": 4, "N": 2}


def leaf(*shape: str | int, kind: Kind = Kind.FLOAT) -> Value:
    return ops.leaf("input", "x", shape_of(*shape), kind)


def einsum(spec: str, *args: Value) -> Value:
    return ops.apply("einsum", *args, spec=spec)


COMPLEX = leaf("H", kind=Kind.COMPLEX)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (ops.apply("tanh", leaf("H")), 4),
        (ops.apply("mul", leaf("H"), leaf()), 4),
        (ops.apply("mul", COMPLEX, COMPLEX), 4 * 6),
        (ops.apply("add", COMPLEX, COMPLEX), 4 * 2),
        (einsum("ab,b->a", leaf("H", "D"), leaf("D")), 2 * 4 * 3),
        (einsum("a,b->ab", leaf("H"), leaf("D")), 4 * 3),
        (einsum("nab,nb->na", leaf("N", "H", "D"), leaf("N", "D")), 2 * 2 * 4 * 3),
        (einsum("a,a->", COMPLEX, COMPLEX), 4 * (6 + 2)),
        (ops.apply("reduce_sum", leaf("H", "D"), axes=(0,)), 12),
        (ops.apply("softmax", leaf("H"), axis=0), 3 * 4),
        (ops.apply("transpose", leaf("H", "D"), perm=(1, 0)), 0),
        (leaf("H"), 0),
        # 5 output channels on 6 x 7 points, each from 2 channels under a kernel of 3 x 3.
        (build.conv(leaf(2, 6, 7), leaf(5, 2, 3, 3)), 2 * (5 * 6 * 7) * (2 * 3 * 3)),
    ],
)
def test_flops(value: Value, count: int) -> None:
    assert flops([value], SIZES) == count


def test_elements() -> None:
    assert elements(leaf("H", "D"), SIZES) == 12
    assert elements(leaf(), SIZES) == 1
