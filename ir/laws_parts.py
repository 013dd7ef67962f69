"""Laws that bring a value into a form that a kernel can compute tile by tile.

A slice of a result becomes the result of slices, until it is a slice of an array in memory, which costs nothing there;
in registers it would move data between threads.  Reductions that normalise are spelled out.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.ir import build, laws_layout, ops
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value

INFINITY = float("inf")
PARTS = ("slice", "select", "flip")
REDUCTIONS = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all")


def part_of_elementwise(v: Value) -> Value | None:
    """(x + y)[a:b] -> x[a:b] + y[a:b]"""
    if v.op not in PARTS or family(v.args[0].op) is not Family.ELEMENTWISE:
        return None
    whole = v.args[0]
    operands = [_part(v, arg, _axis(v)) if arg.rank else arg for arg in whole.args]
    return ops.apply(whole.op, *operands, **dict(whole.attrs))


def part_of_einsum(v: Value) -> Value | None:
    """(W @ x)[a:b] -> W[a:b] @ x"""
    if v.op not in PARTS or v.args[0].op != "einsum":
        return None
    left, result = str(v.args[0].attr("spec")).split("->")
    letter = result[_axis(v)]
    axes = left.split(",")
    if any(letters.count(letter) > 1 for letters in axes):
        return None
    pairs = list(zip(axes, v.args[0].args, strict=True))
    operands = [_part(v, arg, letters.index(letter)) if letter in letters else arg for letters, arg in pairs]
    if v.op == "select":
        left, result = left.replace(letter, ""), result.replace(letter, "")
    return build.einsum(f"{left}->{result}", *operands)


def part_of_transpose(v: Value) -> Value | None:
    """x.T[a:b] -> x[:, a:b].T"""
    if v.op not in PARTS or v.args[0].op != "transpose":
        return None
    perm = integers(v.args[0].attr("perm"))
    axis = perm[_axis(v)]
    inner = _part(v, v.args[0].args[0], axis)
    if v.op == "select":
        perm = tuple(p - (p > axis) for p in perm if p != axis)
    return ops.apply("transpose", inner, perm=perm)


def part_of_expand_beside(v: Value) -> Value | None:
    """A part of an axis that is not repeated is taken before the others are"""
    if v.op not in PARTS or v.args[0].op != "expand":
        return None
    axis, new = _axis(v), integers(v.args[0].attr("axes"))
    if axis in new:
        return None
    inner = _part(v, v.args[0].args[0], axis - sum(n < axis for n in new))
    if v.op == "select":
        new = tuple(n - (n > axis) for n in new)
    return ops.apply("expand", inner, axes=new, shape=v.shape)


def part_of_reduction(v: Value) -> Value | None:
    """sum(x, 0)[a:b] -> sum(x[:, a:b], 0)"""
    if v.op not in PARTS or v.args[0].op not in REDUCTIONS:
        return None
    gone = integers(v.args[0].attr("axes"))
    kept = [axis for axis in range(v.args[0].args[0].rank) if axis not in gone]
    axis = kept[_axis(v)]
    inner = _part(v, v.args[0].args[0], axis)
    if v.op == "select":
        gone = tuple(g - (g > axis) for g in gone)
    return ops.apply(v.args[0].op, inner, axes=gone)


def part_of_concat_beside(v: Value) -> Value | None:
    """concat(x, y)[:, a:b] -> concat(x[:, a:b], y[:, a:b]) along another axis"""
    if v.op not in PARTS or v.args[0].op != "concat":
        return None
    axis, joined = _axis(v), _axis(v.args[0])
    if axis == joined:
        return None
    pieces = [_part(v, arg, axis) for arg in v.args[0].args]
    return ops.apply("concat", *pieces, axis=joined - (v.op == "select" and axis < joined))


def product_with_concat(v: Value) -> Value | None:
    """W @ concat(x, y) -> W[:, :n] @ x + W[:, n:] @ y, where W lies in memory"""
    if v.op != "einsum":
        return None
    left, result = str(v.attr("spec")).split("->")
    axes = left.split(",")
    for place, (letters, joined) in enumerate(zip(axes, v.args, strict=True)):
        letter = letters[_axis(joined)] if joined.op == "concat" else ""
        others = [x for at, (x, each) in enumerate(zip(v.args, axes, strict=True)) if at != place and letter in each]
        once = all(each.count(letter) < 2 for each in axes)
        if letter and letter not in result and once and all(map(_in_memory, others)):
            return _sum_over_parts(v, place, [each.find(letter) for each in axes])
    return None


def _sum_over_parts(product: Value, place: int, places: list[int]) -> Value:
    """The sum of the products with each piece of the operand at `place`; `places`: its axis in each operand, or -1."""
    start, terms = Dim.of(0), list[Value]()
    for piece in product.args[place].args:
        size = piece.shape[places[place]]
        parts = [
            x if axis < 0 else build.slice_(x, start, start + size, axis)
            for x, axis in zip(product.args, places, strict=True)
        ]
        parts[place] = piece
        terms.append(build.einsum(str(product.attr("spec")), *parts))
        start = start + size
    total, *more = terms
    for term in more:
        total = build.add(total, term)
    return total


def product_with_multiple(v: Value) -> Value | None:
    """(a * X) @ y -> a * (X @ y), where a is the same along what is summed: the multiple of less, and X @ y once"""
    if v.op != "einsum":
        return None
    left, result = str(v.attr("spec")).split("->")
    axes = left.split(",")
    if not set(left) - {","} - set(result):
        return None
    for place, (letters, x) in enumerate(zip(axes, v.args, strict=True)):
        factor, kept, rest = _multiple(x)
        own = [letters[axis] for axis in kept]
        if rest is None or rest.kind is not x.kind or [letter for letter in result if letter in own] != own:
            continue
        product = build.einsum(str(v.attr("spec")), *v.args[:place], rest, *v.args[place + 1 :])
        if factor is None:
            return build.neg(product)
        new = [axis for axis, letter in enumerate(result) if letter not in own]
        return build.mul(build.expand(factor, product.shape, new) if factor.rank else factor, product)
    return None


def _multiple(x: Value) -> tuple[Value | None, Sequence[int], Value | None]:
    """A value as a factor times a rest: the factor (None for -1), its axes among those of the value, and the rest."""
    if x.op == "neg":
        return None, (), x.args[0]
    for factor, rest in (x.args, x.args[::-1]) if x.op == "mul" else ():
        if rest.shape != x.shape or not x.rank:
            continue
        if not factor.rank:
            return factor, (), rest
        if factor.op == "expand":
            new = integers(factor.attr("axes"))
            return factor.args[0], [axis for axis in range(x.rank) if axis not in new], rest
    return None, (), None


def softmax_by_reductions(v: Value) -> Value | None:
    """softmax(x) -> exp(x - max(x)) / sum(exp(x - max(x)))"""
    if v.op != "softmax":
        return None
    axis = _axis(v)
    x = build.cast(v.args[0], Kind.FLOAT)
    top = build.expand(build.reduce("reduce_max", x, [axis]), x.shape, [axis])
    powers = build.unary("exp", build.sub(x, top))
    return build.div(powers, build.expand(build.reduce("reduce_sum", powers, [axis]), x.shape, [axis]))


def logsumexp_by_reductions(v: Value) -> Value | None:
    """logsumexp(x) -> log(sum(exp(x - top))) + top, where top is the largest element, or 0 if that is infinite"""
    if v.op != "logsumexp":
        return None
    axes = integers(v.attr("axes"))
    x = build.cast(v.args[0], Kind.FLOAT)
    largest = build.reduce("reduce_max", x, list(axes))
    top = build.where(build.binary("eq", build.unary("abs", largest), INFINITY), 0, largest)
    powers = build.unary("exp", build.sub(x, build.expand(top, x.shape, axes)))
    return build.add(build.unary("log", build.reduce("reduce_sum", powers, list(axes))), top)


KERNEL_FORM = (
    *(part_of_elementwise, part_of_einsum, part_of_transpose, part_of_expand_beside, part_of_reduction),
    *(
        part_of_concat_beside,
        product_with_concat,
        product_with_multiple,
        softmax_by_reductions,
        logsumexp_by_reductions,
    ),
    *(laws_layout.slice_of_slice, laws_layout.select_of_slice, laws_layout.part_of_expand),
    *(laws_layout.part_of_concat, laws_layout.flip_of_flip),
)


def _in_memory(x: Value) -> bool:
    """Whether parts of the value cost nothing: it is an array, or a view of one."""
    while x.op in (*PARTS, "transpose"):
        x = x.args[0]
    return x.op in ("input", "param")


def _part(part: Value, x: Value, axis: int) -> Value:
    """The same slice, element or reversal of another value, along its axis `axis`."""
    if part.op == "slice":
        return ops.apply("slice", x, **{**dict(part.attrs), "axis": axis})
    if part.op == "flip":
        return ops.apply("flip", x, axis=axis)
    return ops.apply("select", x, axis=axis, index=dim(part.attr("index")))


def _axis(value: Value) -> int:
    return integer(value.attr("axis"))
