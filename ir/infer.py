"""Shape, kind and domain of every operation's result, from its operands and attributes.

Each rule takes the operands and the attributes and returns a `Typing`; operands that do not fit raise `Fault`.
Nothing broadcasts silently: operands of an element-wise operation have equal shapes, or are scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lsrl.ir import fault
from lsrl.ir.dims import Dim, Shape, count, shape_text
from lsrl.ir.fault import Fault
from lsrl.ir.value import Attr, Domain, Kind, Value

Attributes = Mapping[str, Attr]
PROMOTION = (Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.COMPLEX)
GRAPH_READS = {
    "edge.from": (Domain.NODE, Domain.EDGE),
    "edge.to": (Domain.NODE, Domain.EDGE),
    "turn.node": (Domain.NODE, Domain.TURN),
    "turn.in": (Domain.EDGE, Domain.TURN),
    "turn.out": (Domain.EDGE, Domain.TURN),
    # What is the same everywhere, at each node, edge or turn; and summed over all of them.
    **{domain.value: (Domain.NONE, domain) for domain in (Domain.NODE, Domain.EDGE, Domain.TURN)},
}
GRAPH_SUMS = {via: (target, source) for via, (source, target) in GRAPH_READS.items()}


@dataclass(frozen=True, slots=True)
class Typing:
    """What a rule says of a result."""

    shape: Shape
    kind: Kind
    domain: Domain = Domain.NONE


Rule = Callable[[Sequence[Value], Attributes], Typing]


def promote(kinds: Sequence[Kind]) -> Kind:
    """The most general of the kinds: bool, int, float, complex."""
    return max(kinds, key=PROMOTION.index)


def common_domain(args: Sequence[Value]) -> Domain:
    """The one place where operands live; values that are the same everywhere fit any."""
    domains = {a.domain for a in args} - {Domain.NONE}
    if len(domains) > 1:
        names = " and ".join(sorted(f"{d} value" for d in domains))
        raise Fault(
            fault.DOMAIN_MISMATCH, f"a {names} cannot meet here", remedy="read the one at the other's place first"
        )
    return domains.pop() if domains else Domain.NONE


def common_shape(args: Sequence[Value]) -> Shape:
    """The shape of an element-wise result: all equal, scalars aside."""
    shapes = list(dict.fromkeys(a.shape for a in args if a.shape))
    if len(shapes) > 1:
        found = " and ".join(shape_text(s) for s in shapes)
        raise Fault(fault.SHAPES_DIFFER, "shapes differ", found, "equal shapes, or a scalar", _shape_remedy(shapes))
    return shapes[0] if shapes else ()


def elementwise(allowed: Kind = Kind.COMPLEX, result: Kind | None = None, least: Kind = Kind.INT) -> Rule:
    """Element-wise on kinds up to `allowed`; the result has kind `result`, or the promoted one, at least `least`."""

    def rule(args: Sequence[Value], _: Attributes) -> Typing:
        kind = promote([a.kind for a in args])
        check_kind(kind, allowed)
        return Typing(common_shape(args), result or promote([kind, least]), common_domain(args))

    return rule


def logical(args: Sequence[Value], _: Attributes) -> Typing:
    """and, or, not: bools in, bools out."""
    for arg in args:
        if arg.kind is not Kind.BOOL:
            raise Fault(fault.KIND_MISMATCH, "a truth value is needed", str(arg.kind), "bool", "compare it: `x > 0`")
    return Typing(common_shape(args), Kind.BOOL, common_domain(args))


def absolute(args: Sequence[Value], _: Attributes) -> Typing:
    """abs: a complex number's modulus is a float."""
    kind = Kind.FLOAT if args[0].kind is Kind.COMPLEX else promote([args[0].kind, Kind.INT])
    return Typing(args[0].shape, kind, args[0].domain)


def where(args: Sequence[Value], _: Attributes) -> Typing:
    """where(condition, a, b): the condition is bool, a and b promote."""
    if args[0].kind is not Kind.BOOL:
        raise Fault(
            fault.KIND_MISMATCH,
            "the condition of `where` is not bool",
            str(args[0].kind),
            "bool",
            "compare it: `x > 0`",
        )
    return Typing(common_shape(args), promote([a.kind for a in args[1:]]), common_domain(args))


