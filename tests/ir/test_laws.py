"""Every law, by what it makes of an example and by evaluating both sides on ordinary and on special values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from lsrl.ir import build, ops
from lsrl.ir.build import add, div, mul, neg, sub, unary, where
from lsrl.ir.dims import Dim
from lsrl.ir.laws import EXACT, REASSOCIATING, simplify
from lsrl.ir.rewrite import Law, rewritten
from lsrl.ir.text import parse
from lsrl.ir.value import Attr, Kind, Value, postorder
from lsrl.ir.verify import BrokenCell, verify
from support.evaluate import FUNCTIONS, Array, evaluate
from support.graphs import random_cell

H, K = Dim.of("H"), Dim.of("K")
SIZES = {"H": 10, "K": 4}
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, math.inf, -math.inf, math.nan, 1e308)
MODERATE = (0.3, -0.7, 1.5, 2.0, -3.0, 0.9, -1.1, 0.2, 2.5, -0.4)


def leaf(name: str, *shape: Dim, kind: Kind = Kind.FLOAT) -> Value:
    return ops.leaf("input", name, shape, kind)


x, y, s = leaf("x", H), leaf("y", H), leaf("s")
A, B = leaf("A", H, K), leaf("B", H, K)
n, m = leaf("n", H, kind=Kind.INT), leaf("m", H, kind=Kind.INT)
b, c, d = (leaf(name, H, kind=Kind.BOOL) for name in "bcd")
z, w = leaf("z", H, kind=Kind.COMPLEX), leaf("w", 2 * H)
pi, one, two, half, inf = (ops.const(v) for v in ("pi", 1, 2, Fraction(1, 2), math.inf))
true, false = ops.const(True), ops.const(False)


def over(op: str, v: Value, *axes: int) -> Value:
    return ops.apply(op, v, axes=axes)


def part(v: Value, start: Dim | int, size: Dim | int, step: int = 1, axis: int = 0) -> Value:
    return ops.apply("slice", v, axis=axis, start=Dim.of(start), size=Dim.of(size), step=step)


def at(v: Value, index: Dim | int, axis: int = 0) -> Value:
    return ops.apply("select", v, axis=axis, index=Dim.of(index))


def zeros(*shape: Dim) -> Value:
    return build.zeros(shape)


def to(v: Value, kind: str) -> Value:
    return ops.apply("cast", v, to=kind)


def spread(v: Value, *axes: int, shape: Sequence[Dim] = (H, K)) -> Value:
    return ops.apply("expand", v, axes=axes, shape=tuple(shape))


def both(op: str, *args: Value) -> Value:
    return ops.apply(op, *args)


def T(v: Value, *perm: int) -> Value:
    return ops.apply("transpose", v, perm=perm or (1, 0))


def flat(v: Value, *shape: Dim) -> Value:
    return ops.apply("reshape", v, shape=shape)


def flip(v: Value) -> Value:
    return ops.apply("flip", v, axis=0)


def join(*parts: Value, axis: int = 0) -> Value:
    return ops.apply("concat", *parts, axis=axis)


def number(value: Attr) -> Value:
    return ops.const(value)


def product(spec: str, *args: Value) -> Value:
    return ops.apply("einsum", *args, spec=spec)


def quotient(a: int, b: int) -> Value:
    return number(Fraction(a, b))


EXAMPLES: list[tuple[str, Value, Value]] = [
    ("exact_constants", div(2, 3), quotient(2, 3)),
    ("exact_constants", add(quotient(1, 3), quotient(1, 6)), half),
    ("exact_constants", both("pow", two, number(-3)), quotient(1, 8)),
    ("exact_constants", both("mod", number(-7), number(3)), two),
    ("exact_constants", both("lt", one, half), false),
    ("exact_constants", unary("round", quotient(5, 2)), number(Fraction(2))),
    ("exact_constants", to(quotient(-5, 2), "int"), number(-2)),
    ("exact_constants", where(true, 1, half), number(Fraction(1))),
    ("floating_constants", neg(inf), number(-math.inf)),
    ("floating_constants", add(0.1, quotient(1, 5)), number(0.1 + 0.2)),
    ("floating_constants", sub(quotient(1, 2), 2j), number(0.5 - 2j)),
    ("known_points", unary("exp", number(0)), number(Fraction(1))),
    ("known_points", unary("log", one), number(Fraction(0))),
    ("known_points", unary("sqrt", quotient(9, 4)), quotient(3, 2)),
    ("known_points", unary("rsqrt", quotient(9, 4)), quotient(2, 3)),
    ("known_points", unary("sigmoid", number(Fraction(0))), half),
    ("multiples_of_pi", mul(2, pi), mul(number(Fraction(2)), pi)),
    ("multiples_of_pi", div(mul(number(Fraction(2)), pi), 5), mul(quotient(2, 5), pi)),
    ("multiples_of_pi", sub(mul(quotient(3, 2), pi), mul(half, pi)), pi),
    ("multiples_of_pi", neg(pi), mul(number(Fraction(-1)), pi)),
    ("angles", unary("cos", mul(quotient(1, 3), pi)), half),
    ("angles", unary("cos", mul(quotient(5, 3), pi)), half),
    ("angles", unary("sin", mul(quotient(-1, 6), pi)), quotient(-1, 2)),
    ("angles", unary("sin", pi), number(Fraction(0))),
    ("angles", unary("cis", mul(half, pi)), number(1j)),
    ("angles", unary("cis", pi), number(-1 + 0j)),
    ("sizes", mul(ops.size(H), 2), ops.size(H * 2)),
    ("sizes", both("floordiv", ops.size(H * 2), ops.size(H)), two),
    ("mul_by_one", mul(x, 1), x),
    ("mul_by_one", mul(quotient(1, 1), x), x),
    ("mul_by_minus_one", mul(x, -1), neg(x)),
    ("div_by_one", div(x, 1), x),
    ("add_neutral", add(n, 0), n),
    ("add_neutral", add(x, -0.0), x),
    ("sub_zero", sub(x, 0), x),
    ("neg_of_neg", neg(neg(x)), x),
    ("add_of_neg", add(x, neg(y)), sub(x, y)),
    ("add_of_neg", add(neg(x), s), sub(s, x)),
    ("sub_of_neg", sub(x, neg(y)), add(x, y)),
    ("product_of_negs", mul(neg(x), neg(y)), mul(x, y)),
    ("product_of_negs", div(neg(x), neg(y)), div(x, y)),
    ("power_of_one", both("pow", x, one), x),
    ("abs_of_neg", unary("abs", neg(x)), unary("abs", x)),
    ("abs_of_neg", unary("abs", unary("conj", z)), unary("abs", z)),
    ("idempotent", unary("relu", unary("relu", x)), unary("relu", x)),
    ("idempotent", unary("floor", unary("floor", x)), unary("floor", x)),
    ("extreme_of_itself", both("max", x, x), x),
    ("extreme_of_itself", both("and", b, b), b),
    ("absorbed", both("and", c, both("and", b, c)), both("and", b, c)),
    ("absorbed", both("or", both("or", b, c), b), both("or", b, c)),
    ("extreme_with_infinity", both("max", x, number(-math.inf)), x),
    ("extreme_with_infinity", both("min", inf, x), x),
    ("negated_softplus", neg(unary("softplus", neg(x))), unary("logsigmoid", x)),
    ("cast_of_cast", to(to(b, "int"), "float"), to(b, "float")),
    ("cast_of_cast", to(x, "float"), x),
    ("complex_parts", unary("conj", unary("conj", z)), z),
    ("complex_parts", unary("re", to(x, "complex")), x),
    ("complex_parts", unary("re", unary("conj", z)), unary("re", z)),
    ("complex_parts", unary("im", unary("conj", z)), neg(unary("im", z))),
    ("complex_parts", unary("conj", x), x),
    ("double_negation", unary("not", unary("not", b)), b),
    ("double_negation", unary("not", both("eq", x, y)), both("ne", x, y)),
    ("logic_with_constant", both("and", b, true), b),
    ("logic_with_constant", both("and", false, b), spread(false, 0, shape=[H])),
    ("logic_with_constant", both("or", b, false), b),
    ("logic_with_constant", both("xor", b, true), unary("not", b)),
    ("known_choice", where(true, x, y), x),
    ("known_choice", where(false, x, s), spread(s, 0, shape=[H])),
    ("known_choice", where(false, x, 0), spread(to(ops.const(0), "float"), 0, shape=[H])),
    ("known_choice", where(b, x, x), x),
    ("known_choice", where(b, True, False), b),
    ("choice_by_negation", where(unary("not", b), x, y), where(b, y, x)),
    ("nested_choice", where(b, where(b, x, y), s), where(b, x, s)),
    ("nested_choice", where(b, s, where(b, x, y)), where(b, s, y)),
    ("transpose_of_transpose", T(T(A)), T(A, 0, 1)),
    ("transpose_of_transpose", T(A, 0, 1), A),
    ("reshape_of_reshape", flat(flat(A, H * K), K, H), flat(A, K, H)),
    ("reshape_of_reshape", flat(A, H, K), A),
    ("expand_of_expand", spread(spread(s, 0, shape=[K]), 0), spread(s, 0, 1)),
    ("expand_of_expand", spread(A), A),
    ("flip_of_flip", flip(flip(x)), x),
    ("slice_of_slice", part(part(x, 2, 8), 1, 3, 2), part(x, 3, 3, 2)),
    ("slice_of_slice", part(x, 0, H), x),
    ("select_of_slice", at(part(x, 1, 4, 2), 3), at(x, 7)),
    ("part_of_expand", part(spread(x, 1), 1, 2, axis=1), spread(x, 1, shape=[H, Dim.of(2)])),
    ("part_of_expand", at(spread(x, 1), 1, axis=1), spread(x, shape=[H])),
    ("part_of_concat", part(join(x, y), H, H), part(y, 0, H)),
    ("part_of_concat", part(join(x, y), 3, 2), part(join(x, y), 3, 2)),
    ("part_of_concat", at(join(x, leaf("w", H + 1)), H), at(leaf("w", H + 1), 0)),
    ("concat_of_concats", join(join(x, y), x), join(x, y, x)),
    ("concat_of_concats", join(x), x),
    ("concat_of_slices", join(part(x, 1, 2), part(x, 3, K)), join(part(x, 1, K + 2))),
    ("elementwise_of_expands", unary("exp", spread(x, 1)), spread(unary("exp", x), 1)),
    ("elementwise_of_expands", mul(spread(x, 1), s), spread(mul(x, s), 1)),
    ("scalar_operand", mul(spread(s, 0, shape=[H]), x), mul(s, x)),
    ("einsum_of_one", product("ab->ba", A), T(A)),
    ("einsum_of_one", product("ab->ab", A), T(A, 0, 1)),
    ("einsum_of_transpose", product("ab,b->a", T(A), x), product("ab,a->b", A, x)),
    ("einsum_of_expand", product("ab,a->ab", spread(leaf("k", K), 0), x), product("a,b->ba", leaf("k", K), x)),
    ("reduce_nothing", over("reduce_max", x), x),
    ("reduce_nothing", over("reduce_sum", n), n),
    ("reduce_of_reduce", over("reduce_max", over("reduce_max", A, 0), 0), over("reduce_max", A, 0, 1)),
]  # fmt: skip
OVER_THE_REALS: list[tuple[str, Value, Value]] = [
    ("add_zero", add(x, 0), x),
    ("constants_together", mul(mul(x, 2), 3), mul(x, 6)),
    ("constants_together", add(half, add(2, x)), add(x, quotient(5, 2))),
    ("small_powers", both("pow", x, two), mul(x, x)),
    ("small_powers", both("pow", x, number(-1)), div(1, x)),
    ("small_powers", both("pow", unary("abs", x), half), unary("sqrt", unary("abs", x))),
    ("logarithms", unary("log", unary("exp", x)), x),
    ("logarithms", unary("log", unary("sigmoid", x)), unary("logsigmoid", x)),
    ("logarithms", unary("exp", unary("logsigmoid", x)), unary("sigmoid", x)),
    ("sum_of_sums", over("reduce_sum", over("reduce_sum", A, 1), 0), over("reduce_sum", A, 0, 1)),
    ("sum_of_einsum", over("reduce_sum", product("ab,ab->ab", A, B), 1), product("ab,ab->a", A, B)),
    ("sum_of_padded", add(join(x, zeros(2 * H)), join(zeros(H), x, y)), join(x, x, y)),
    ("sum_of_padded", add(join(A, zeros(H, K), axis=1), join(B, A, axis=1)), join(add(A, B), A, axis=1)),
    ("sum_with_padded", add(add(join(x, zeros(H)), w), join(zeros(H), y)), add(w, join(x, y))),
]
LAWS: dict[str, Law] = {law.__name__: law for law in (*EXACT, *REASSOCIATING)}
FOLDED = ("exact_constants", "known_points", "multiples_of_pi", "angles")

UNTOUCHED = [
    *(mul(x, 0), sub(x, x), add(x, 0), sub(x, -0.0), div(x, x), div(0, x), mul(z, 1), both("pow", z, one)),
    *(neg(number(Fraction(0))), mul(number(Fraction(0)), -2), unary("ceil", quotient(-1, 2)), div(1, 0)),
    *(unary("not", both("lt", x, y)), both("max", x, both("max", x, y)), both("eq", x, x), mul(n, 1.0)),
    *(unary("exp", unary("log", x)), both("pow", x, two), both("pow", two, number(10**9)), unary("sqrt", two)),
    *(unary("cos", mul(quotient(2, 5), pi)), unary("cis", mul(quotient(1, 3), pi)), where(b, y, x)),
    *(mul(number(2**62), 4), to(to(x, "int"), "float"), to(to(n, "float"), "int"), join(x, part(x, 0, K))),
    *(over("reduce_sum", over("reduce_sum", A, 1), 0), product("aa->a", leaf("S", H, H)), over("reduce_sum", x)),
    *(product("ab,c->c", spread(x, 1), y), part(join(part(x, 0, K), y), 0, 5), where(b, 1, False)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "before", "after"), [*EXAMPLES, *OVER_THE_REALS], ids=lambda v: getattr(v, "op", v))
def test_what_a_law_makes_of_an_example(name: str, before: Value, after: Value) -> None:
    made = LAWS[name](before)
    assert (made or before) is after


def test_every_law_has_an_example_and_states_its_equation() -> None:
    assert {name for name, *_ in EXAMPLES} == {law.__name__ for law in EXACT}
    assert {name for name, *_ in OVER_THE_REALS} == {law.__name__ for law in REASSOCIATING}
    assert all(law.__doc__ for law in LAWS.values())


@pytest.mark.parametrize(("name", "before", "after"), EXAMPLES, ids=lambda v: getattr(v, "op", v))
def test_exact_laws_hold_bit_for_bit(name: str, before: Value, after: Value) -> None:
    for leaves in samples(before, SPECIAL):
        left, right = evaluate(before, leaves, SIZES), evaluate(after, leaves, SIZES)
        if name in FOLDED:
            np.testing.assert_allclose(right, left, rtol=1e-15, atol=4e-16)
        else:
            assert same(left, right), (left, right)


@pytest.mark.parametrize(("name", "before", "after"), OVER_THE_REALS, ids=lambda v: getattr(v, "op", v))
def test_other_laws_hold_for_moderate_numbers(name: str, before: Value, after: Value) -> None:
    for leaves in samples(before, MODERATE):
        np.testing.assert_allclose(evaluate(after, leaves, SIZES), evaluate(before, leaves, SIZES), rtol=1e-13)


@pytest.mark.parametrize("value", UNTOUCHED, ids=repr)
def test_what_floating_point_would_tell_apart_is_left_alone(value: Value) -> None:
    assert rewritten([value], EXACT)[value] is value


@pytest.mark.parametrize("seed", range(60))
def test_simplified_cells_are_sound_and_compute_the_same(seed: int) -> None:
    random = Random(seed)
    cell = random_cell(random, operations=15)
    simple = simplify(cell)
    assert verify(simple) == ()
    assert simplify(simple) == simple
    sizes = {"H": 8, "D": 22}
    leaves = {
        str(v.attr("name")): drawn(v, MODERATE, random.randrange(9), sizes)
        for v in postorder(cell.all_roots())
        if v.op in ("input", "param", "state", "noise")
    }
    for old, new in zip(cell.outputs, simple.outputs, strict=True):
        if all(v.op in FUNCTIONS or not v.args for v in postorder([old.value])):
            left, right = (evaluate(o.value, leaves, sizes) for o in (old, new))
            np.testing.assert_allclose(right, left, rtol=1e-9, atol=1e-9)


def samples(value: Value, numbers: tuple[float, ...]) -> list[dict[str, Array]]:
    """Arrays for the leaves such that any two leaves meet in every pair of the numbers."""
    leaves = [v for v in postorder([value]) if v.op == "input"]
    shifts = itertools.product(range(len(numbers)), repeat=max(len(leaves) - 1, 0))
    return [
        {str(v.attr("name")): drawn(v, numbers, shift, SIZES) for v, shift in zip(leaves, (0, *shift), strict=False)}
        for shift in itertools.islice(shifts, 100)
    ]


def drawn(leaf: Value, numbers: tuple[float, ...], shift: int, sizes: dict[str, int]) -> Array:
    shape = tuple(dim.evaluate(sizes) for dim in leaf.shape)
    count = math.prod(shape)
    reals = np.resize(np.roll(np.array(numbers), shift), count)
    match leaf.kind:
        case Kind.COMPLEX:
            return np.stack([reals, np.roll(reals, 3)], -1).view(np.complex128).reshape(shape)
        case Kind.FLOAT:
            return reals.reshape(shape)
        case Kind.INT:
            return (np.arange(count) * 7 % 5 - 2 + shift % 2).reshape(shape)
    return ((np.arange(count) + shift) % 3 == 0).reshape(shape)


def same(left: Array, right: Array) -> bool:
    """Equal bit for bit, but any nan is any other."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == np.complex128:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if left.dtype != np.float64:
        return bool(np.array_equal(left, right))
    equal = (left == right) & (np.signbit(left) == np.signbit(right))
    return bool(np.all(equal | (np.isnan(left) & np.isnan(right))))


def test_simplify_verifies_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = parse('cell c over t:\n %x = input(name="x") : float[]\n output o = %x')
    assert simplify(broken) == broken
    monkeypatch.setenv("LSRL_VERIFY", "1")
    with pytest.raises(BrokenCell, match="the input x is used but not declared"):
        simplify(broken)
