"""The driver: laws to the end, each value once, names and places kept, mistakes of laws found."""

from __future__ import annotations

import pytest

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Input, Output, Size
from lsrl.ir.dims import Dim
from lsrl.ir.laws_arithmetic import mul_by_one, neg_of_neg
from lsrl.ir.rewrite import Law, RewriteError, rewrite, rewritten
from lsrl.ir.span import Source, Span
from lsrl.ir.value import Kind, Value

H = (Dim.of("H"),)
x, y = (ops.leaf("input", name, H, Kind.FLOAT) for name in "xy")


def cell(output: Value, names: dict[Value, str], spans: dict[Value, tuple[Span, ...]]) -> Cell:
    inputs = (Input("x", H), Input("y", H))
    return Cell("c", "", (Size("H"),), ("t",), inputs, (), (), (), (Output("o", output),), names=names, spans=spans)


def place(line: int) -> Span:
    return Span(Source("c.lsrl", ""), line, 1, line, 2)


def test_laws_apply_from_the_operands_upwards_until_none_does() -> None:
    inner = build.neg(build.mul(build.neg(x), 1))
    seen: list[str] = []
    new = rewritten([build.add(inner, y)], (mul_by_one, neg_of_neg), lambda law, *_: seen.append(law.__name__))
    assert new[build.add(inner, y)] is build.add(x, y)
    assert seen == ["mul_by_one", "neg_of_neg"]


def test_what_a_law_makes_is_rewritten_in_turn() -> None:
    def unfold(v: Value) -> Value | None:
        return build.neg(build.neg(build.mul(v.args[0], 1))) if v.op == "relu" else None

    root = build.unary("relu", x)
    assert rewritten([root], (unfold, mul_by_one, neg_of_neg))[root] is x


def test_names_and_places_survive() -> None:
    once = build.unary("sigmoid", x)
    again = build.unary("sigmoid", build.mul(x, 1))
    output = build.add(once, again)
    names = {once: "gate", again: "second", output: "sum", x: "x"}
    spans = {once: (place(1),), again: (place(2), place(1)), output: (place(3),), x: (place(0),)}
    new = rewrite(cell(output, names, spans), (mul_by_one,))
    assert new.outputs[0].value is build.add(once, once)
    assert new.names == {once: "gate", build.add(once, once): "sum", x: "x"}
    assert new.spans == {once: (place(1), place(2)), build.add(once, once): (place(3),), x: (place(0),)}


def test_a_constant_takes_no_name() -> None:
    def fold(v: Value) -> Value | None:
        return build.zeros(()) if v.op == "reduce_sum" else None

    total = build.reduce("reduce_sum", x)
    assert rewrite(cell(total, {total: "total"}, {}), (fold,)).names == {}


def test_dead_values_lose_their_names() -> None:
    def forget(v: Value) -> Value | None:
        return v.args[0] if v.op == "add" else None

    output = build.add(x, y)
    assert rewrite(cell(output, {x: "x", y: "y"}, {}), (forget,)).names == {x: "x"}


def test_depth_is_no_limit() -> None:
    deep = x
    for _ in range(20_000):
        deep = build.neg(build.mul(deep, 1))
    assert rewritten([deep], (mul_by_one, neg_of_neg))[deep] is x


def grow(v: Value) -> Value | None:
    return build.unary("relu", build.neg(v.args[0])) if v.op == "relu" else None


def there(v: Value) -> Value | None:
    return build.unary("tanh", v.args[0]) if v.op == "relu" else None


def back(v: Value) -> Value | None:
    return build.unary("relu", v.args[0]) if v.op == "tanh" else None


def retype(v: Value) -> Value | None:
    return ops.apply("gt", v, ops.const(0)) if v.op == "relu" else None


@pytest.mark.parametrize(
    ("laws", "message"),
    [
        ((grow,), "do not come to an end at <relu"),
        ((there, back), "lead from <relu .* back to itself"),
        ((retype,), "retype changes the type"),
    ],
)
def test_bad_laws_are_found(laws: tuple[Law, ...], message: str) -> None:
    with pytest.raises(RewriteError, match=message):
        rewritten([build.unary("relu", x)], laws)