def cast(args: Sequence[Value], attrs: Attributes) -> Typing:
    """cast: to the kind `to`."""
    return Typing(args[0].shape, Kind(str(attrs["to"])), args[0].domain)


def einsum(args: Sequence[Value], attrs: Attributes) -> Typing:
    """einsum: letters name axes; a letter has one size; letters missing on the right are summed over."""
    spec = str(attrs["spec"])
    if spec.count("->") != 1:
        raise Fault(fault.EINSUM_SPEC, f"`{spec}` has no `->`", remedy='write it out: "k v, k -> v"')
    left, result = spec.split("->")
    operands = left.split(",")
    if len(operands) != len(args):
        raise Fault(
            fault.ARGUMENT_COUNT, f"`{spec}` names {len(operands)} operands", str(len(args)), str(len(operands))
        )
    sizes: dict[str, Dim] = {}
    for letters, arg in zip(operands, args, strict=True):
        if len(letters) != arg.rank:
            raise Fault(fault.RANK_MISMATCH, f"`{letters}` names {len(letters)} axes", shape_text(arg.shape))
        for letter, dim in zip(letters, arg.shape, strict=True):
            if sizes.setdefault(letter, dim) != dim:
                raise Fault(fault.SHAPES_DIFFER, f"the axis `{letter}` has two sizes", str(dim), str(sizes[letter]))
    unknown = [letter for letter in result if letter not in sizes]
    if unknown or len(set(result)) != len(result):
        raise Fault(fault.EINSUM_SPEC, f"the result `{result}` repeats an axis or names one that no operand has")
    kind = promote([*(a.kind for a in args), Kind.INT])
    return Typing(tuple(sizes[letter] for letter in result), kind, common_domain(args))


def transpose(args: Sequence[Value], attrs: Attributes) -> Typing:
    """transpose: axis i of the result is axis perm[i] of the operand."""
    perm = integers(attrs["perm"])
    if sorted(perm) != list(range(args[0].rank)):
        raise Fault(fault.AXIS_RANGE, f"{perm} does not reorder the axes of {shape_text(args[0].shape)}")
    return Typing(tuple(args[0].shape[p] for p in perm), args[0].kind, args[0].domain)


def reshape(args: Sequence[Value], attrs: Attributes) -> Typing:
    """reshape: the same elements in row-major order under another shape."""
    shape = dims(attrs["shape"])
    if count(shape) != count(args[0].shape):
        raise Fault(
            fault.SHAPES_DIFFER,
            "the shapes hold different numbers of elements",
            shape_text(args[0].shape),
            shape_text(shape),
        )
    return Typing(shape, args[0].kind, args[0].domain)


def expand(args: Sequence[Value], attrs: Attributes) -> Typing:
    """expand: to `shape`, repeating along the axes listed in `axes` (positions in the result)."""
    shape, new = dims(attrs["shape"]), integers(attrs["axes"])
    kept = tuple(d for position, d in enumerate(shape) if position not in new)
    if kept != args[0].shape:
        raise Fault(fault.SHAPES_DIFFER, "expansion changes a size", shape_text(args[0].shape), shape_text(kept))
    return Typing(shape, args[0].kind, args[0].domain)


def slice_(args: Sequence[Value], attrs: Attributes) -> Typing:
    """slice: `size` elements of one axis from `start`, `step` apart."""
    axis = axis_of(args[0], attrs["axis"])
    shape = args[0].shape
    return Typing((*shape[:axis], dim(attrs["size"]), *shape[axis + 1 :]), args[0].kind, args[0].domain)


def select(args: Sequence[Value], attrs: Attributes) -> Typing:
    """select: one element of one axis, which goes away."""
    axis = axis_of(args[0], attrs["axis"])
    return Typing(args[0].shape[:axis] + args[0].shape[axis + 1 :], args[0].kind, args[0].domain)


