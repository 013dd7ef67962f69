"""Builders for what people write: products, reductions and layouts, composed of the operations of `lsrl.ir.ops`.

Both ways into the graph use them, the elaborator for program text and the tracer for Python, so `W @ x` means the
same in each.  A number stands for its constant wherever a value is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lsrl.ir import convolution, fault, infer, ops
from lsrl.ir.dims import Dim, DimLike, Shape, shape_text
from lsrl.ir.fault import Fault
from lsrl.ir.value import Attr, Kind, Value

Number = bool | int | float | complex | Fraction
Operand = Value | Number
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Diag:
    """`diag(a)`: the square matrix with `vector` on its diagonal, never materialised by a product."""

    vector: Value


def value(operand: Operand | Diag) -> Value:
    """A value from a value, a number, or a diagonal matrix (which is materialised here)."""
    match operand:
        case Value():
            return operand
        case Diag(vector):
            return ops.apply("einsum", eye(vector.shape[0]), vector, spec="ab,a->ab")
        case _:
            return ops.const(operand)


def unary(op: str, x: Operand) -> Value:
    """An element-wise operation of one operand."""
    return ops.apply(op, value(x))


def binary(op: str, x: Operand, y: Operand) -> Value:
    """An element-wise operation of two operands of equal shapes, or one a scalar."""
    return ops.apply(op, value(x), value(y))


def add(x: Operand, y: Operand) -> Value:
    return binary("add", x, y)


def sub(x: Operand, y: Operand) -> Value:
    return binary("sub", x, y)


def mul(x: Operand, y: Operand) -> Value:
    return binary("mul", x, y)


def div(x: Operand, y: Operand) -> Value:
    return binary("div", x, y)


def neg(x: Operand) -> Value:
    return unary("neg", x)


def where(condition: Value, x: Operand, y: Operand) -> Value:
    return ops.apply("where", condition, value(x), value(y))


def einsum(spec: str, *args: Value) -> Value:
    """Sum of products.  `spec` names axes by letters ("kv,k->v") or by words ("key value, key -> value")."""
    return ops.apply("einsum", *args, spec=canonical_spec(spec))


def canonical_spec(spec: str) -> str:
    """The spec with axes renamed a, b, c ... in order of appearance, so that equal products are one value."""
    if spec.count("->") != 1:
        raise Fault(fault.EINSUM_SPEC, f"`{spec}` has no `->`", remedy='write it out: "k v, k -> v"')
    words = any(" " in operand.strip() for operand in spec.replace("->", ",").split(","))
    letters: dict[str, str] = {}

    def renamed(operand: str) -> str:
        axes = operand.split() if words else list(operand.strip())
        for axis in axes:
            if not axis.isidentifier():
                raise Fault(fault.EINSUM_SPEC, f"`{axis}` in `{spec}` is no name of an axis")
            if axis not in letters and len(letters) == len(LETTERS):
                raise Fault(fault.EINSUM_SPEC, f"`{spec}` names more than {len(LETTERS)} axes")
            letters.setdefault(axis, LETTERS[min(len(letters), len(LETTERS) - 1)])
        return "".join(letters[axis] for axis in axes)

    left, right = spec.split("->")
    operands = ",".join(renamed(operand) for operand in left.split(","))
    return f"{operands}->{renamed(right)}"


def matmul(x: Operand | Diag, y: Operand | Diag) -> Value | Diag:
    """`x @ y` for vectors, matrices and diagonal matrices; a product of two vectors is their dot product."""
    match x, y:
        case Diag(a), Diag(b):
            return Diag(mul(a, b))
        case Diag(a), _:
            return _scaled(a, value(y), 0)
        case _, Diag(b):
            return _scaled(b, value(x), -1)
    left, right = value(x), value(y)
    specs = {(1, 1): "a,a->", (2, 1): "ab,b->a", (1, 2): "a,ab->b", (2, 2): "ab,bc->ac"}
    spec = specs.get((left.rank, right.rank))
    found = f"{shape_text(left.shape)} @ {shape_text(right.shape)}"
    if spec is None:
        raise Fault(fault.RANK_MISMATCH, "`@` takes vectors and matrices", found, remedy="for more axes use einsum")
    if left.shape[-1] != right.shape[0]:
        raise Fault(
            fault.SHAPES_DIFFER,
            "the inner sizes of `@` differ",
            found,
            "equal inner sizes",
            _product_remedy(left, right),
        )
    return ops.apply("einsum", left, right, spec=spec)


def solve(x: Operand | Diag, y: Operand | Diag) -> Value:
    """The solution of `x @ s = y`; y is a matrix, or a vector, which is a matrix of one column."""
    matrix, right = value(x), value(y)
    if right.rank != matrix.rank - 1 or right.shape != matrix.shape[:-1]:
        return ops.apply("solve", matrix, right)  # which says what does not fit
    column = expand(right, (*right.shape, Dim.of(1)), [right.rank])
    return select(ops.apply("solve", matrix, column), 0, right.rank)


def inverse(x: Operand | Diag) -> Value:
    """The inverse of a square matrix [n, n]."""
    matrix = value(x)
    if matrix.rank != 2:
        raise Fault(fault.RANK_MISMATCH, "`inverse` takes a matrix", shape_text(matrix.shape))
    return ops.apply("solve", matrix, eye(matrix.shape[0]))


def outer(x: Operand, y: Operand) -> Value:
    """[K] and [V] to [K, V]."""
    left, right = value(x), value(y)
    if (left.rank, right.rank) != (1, 1):
        raise Fault(
            fault.RANK_MISMATCH, "`outer` takes two vectors", f"{shape_text(left.shape)} and {shape_text(right.shape)}"
        )
    return ops.apply("einsum", left, right, spec="a,b->ab")


def dot(x: Operand, y: Operand) -> Value:
    """The sum of the products of two vectors."""
    left, right = value(x), value(y)
    if (left.rank, right.rank) != (1, 1):
        raise Fault(
            fault.RANK_MISMATCH, "`dot` takes two vectors", f"{shape_text(left.shape)} and {shape_text(right.shape)}"
        )
    return ops.apply("einsum", left, right, spec="a,a->")


def diag(x: Operand) -> Diag:
    """The diagonal matrix of a vector."""
    vector = value(x)
    if vector.rank != 1:
        raise Fault(fault.RANK_MISMATCH, "`diag` takes a vector", shape_text(vector.shape))
    return Diag(vector)


def transpose(x: Operand | Diag, perm: Sequence[int] | None = None) -> Value | Diag:
    """Axes in the order `perm`, reversed when there is none."""
    if isinstance(x, Diag):
        return x
    operand = value(x)
    return ops.apply("transpose", operand, perm=tuple(perm if perm is not None else reversed(range(operand.rank))))


def expand(x: Operand, shape: Shape, axes: Sequence[int]) -> Value:
    """`x` repeated along new axes at the positions `axes` of `shape`; `x` itself when there is none.

    What is repeated already is repeated along all axes at once.
    """
    operand, new = value(x), sorted(axes)
    if not new:
        return operand
    if operand.op == "expand":
        kept = [axis for axis in range(len(shape)) if axis not in new]
        new = sorted((*new, *(kept[axis] for axis in infer.integers(operand.attr("axes")))))
        operand = operand.args[0]
    return ops.apply("expand", operand, shape=tuple(shape), axes=tuple(new))


def full(shape: Shape, x: Operand) -> Value:
    """A scalar repeated to `shape`; a value of that shape already is returned as it is."""
    operand = value(x)
    return operand if operand.shape == shape else expand(operand, shape, range(len(shape)))


def zeros(shape: Shape, kind: Kind = Kind.FLOAT) -> Value:
    zero: dict[Kind, Attr] = {Kind.BOOL: False, Kind.INT: 0, Kind.FLOAT: Fraction(0), Kind.COMPLEX: 0j}
    return full(shape, ops.const(zero[kind]))


def eye(dim: DimLike) -> Value:
    """The identity matrix [dim, dim], of floats."""
    places, n = ops.iota(dim), Dim.of(dim)
    equal = binary("eq", expand(places, (n, n), [1]), expand(places, (n, n), [0]))
    return cast(equal, Kind.FLOAT)


def one_hot(index: Value, dim: DimLike) -> Value:
    """[...] ints to [..., dim] floats: 1 at the index, else 0."""
    shape = (*index.shape, Dim.of(dim))
    spread = expand(index, shape, [index.rank])
    return cast(binary("eq", spread, expand(ops.iota(dim), shape, range(index.rank))), Kind.FLOAT)


def cast(x: Operand, kind: Kind) -> Value:
    """`x` with elements of another kind; itself when they are of that kind already."""
    operand = value(x)
    return operand if operand.kind is kind else ops.apply("cast", operand, to=kind.value)


def promoted(x: Value, kind: Kind) -> Value:
    """`x` where a value of `kind` is declared: bool, int, float, complex promote upwards; downwards is a Fault."""
    if x.kind == kind:
        return x
    if x.kind is Kind.COMPLEX or (kind in (Kind.BOOL, Kind.INT) and not (x.kind is Kind.BOOL and kind is Kind.INT)):
        raise Fault(fault.KIND_MISMATCH, f"a {x.kind} value where {kind} is declared", str(x.kind), str(kind))
    return cast(x, kind)


def reduce(op: str, x: Operand, axes: Sequence[int] | None = None) -> Value:
    """`reduce_sum`, `logsumexp`, `argmax` ... over `axes`, or over all of them."""
    operand = value(x)
    chosen = (
        tuple(sorted(_position(operand, axis) for axis in axes)) if axes is not None else tuple(range(operand.rank))
    )
    return ops.apply(op, operand, axes=chosen)


def mean(x: Operand, axes: Sequence[int] | None = None) -> Value:
    """The sum divided by the number of elements summed."""
    operand = value(x)
    chosen = [_position(operand, a) for a in axes] if axes is not None else range(operand.rank)
    number = Dim.of(1)
    for axis in chosen:
        number = number * operand.shape[axis]
    return div(reduce("reduce_sum", operand, list(chosen)), ops.size(number))


def softmax(x: Operand, axis: int = -1) -> Value:
    operand = value(x)
    return ops.apply("softmax", operand, axis=_position(operand, axis))


def select(x: Value, index: DimLike, axis: int = 0) -> Value:
    """One element of an axis; a negative number counts from the end."""
    axis = _position(x, axis)
    return ops.apply("select", x, axis=axis, index=place_in(x, axis, index))


def slice_(x: Value, start: DimLike | None, stop: DimLike | None, axis: int = 0, step: int = 1) -> Value:
    """`x[start:stop:step]` along one axis; negative numbers count from the end, as everywhere in Python."""
    axis = _position(x, axis)
    if step < 1:
        raise Fault(
            fault.AXIS_RANGE, "the step of a slice is positive", str(step), remedy="for the reverse order use `flip`"
        )
    first = place_in(x, axis, 0 if start is None else start)
    last = x.shape[axis] if stop is None else place_in(x, axis, stop)
    length = last - first if step == 1 else (last - first + (step - 1)) // step
    if first == Dim.of(0) and length == x.shape[axis] and step == 1:
        return x
    return ops.apply("slice", x, axis=axis, start=first, size=length, step=step)


def concat(parts: Sequence[Operand], axis: int = 0) -> Value:
    """The parts one after the other along `axis`."""
    operands = [value(part) for part in parts]
    return ops.apply("concat", *operands, axis=_position(operands[0], axis)) if len(operands) > 1 else operands[0]


def stack(parts: Sequence[Operand], axis: int = 0) -> Value:
    """Parts of equal shapes side by side along a new axis at position `axis`."""
    operands = [value(part) for part in parts]
    at = axis if axis >= 0 else axis + operands[0].rank + 1
    rows = [expand(part, (*part.shape[:at], Dim.of(1), *part.shape[at:]), [at]) for part in operands]
    return concat(rows, at)


def split(x: Value, parts: int, axis: int = 0) -> tuple[Value, ...]:
    """Equal parts of one axis, in order."""
    axis = _position(x, axis)
    if parts < 1:
        raise Fault(fault.SIZE_MEANINGLESS, "`split` into fewer than one part", str(parts))
    each = x.shape[axis] / parts
    return tuple(slice_(x, each * place, each * (place + 1), axis) for place in range(parts))


def reshape(x: Value, shape: Shape) -> Value:
    return x if x.shape == shape else ops.apply("reshape", x, shape=tuple(shape))


def gather(table: Value, index: Value, axis: int = 0, batch: int = 0) -> Value:
    """`table[index]` along `axis`, after `batch` leading axes that both share."""
    return ops.apply("gather", table, index, axis=_position(table, axis), batch=batch)


def conv(x: Value, w: Value, stride: int = 1, dilation: int = 1, groups: int = 1, padding: str | int = "same") -> Value:
    """Spatial correlation of x [C, *spatial] with w [O, C/groups, *kernel] to [O, *out].

    `padding` is "same" (sizes stay at stride 1; an even kernel is padded more behind), "valid" (none) or a number.
    """
    spatial = w.rank - 2
    dilations = (dilation,) * spatial
    match padding:
        case "same":
            pads = convolution.same_padding(w.shape[2:], dilations)
        case "valid":
            pads = (0,) * (2 * spatial)
        case int():
            pads = (padding,) * (2 * spatial)
        case _:
            raise Fault(fault.KIND_MISMATCH, f"there is no padding {padding!r}", expected='"same", "valid" or a number')
    return ops.apply("conv", x, w, stride=(stride,) * spatial, dilation=dilations, groups=groups, padding=pads)


def _scaled(vector: Value, matrix: Value, axis: int) -> Value:
    at = axis % matrix.rank if matrix.rank else 0
    if matrix.rank == 0 or matrix.shape[at] != vector.shape[0]:
        found = f"diag of {shape_text(vector.shape)} with {shape_text(matrix.shape)}"
        raise Fault(fault.SHAPES_DIFFER, "the diagonal matrix does not fit", found)
    letters = LETTERS[: matrix.rank]
    pair = (letters[at], letters) if axis == 0 else (letters, letters[at])
    args = (vector, matrix) if axis == 0 else (matrix, vector)
    return ops.apply("einsum", *args, spec=f"{canonical_spec(f'{pair[0]},{pair[1]}->{letters}')}")


def _product_remedy(left: Value, right: Value) -> str | None:
    if left.rank == 2 and left.shape[0] == right.shape[0]:
        return "transpose the left operand: `W.T @ x`"
    if right.rank == 2 and right.shape[1] == left.shape[-1]:
        return "transpose the right operand: `x @ W.T`"
    return None


def _position(x: Value, axis: int) -> int:
    if not -x.rank <= axis < x.rank:
        raise Fault(fault.AXIS_RANGE, f"there is no axis {axis} in {shape_text(x.shape)}")
    return axis % x.rank


def place_in(x: Value, axis: int, place: DimLike) -> Dim:
    """The place along an axis, a negative number counting from the end."""
    at = Dim.of(place)
    return x.shape[axis] + at if at.constant is not None and at.constant < 0 else at
