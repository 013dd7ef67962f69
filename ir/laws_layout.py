"""Laws of layout, of einsum and of reductions.

Those of `EXACT` move elements about, or compute the same elements once instead of many times.  Those of
`REASSOCIATING` merge sums, which may then be added up in another order.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.ir import ops
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.laws_arithmetic import in_place_of
from lsrl.ir.ops import Family, family
from lsrl.ir.requirements import not_negative
from lsrl.ir.value import Kind, Value


def transpose_of_transpose(v: Value) -> Value | None:
    """x.T.T -> x: two permutations of axes are one, and none when nothing moves"""
    match v:
        case Value("transpose", (x,)) if v.attr("perm") == tuple(range(v.rank)):
            return x
        case Value("transpose", (Value("transpose", (x,)) as inner,)):
            first = integers(inner.attr("perm"))
            return ops.apply("transpose", x, perm=tuple(first[axis] for axis in integers(v.attr("perm"))))
    return None


def reshape_of_reshape(v: Value) -> Value | None:
    """reshape(reshape(x, a), b) -> reshape(x, b), and x itself when it has the shape b"""
    match v:
        case Value("reshape", (x,)) if x.shape == v.shape:
            return x
        case Value("reshape", (Value("reshape", (x,)),)):
            return ops.apply("reshape", x, shape=v.shape)
    return None


def expand_of_expand(v: Value) -> Value | None:
    """Repeating along new axes, twice, is once along all of them; along none it is nothing"""
    match v:
        case Value("expand", (x,)) if not integers(v.attr("axes")):
            return x
        case Value("expand", (Value("expand", (x,)) as inner,)):
            new = integers(v.attr("axes"))
            kept = [axis for axis in range(v.rank) if axis not in new]
            both = sorted((*new, *(kept[axis] for axis in integers(inner.attr("axes")))))
            return ops.apply("expand", x, axes=tuple(both), shape=v.shape)
    return None


def flip_of_flip(v: Value) -> Value | None:
    """flip(flip(x)) -> x along one axis"""
    match v:
        case Value("flip", (Value("flip", (x,)) as inner,)) if inner.attrs == v.attrs:
            return x
    return None


def slice_of_slice(v: Value) -> Value | None:
    """x[a:][b:] -> x[a+b:], and x[:] -> x"""
    match v:
        case Value("slice", (x,)) if x.shape == v.shape and (_start(v), _step(v)) == (Dim.of(0), 1):
            return x
        case Value("slice", (Value("slice", (x,)) as inner,)) if _axis(inner) == _axis(v):
            start = _start(inner) + _start(v) * _step(inner)
            return _sliced(x, _axis(v), start, v.shape[_axis(v)], _step(inner) * _step(v))
    return None


def select_of_slice(v: Value) -> Value | None:
    """x[a:][i] -> x[a+i]"""
    match v:
        case Value("select", (Value("slice", (x,)) as inner,)) if _axis(inner) == _axis(v):
            index = _start(inner) + dim(v.attr("index")) * _step(inner)
            return ops.apply("select", x, axis=_axis(v), index=index)
    return None


def part_of_expand(v: Value) -> Value | None:
    """A part of what is repeated along an axis is a shorter repetition; one element, none"""
    match v:
        case Value("slice" | "select" | "flip", (Value("expand", (x,)) as inner,)):
            axis, new = _axis(v), integers(inner.attr("axes"))
            if axis not in new:
                return None
            if v.op != "select":
                return ops.apply("expand", x, axes=new, shape=v.shape)
            left = tuple(other - (other > axis) for other in new if other != axis)
            return ops.apply("expand", x, axes=left, shape=v.shape)
    return None


def part_of_concat(v: Value) -> Value | None:
    """concat(a, b)[:n] -> a, where the sizes show that the part lies in one of the operands"""
    match v:
        case Value("slice" | "select", (Value("concat", parts) as whole,)) if _axis(whole) == _axis(v):
            axis = _axis(v)
            first, last = _reach(v)
            offset = Dim.of(0)
            for part in parts:
                end = offset + part.shape[axis]
                if not_negative(first - offset) and not_negative(end - 1 - last):
                    return in_place_of(v, _moved(v, part, first - offset))
                offset = end
    return None


def concat_of_concats(v: Value) -> Value | None:
    """concat(concat(a, b), c) -> concat(a, b, c), concat(a) -> a"""
    if v.op != "concat":
        return None
    if len(v.args) == 1:
        return in_place_of(v, v.args[0])
    if not any(_joins(part, v) for part in v.args):
        return None
    parts = [piece for part in v.args for piece in (part.args if _joins(part, v) else (part,))]
    return ops.apply("concat", *parts, axis=_axis(v))


def concat_of_slices(v: Value) -> Value | None:
    """concat(x[:a], x[a:b]) -> x[:b]: neighbouring slices of one value join"""
    if v.op != "concat":
        return None
    for place, (left, right) in enumerate(zip(v.args, v.args[1:])):
        if left.op == right.op == "slice" and left.args == right.args and _meet(left, right, _axis(v)):
            axis = _axis(v)
            joined = _sliced(left.args[0], axis, _start(left), left.shape[axis] + right.shape[axis], 1)
            return ops.apply("concat", *v.args[:place], joined, *v.args[place + 2 :], axis=axis)
    return None


def elementwise_of_expands(v: Value) -> Value | None:
    """exp(expand(x)) -> expand(exp(x)): elements that are equal are computed once"""
    if family(v.op) is not Family.ELEMENTWISE:
        return None
    spread = [arg for arg in v.args if arg.shape]
    if not spread or spread[0].op != "expand":
        return None
    axes = spread[0].attr("axes")
    if any(arg.op != "expand" or arg.attr("axes") != axes for arg in spread):
        return None
    inner = ops.apply(v.op, *(arg.args[0] if arg.shape else arg for arg in v.args), **dict(v.attrs))
    return ops.apply("expand", inner, axes=axes, shape=v.shape)


def scalar_operand(v: Value) -> Value | None:
    """expand(a) * x -> a * x: a scalar needs no repetition beside an operand of full shape"""
    if family(v.op) is not Family.ELEMENTWISE or len(v.args) < 2:
        return None
    scalars = [arg for arg in v.args if arg.op == "expand" and not arg.args[0].shape]
    if not scalars or all(arg in scalars or not arg.shape for arg in v.args):
        return None
    return ops.apply(v.op, *(arg.args[0] if arg in scalars else arg for arg in v.args), **dict(v.attrs))


def einsum_of_one(v: Value) -> Value | None:
    """einsum("ab->ab", x) -> x, einsum("ab->ba", x) -> x.T"""
    match v:
        case Value("einsum", (x,)) if x.kind is v.kind:
            (letters,), result = _spec(v)
            if len(set(letters)) == len(letters) == len(result):
                return ops.apply("transpose", x, perm=tuple(letters.index(letter) for letter in result))
    return None


def einsum_of_transpose(v: Value) -> Value | None:
    """W.T @ x -> einsum("ba,b->a", W, x): the axes are only named otherwise"""
    if v.op != "einsum" or not any(arg.op == "transpose" for arg in v.args):
        return None
    operands, result = _spec(v)
    named = [_untransposed(letters, arg) for letters, arg in zip(operands, v.args)]
    return _einsum(named, result)


def einsum_of_expand(v: Value) -> Value | None:
    """einsum("ab,a->ab", expand(x), y) -> einsum("b,a->ab", x, y), where another operand has the repeated axis"""
    if v.op != "einsum":
        return None
    operands, result = _spec(v)
    for place, (letters, arg) in enumerate(zip(operands, v.args)):
        if arg.op != "expand":
            continue
        new = integers(arg.attr("axes"))
        others = "".join(operands[:place] + operands[place + 1 :])
        if all(letters[axis] in others for axis in new):
            kept = "".join(letter for axis, letter in enumerate(letters) if axis not in new)
            named = list(zip(operands, v.args))
            named[place] = (kept, arg.args[0])
            return _einsum(named, result)
    return None


def reduce_nothing(v: Value) -> Value | None:
    """A largest or a product over no axes is its operand; a sum, which starts at 0.0, only of whole numbers"""
    match v:
        case Value("reduce_prod" | "reduce_max" | "reduce_min" | "reduce_any" | "reduce_all", (x,)) | Value(
            "reduce_sum", (Value(kind=Kind.INT) as x,)
        ) if not integers(v.attr("axes")):
            return in_place_of(v, x)
    return None


def reduce_of_reduce(v: Value) -> Value | None:
    """max over a of max over b -> max over both, and min, any, all"""
    return _both_reductions(v, ("reduce_max", "reduce_min", "reduce_any", "reduce_all"))


def sum_of_sums(v: Value) -> Value | None:
    """sum over a of sum over b -> sum over both, and prod"""
    return _both_reductions(v, ("reduce_sum", "reduce_prod"))


def sum_of_einsum(v: Value) -> Value | None:
    """sum(einsum("ab,b->ab", A, x), 1) -> einsum("ab,b->a", A, x)"""
    match v:
        case Value("reduce_sum", (Value("einsum", args) as product,)):
            operands, result = _spec(product)
            gone = integers(v.attr("axes"))
            return _einsum(list(zip(operands, args)), "".join(x for i, x in enumerate(result) if i not in gone))
    return None


EXACT = (
    *(transpose_of_transpose, reshape_of_reshape, expand_of_expand, flip_of_flip, slice_of_slice, select_of_slice),
    *(part_of_expand, part_of_concat, concat_of_concats, concat_of_slices, elementwise_of_expands, scalar_operand),
    *(einsum_of_one, einsum_of_transpose, einsum_of_expand, reduce_nothing, reduce_of_reduce),
)
REASSOCIATING = (sum_of_sums, sum_of_einsum)


def _both_reductions(v: Value, ops_: tuple[str, ...]) -> Value | None:
    if v.op not in ops_ or v.args[0].op != v.op:
        return None
    inner = v.args[0]
    first = integers(inner.attr("axes"))
    kept = [axis for axis in range(inner.args[0].rank) if axis not in first]
    both = sorted((*first, *(kept[axis] for axis in integers(v.attr("axes")))))
    return ops.apply(v.op, inner.args[0], axes=tuple(both))


def _axis(value: Value) -> int:
    return integer(value.attr("axis"))


def _start(piece: Value) -> Dim:
    return dim(piece.attr("start"))


def _step(piece: Value) -> int:
    return integer(piece.attr("step"))


def _sliced(x: Value, axis: int, start: Dim, size: Dim, step: int) -> Value:
    return ops.apply("slice", x, axis=axis, start=start, size=size, step=step)


def _reach(part: Value) -> tuple[Dim, Dim]:
    """The first and the last place that a slice or a select reads."""
    if part.op == "select":
        return dim(part.attr("index")), dim(part.attr("index"))
    return _start(part), _start(part) + (dim(part.attr("size")) - 1) * _step(part)


def _moved(part: Value, x: Value, first: Dim) -> Value:
    """The slice or select of the same size out of `x`, from its place `first`."""
    if part.op == "select":
        return ops.apply("select", x, axis=_axis(part), index=first)
    return _sliced(x, _axis(part), first, dim(part.attr("size")), _step(part))


def _joins(part: Value, whole: Value) -> bool:
    return part.op == "concat" and part.attrs == whole.attrs and part.kind is whole.kind


def _meet(left: Value, right: Value, axis: int) -> bool:
    """Whether one slice of a value ends where the other begins, along the axis `axis`."""
    if (_axis(left), _axis(right), _step(left), _step(right)) != (axis, axis, 1, 1):
        return False
    return _start(left) + left.shape[axis] == _start(right)


def _spec(product: Value) -> tuple[list[str], str]:
    left, result = str(product.attr("spec")).split("->")
    return left.split(","), result


def _einsum(named: Sequence[tuple[str, Value]], result: str) -> Value:
    """The product of operands with named axes, its letters in order of appearance as everywhere."""
    letters: dict[str, str] = {}
    for operand, _ in named:
        for letter in operand:
            letters.setdefault(letter, chr(ord("a") + len(letters)))
    operands = ",".join("".join(letters[letter] for letter in operand) for operand, _ in named)
    spec = f"{operands}->{''.join(letters[letter] for letter in result)}"
    return ops.apply("einsum", *(arg for _, arg in named), spec=spec)


def _untransposed(letters: str, arg: Value) -> tuple[str, Value]:
    if arg.op != "transpose":
        return letters, arg
    perm = integers(arg.attr("perm"))
    return "".join(letters[perm.index(axis)] for axis in range(len(perm))), arg.args[0]