def flip(args: Sequence[Value], attrs: Attributes) -> Typing:
    """flip: one axis backwards."""
    axis_of(args[0], attrs["axis"])
    return Typing(args[0].shape, args[0].kind, args[0].domain)


def concat(args: Sequence[Value], attrs: Attributes) -> Typing:
    """concat: operands one after the other along one axis; all other axes agree."""
    axis = axis_of(args[0], attrs["axis"])
    rests = {a.shape[:axis] + a.shape[axis + 1 :] for a in args if a.rank == args[0].rank}
    if len(rests) != 1 or any(a.rank != args[0].rank for a in args):
        found = ", ".join(shape_text(a.shape) for a in args)
        raise Fault(fault.SHAPES_DIFFER, f"concat along axis {axis}: the other axes differ", found)
    total = sum((a.shape[axis] for a in args), Dim.of(0))
    shape = args[0].shape
    return Typing((*shape[:axis], total, *shape[axis + 1 :]), promote([a.kind for a in args]), common_domain(args))


def gather(args: Sequence[Value], attrs: Attributes) -> Typing:
    """gather(table, index): the index's axes (after `batch` leading ones shared by both) take the place of `axis`."""
    table, index = args
    axis, batch = axis_of(table, attrs["axis"]), integer(attrs["batch"])
    _check_index(index)
    if table.shape[:batch] != index.shape[:batch] or axis < batch:
        raise Fault(
            fault.SHAPES_DIFFER,
            "table and index have different leading axes",
            shape_text(index.shape),
            shape_text(table.shape),
        )
    shape = table.shape[:axis] + index.shape[batch:] + table.shape[axis + 1 :]
    return Typing(shape, table.kind, common_domain(args))


def scatter(args: Sequence[Value], attrs: Attributes) -> Typing:
    """scatter(update, index): the adjoint of gather; zeros of `size` along `axis`, updates added at their index."""
    update, index = args
    axis, batch, size = integer(attrs["axis"]), integer(attrs["batch"]), dim(attrs["size"])
    _check_index(index)
    spread = index.rank - batch
    if update.shape[axis : axis + spread] != index.shape[batch:]:
        raise Fault(fault.SHAPES_DIFFER, "update and index differ", shape_text(update.shape), shape_text(index.shape))
    return Typing((*update.shape[:axis], size, *update.shape[axis + spread :]), update.kind, common_domain(args))


def reduction(allowed: Kind, result: Kind | None = None) -> Rule:
    """A reduction over the axes `axes`, which go away."""

    def rule(args: Sequence[Value], attrs: Attributes) -> Typing:
        check_kind(args[0].kind, allowed)
        gone = {axis_of(args[0], axis) for axis in integers(attrs["axes"])}
        shape = tuple(d for position, d in enumerate(args[0].shape) if position not in gone)
        return Typing(shape, result or args[0].kind, args[0].domain)

    return rule


def additive(args: Sequence[Value], attrs: Attributes) -> Typing:
    """sum and product: bools count as integers."""
    typing = reduction(Kind.COMPLEX)(args, attrs)
    return Typing(typing.shape, promote([typing.kind, Kind.INT]), typing.domain)


def softmax(args: Sequence[Value], attrs: Attributes) -> Typing:
    """softmax over one axis, which stays."""
    check_kind(args[0].kind, Kind.FLOAT)
    axis_of(args[0], attrs["axis"])
    return Typing(args[0].shape, Kind.FLOAT, args[0].domain)


def system(args: Sequence[Value], _: Attributes) -> Typing:
    """solve: A [*lead, n, n] and B [*lead, n, m] to X [*lead, n, m]."""
    matrix, right = args
    found = f"{shape_text(matrix.shape)} and {shape_text(right.shape)}"
    if matrix.rank < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise Fault(fault.SHAPES_DIFFER, "`solve` takes a square matrix", shape_text(matrix.shape), "[n, n]")
    if right.rank != matrix.rank or right.shape[:-1] != matrix.shape[:-1]:
        raise Fault(
            fault.SHAPES_DIFFER, "the right side of `solve` does not fit the matrix", found, "[n, n], and [n] or [n, m]"
        )
    return Typing(right.shape, promote([matrix.kind, right.kind, Kind.FLOAT]), common_domain(args))


