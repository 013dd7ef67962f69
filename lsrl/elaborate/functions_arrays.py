"""Functions that build, join, cut and reshape arrays."""

from __future__ import annotations

from fractions import Fraction

from lsrl import syntax
from lsrl.elaborate import sizes
from lsrl.elaborate.arguments import Arguments, Builtin
from lsrl.elaborate.report import Misplaced
from lsrl.elaborate.terms import Several, Term
from lsrl.ir import build, ops
from lsrl.ir.dims import Dim
from lsrl.ir.fault import KIND_MISMATCH, SIZE_MEANINGLESS, Fault
from lsrl.ir.value import Kind, Value

MOST_PARTS = 4096


def _concat(a: Arguments) -> Term:
    parts = a.others()
    return build.concat(parts, a.axis("axis", parts[0], 0))


def _stack(a: Arguments) -> Term:
    parts = a.others()
    return build.stack(parts, a.number("axis", 0))


def _split(a: Arguments) -> Term:
    """`split(x, 3)`: equal parts; `split(x, [H, 2*H])`: parts of these sizes, which make up the whole."""
    x = a.value("x")
    axis = a.axis("axis", x, 0)
    parts = a.given["parts"]
    length = x.shape[axis] if x.rank else Dim.of(0)
    if isinstance(parts, syntax.Array):
        lengths = list(sizes.shape(a.env, parts.items))
        total = sum(lengths, Dim.of(0))
        a.env.body.equal(total, length, f"`split` into parts of {total} together, of an axis of {length}", a.span)
    else:
        number = a.number("parts", 1)
        if not 1 <= number <= MOST_PARTS:
            raise Misplaced(SIZE_MEANINGLESS, f"`split` takes 1 to {MOST_PARTS} parts", str(number), span=parts.span)
        a.env.body.require(-(length % number), f"`split` into {number} equal parts of an axis of {length}", a.span)
        lengths = [length / number] * number
    pieces, start = [], Dim.of(0)
    for size in lengths:
        pieces.append(a.env.body.placed(build.slice_(x, start, start + size, axis), a.span))
        start = start + size
    return Several(tuple(pieces)) if len(pieces) > 1 else pieces[0]


def _reshape(a: Arguments) -> Term:
    return build.reshape(a.value("x"), a.shape("shape"))


def _transpose(a: Arguments) -> Term:
    x = a.env.matrix(a.given["x"])
    if not a.has("axes"):
        return build.transpose(x)
    plain = build.value(x)
    return build.transpose(plain, a.axes("axes", plain))


def _zeros(a: Arguments) -> Term:
    return build.full(a.shape("shape"), ops.const(Fraction(0)))


def _ones(a: Arguments) -> Term:
    return build.full(a.shape("shape"), ops.const(Fraction(1)))


def _full(a: Arguments) -> Term:
    return build.full(a.shape("shape"), a.value("value"))


def _eye(a: Arguments) -> Term:
    return build.eye(a.dim("n"))


def _iota(a: Arguments) -> Term:
    return ops.iota(a.dim("n"))


def _size(a: Arguments) -> Term:
    x = a.value("x")
    return ops.size(x.shape[a.axis("axis", x, 0)])


def _one_hot(a: Arguments) -> Term:
    index = a.value("i")
    if index.kind is not Kind.INT:
        raise Misplaced(KIND_MISMATCH, "an index must be an int", str(index.kind), "int", span=a.given["i"].span)
    return build.one_hot(index, a.dim("n"))


def _flip(a: Arguments) -> Term:
    x = a.value("x")
    return ops.apply("flip", x, axis=a.axis("axis", x, 0))


def _cast(kind: Kind) -> Builtin:
    def cast(a: Arguments) -> Term:
        x = a.value("x")
        if x.kind is Kind.COMPLEX:
            raise Fault(
                KIND_MISMATCH, f"a complex value has no {kind} form", "complex", remedy="take `re(x)` or `abs(x)`"
            )
        return as_kind(x, kind)

    return Builtin(kind.value, ("x",), cast)


def _complex(a: Arguments) -> Term:
    if not a.has("im"):
        return as_kind(a.value("re"), Kind.COMPLEX)
    real, imaginary = a.values("re", "im")
    for part, name in ((real, "re"), (imaginary, "im")):
        if part.kind is Kind.COMPLEX:
            raise Misplaced(KIND_MISMATCH, "the parts of a complex number are real", "complex", span=a.given[name].span)
    return build.add(real, build.mul(1j, imaginary))


def _diag(a: Arguments) -> Term:
    return build.diag(a.value("x"))


def as_kind(x: Value, kind: Kind) -> Value:
    """`x` with elements of `kind`; exact whole numbers stay exact."""
    if x.op == "const" and x.kind is Kind.INT and kind is Kind.FLOAT:
        return ops.const(_floats(x.attr("value")))  # type: ignore[arg-type]
    return build.cast(x, kind)


def fitted(x: Value, kind: Kind) -> Value:
    """`x` where a value of `kind` is declared: promoted upwards, a fault downwards."""
    return as_kind(x, kind) if (x.kind, kind) == (Kind.INT, Kind.FLOAT) else build.promoted(x, kind)


def _floats(number: object) -> object:
    if isinstance(number, tuple):
        return tuple(_floats(item) for item in number)
    assert isinstance(number, int)
    return Fraction(number)


ARRAYS = (
    Builtin("concat", ("*parts", "axis="), _concat),
    Builtin("stack", ("*parts", "axis="), _stack),
    Builtin("split", ("x", "parts", "axis="), _split),
    Builtin("reshape", ("x", "shape"), _reshape),
    Builtin("transpose", ("x", "axes="), _transpose),
    Builtin("zeros", ("shape",), _zeros),
    Builtin("ones", ("shape",), _ones),
    Builtin("full", ("shape", "value"), _full),
    Builtin("eye", ("n",), _eye),
    Builtin("iota", ("n",), _iota),
    Builtin("size", ("x", "axis="), _size),
    Builtin("one_hot", ("i", "n"), _one_hot),
    Builtin("flip", ("x", "axis="), _flip),
    Builtin("diag", ("x",), _diag),
    Builtin("complex", ("re", "im="), _complex),
    _cast(Kind.FLOAT),
    _cast(Kind.INT),
    _cast(Kind.BOOL),
)
