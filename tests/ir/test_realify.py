"""Complex values as pairs: every operation evaluated on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from lsrl.ir import build, ops
from lsrl.ir.build import add, mul, unary, where
from lsrl.ir.cell import Cell, Input, Output, Size, State
from lsrl.ir.dims import Dim
from lsrl.ir.realify import NoRealForm, realify
from lsrl.ir.value import Kind, Value, postorder
from support.evaluate import evaluate

H, K = Dim.of("H"), Dim.of("K")
SIZES = {"H": 16, "K": 3}
COMPLEX = Kind.COMPLEX


def leaf(name: str, *shape: Dim, kind: Kind = COMPLEX) -> Value:
    return ops.leaf("input", name, shape, kind)


x, y, A = leaf("x", H), leaf("y", H), leaf("A", H, K)
r, n, c = leaf("r", H, kind=Kind.FLOAT), leaf("n", H, kind=Kind.INT), leaf("c", H, kind=Kind.BOOL)
s = leaf("s")
VALUES = {
    "sum": add(x, y),
    "sum with a real": add(r, x),
    "difference": build.sub(x, y),
    "difference from a real": build.sub(r, x),
    "negative": build.neg(x),
    "product": mul(x, y),
    "product with a real": mul(x, r),
    "product with an int": mul(n, x),
    "product with a scalar": mul(s, x),
    "product with a constant": mul(2j, x),
    "quotient": build.div(x, y),
    "quotient by a real": build.div(x, r),
    "quotient of a real": build.div(r, x),
    "exp": unary("exp", x),
    "log": unary("log", x),
    "sqrt": unary("sqrt", x),
    "cis": unary("cis", r),
    "conj": unary("conj", x),
    "abs": unary("abs", x),
    "arg": unary("arg", x),
    "re": unary("re", x),
    "im": unary("im", x),
    "im of a sum with itself": unary("im", add(x, unary("conj", x))),
    "equal": build.binary("eq", x, where(c, x, y)),
    "different": build.binary("ne", x, where(c, x, y)),
    "choice": where(c, x, y),
    "choice with a real": where(c, x, r),
    "matrix product": ops.apply("einsum", A, x, spec="ab,a->b"),
    "outer product with a real": ops.apply("einsum", x, r, spec="a,b->ab"),
    "transpose": ops.apply("transpose", A, perm=(1, 0)),
    "slice": build.slice_(x, 1, 4),
    "select": build.select(A, 1, 1),
    "flip": ops.apply("flip", x, axis=0),
    "concat with a real": build.concat([x, build.cast(r, COMPLEX)]),
    "expand": build.expand(x, (H, K), [1]),
    "sum of elements": build.reduce("reduce_sum", A, [1]),
    "to bool": build.cast(where(c, x, 0j), Kind.BOOL),
    "to float": build.cast(x, Kind.FLOAT),
    "from bool": build.cast(c, COMPLEX),
    "stopgrad": unary("stopgrad", x),
}


def cell(value: Value, states: tuple[State, ...] = ()) -> Cell:
    leaves = [v for v in postorder([value, *(s.next for s in states)]) if v.op == "input"]
    inputs = tuple(Input(str(v.attr("name")), v.shape, v.kind) for v in leaves)
    return Cell("c", "", (Size("H"), Size("K")), ("t",), inputs, (), (), states, (Output("o", value),))


def arrays() -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    generator = np.random.default_rng(0)
    grid = np.array([a + 1j * b for a in (-2.0, -0.5, 0.0, 1.5) for b in (-1.0, 0.0, 0.25, 3.0)])
    shifted = np.where(np.roll(grid, 5) == 0, 1 + 1j, np.roll(grid, 5))
    return {
        "x": np.where(grid == 0, 1e-3j, grid),
        "y": shifted,
        "A": generator.normal(size=(16, 3)) + 1j * generator.normal(size=(16, 3)),
        "s": np.array(0.5 - 2j),
        "r": generator.normal(size=16),
        "n": np.arange(1, 17),
        "c": generator.random(16) < 0.5,
    }


@pytest.mark.parametrize("name", VALUES)
def test_both_sides(name: str) -> None:
    value = VALUES[name]
    real = realify(cell(value))
    inner = [v for v in postorder(real.cell.roots()) if v.kind is COMPLEX]
    assert all(v.op == "input" for v in inner)
    found = {output.name: evaluate(output.value, arrays(), SIZES) for output in real.cell.outputs}
    wanted = evaluate(value, arrays(), SIZES)
    if value.kind is COMPLEX:
        assert real.parts == {"o.re": ("o", 0), "o.im": ("o", 1)}
        np.testing.assert_allclose(found["o.re"] + 1j * found["o.im"], wanted, rtol=1e-14, atol=1e-14)
    else:
        assert real.parts == {}
        np.testing.assert_allclose(found["o"], wanted, rtol=1e-14, atol=1e-14)


def test_states_become_two() -> None:
    z = ops.state("z", "t", (H,), COMPLEX)
    following = mul(x, z)
    made = cell(following, (State("z", (H,), COMPLEX, ("t",), build.zeros((H,), COMPLEX), following),))
    made = Cell(**{**{f: getattr(made, f) for f in made.__dataclass_fields__}, "names": {following: "next"}})
    real = realify(made)
    assert [(s.name, s.kind) for s in real.cell.states] == [("z.re", Kind.FLOAT), ("z.im", Kind.FLOAT)]
    assert real.parts["z.im"] == ("z", 1)
    assert set(real.cell.names.values()) == {"next.re", "next.im"}
    re, im = (ops.state(f"z.{part}", "t", (H,), Kind.FLOAT) for part in ("re", "im"))
    a, b = unary("re", x), unary("im", x)
    assert real.cell.states[0].next is build.sub(mul(a, re), mul(b, im))
    assert real.cell.states[1].next is add(mul(a, im), mul(b, re))


def test_products_with_real_numbers_cost_no_more_than_they_must() -> None:
    real = realify(cell(mul(r, x)))
    assert sum(v.op == "mul" for v in postorder(real.cell.roots())) == 2


def test_what_has_no_equations_is_an_error() -> None:
    with pytest.raises(NoRealForm, match="reduce_prod of complex numbers"):
        realify(cell(build.reduce("reduce_prod", x)))


def test_real_cells_stay_as_they_are() -> None:
    made = cell(mul(r, r))
    assert realify(made).cell == made