def same(args: Sequence[Value], _: Attributes) -> Typing:
    """The operand's own type."""
    return Typing(args[0].shape, args[0].kind, args[0].domain)


def read(args: Sequence[Value], attrs: Attributes) -> Typing:
    """read: a node's or edge's value at each edge or turn that touches it (`via`)."""
    source, target = _via(GRAPH_READS, attrs)
    _check_domain(args[0], source)
    return Typing(args[0].shape, args[0].kind, target)


def gathered(args: Sequence[Value], attrs: Attributes) -> Typing:
    """sum_in, max_in: a node collects its incoming edges, an edge the turns into it (`by`)."""
    source, target = _via(GRAPH_SUMS, attrs)
    _check_domain(args[0], source)
    return Typing(args[0].shape, promote([args[0].kind, Kind.INT]), target)


def check_kind(kind: Kind, allowed: Kind) -> None:
    """Fault unless `kind` is `allowed` or promotes to it."""
    if PROMOTION.index(kind) > PROMOTION.index(allowed):
        raise Fault(fault.KIND_MISMATCH, f"not defined for {kind} values", str(kind), str(allowed))


def axis_of(value: Value, axis: Attr) -> int:
    """The axis as a position of `value`, or a Fault."""
    position = integer(axis)
    if not 0 <= position < value.rank:
        raise Fault(fault.AXIS_RANGE, f"there is no axis {position} in {shape_text(value.shape)}")
    return position


def integer(attr: Attr) -> int:
    """An attribute that is a number."""
    assert isinstance(attr, int), attr
    return attr


def integers(attr: Attr) -> tuple[int, ...]:
    """An attribute that is a tuple of numbers."""
    assert isinstance(attr, tuple), attr
    return tuple(integer(item) for item in attr)


def dim(attr: Attr) -> Dim:
    """An attribute that is a size."""
    assert isinstance(attr, (Dim, int)), attr
    return Dim.of(attr)


def dims(attr: Attr) -> Shape:
    """An attribute that is a shape."""
    assert isinstance(attr, tuple), attr
    return tuple(dim(item) for item in attr)


def literal_typing(value: Attr) -> Typing:
    """The type of a constant: a number, `pi`, or nested tuples of numbers."""
    match value:
        case tuple():
            rows = [literal_typing(item) for item in value]
            if len({row.shape for row in rows}) > 1:
                raise Fault(fault.SHAPES_DIFFER, "the rows of an array differ in length")
            inner = rows[0].shape if rows else ()
            return Typing((Dim.of(len(value)), *inner), promote([row.kind for row in rows] or [Kind.FLOAT]))
        case bool():
            return Typing((), Kind.BOOL)
        case int():
            return Typing((), Kind.INT)
        case complex():
            return Typing((), Kind.COMPLEX)
        case float() | Fraction() | "pi":
            return Typing((), Kind.FLOAT)
    raise Fault(fault.KIND_MISMATCH, f"{value!r} is no constant")


def _shape_remedy(shapes: Sequence[Shape]) -> str | None:
    vectors = [s for s in shapes if len(s) == 1]
    matrices = [s for s in shapes if len(s) == 2]
    if len(vectors) != 1 or len(matrices) != 1:
        return None
    vector, matrix = vectors[0][0], matrices[0]
    if vector == matrix[0]:
        return "to scale rows write `diag(a) @ S`"
    if vector == matrix[1]:
        return "to scale columns write `S @ diag(b)`"
    return None


def _check_index(index: Value) -> None:
    if index.kind is not Kind.INT:
        raise Fault(fault.KIND_MISMATCH, "an index must be an int", str(index.kind), "int", "declare it `int(V)`")


def _via(table: Mapping[str, tuple[Domain, Domain]], attrs: Attributes) -> tuple[Domain, Domain]:
    return table[str(attrs["via"])]


def _check_domain(value: Value, domain: Domain) -> None:
    if value.domain not in (domain, Domain.NONE):
        raise Fault(fault.DOMAIN_MISMATCH, f"a {value.domain} value where a {domain} value is needed")
