"""Values as expressions of the language: what a person would have written to get them.

The inverse of the elaborator for single values: every operation has a surface form, and elaborating that form gives the
operation back.  Which values have names, and which are written out, is the caller's choice (`Scope`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite, isinf, isnan

from lsrl.ir import build
from lsrl.ir.convolution import same_padding
from lsrl.ir.dims import Atom, Dim, Monomial, Opaque
from lsrl.ir.infer import dim, dims, integer, integers
from lsrl.ir.value import Attr, Kind, Value
from lsrl.syntax import Array, Attribute, Binary, Bool, Call, Expr, Index, Keyword, Name, Num, Slice, Str, Unary

INFIX: Mapping[str, str] = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "mod": "%",
    "floordiv": "//",
    "pow": "**",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and": "and",
    "or": "or",
}
REDUCTIONS: Mapping[str, str] = {
    "reduce_sum": "sum",
    "reduce_prod": "prod",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_any": "any",
    "reduce_all": "all",
    "logsumexp": "logsumexp",
    "argmax": "argmax",
    "argmin": "argmin",
}
SUMS = ("sum_in", "max_in")
# Operations that collect what leaves have names of their own in the language.
LEAVING: Mapping[str, str] = {"sum_in": "sum_out", "max_in": "max_out"}
# What is read by its mere name where an edge is updated, and inside a sum over what enters or leaves.
HERE = ("edge.from",)
INSIDE = ("edge.to", "turn.in", "turn.node")
INSIDE_LEAVING = ("edge.from", "turn.in", "turn.node")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an expression stands.

    Attributes:
        named: the values that are written as a name (or `h'`, `x[t-1]`).
        reads: the reads between nodes, edges and turns that the language inserts by itself here.
        brief: for people only: repetition along new axes is left out, as on paper.
        heads: for people only: the size of a first axis that products are written without.
    """

    named: Mapping[Value, Expr]
    reads: tuple[str, ...] = HERE
    brief: bool = False
    heads: Dim | None = None


def expression(value: Value, scope: Scope) -> Expr:
    """The expression of a value: its name in the scope, or its operation written out on its operands."""
    if value in scope.named:
        return scope.named[value]
    return written(value, scope)


def written(value: Value, scope: Scope) -> Expr:
    """The operation of a value written out, whether or not the value has a name."""
    match value.op:
        case "const":
            return literal(value.attr("value"))
        case "size":
            return size(dim(value.attr("dim")))
        case "iota":
            return call("iota", size(value.shape[0]))
        case "input" | "param" | "noise" | "state":
            return Name(str(value.attr("name")))
        case "cast" if value.rank == 2 and value is build.eye(value.shape[0]):
            return call("eye", size(value.shape[0]))
        case "expand" if scope.brief:
            return expression(value.args[0], scope)
        case "read" if value.attr("via") in scope.reads:
            return expression(value.args[0], scope)
        case "sum_in" | "max_in" if value.attr("via") in ("edge.from", "turn.in"):
            return call(LEAVING[value.op], expression(value.args[0], replace(scope, reads=INSIDE_LEAVING)))
        case "sum_in" | "max_in":
            return call(value.op, expression(value.args[0], replace(scope, reads=INSIDE)))
    args = [expression(arg, scope) for arg in value.args]
    if value.op in INFIX:
        return Binary(INFIX[value.op], args[0], args[1])
    if value.op == "einsum":
        return _product(_spec(value, scope.heads), args)
    return FORMS.get(value.op, _plain)(value, args)


def declared_value(value: Value, scope: Scope) -> Expr:
    """What stands after `=` in a declaration, where a scalar is repeated to the shape and whole numbers will do."""
    if value.op == "expand" and not value.args[0].shape:
        value = value.args[0]
    match value:
        case Value("const", _, (("value", Fraction() as number),)) if number.denominator == 1:
            return Num(number.numerator)
    return expression(value, scope)


def literal(constant: Attr) -> Expr:
    """A constant as its literal; what has no literal as the expression that gives it."""
    match constant:
        case bool():
            return Bool(constant)
        case int() | Fraction():
            return Num(constant)
        case float():
            return _floating(constant)
        case complex(real=real, imag=imag) if isfinite(real) and isfinite(imag):
            return Num(constant)
        case complex(real=real, imag=imag):
            return Binary("+", _floating(real), Binary("*", _floating(imag), Num(1j)))
        case tuple():
            return Array(tuple(literal(item) for item in constant))
        case _:
            return Name(str(constant))


def size(dim: Dim) -> Expr:
    """A size: a sum of products."""
    total: Expr | None = None
    for monomial, factor in dim.terms:
        term = _term(monomial, abs(factor))
        if total is None:
            total = Unary("-", term) if factor < 0 else term
        else:
            total = Binary("-" if factor < 0 else "+", total, term)
    return total if total is not None else Num(0)


def call(name: str, *args: Expr, **keywords: Expr) -> Call:
    """`name(args, key=value)`"""
    return Call(Name(name), args, tuple(Keyword(key, value) for key, value in keywords.items()))


def shape(sizes: Iterable[Dim]) -> Array:
    """`[H, 2*D]`"""
    return Array(tuple(size(each) for each in sizes))


def _floating(number: float) -> Expr:
    if isnan(number):
        return Binary("-", Name("inf"), Name("inf"))
    if isinf(number):
        return Name("inf") if number > 0 else Unary("-", Name("inf"))
    return Num(Fraction(repr(number)))


def _term(monomial: Monomial, factor: Fraction) -> Expr:
    product: Expr | None = None if factor.numerator == 1 and monomial else Num(factor.numerator)
    for atom, power in monomial:
        each = _atom(atom) if power == 1 else Binary("**", _atom(atom), Num(power))
        product = each if product is None else Binary("*", product, each)
    assert product is not None
    return product if factor.denominator == 1 else Binary("/", product, Num(factor.denominator))


def _atom(atom: Atom) -> Expr:
    match atom:
        case Opaque(op, left, right):
            return Binary(op, size(left), size(right))
        case str():
            return Name(atom)


Form = Callable[[Value, list[Expr]], Expr]


def _plain(value: Value, args: list[Expr]) -> Expr:
    """`sigmoid(x)`"""
    assert not value.attrs, value
    return call(value.op, *args)


def _spec(value: Value, heads: Dim | None) -> str:
    """What a product sums over what: `a,bc,bd->bacd` is `a,b,c->abc` where `b` is the axis of heads, and all alike."""
    spec = str(value.attr("spec"))
    left, result = spec.split("->")
    letter = result[:1]
    of_heads = [letters for letters in left.split(",") if letter and letter in letters]
    firsts = [arg.shape[0] for arg, letters in zip(value.args, left.split(","), strict=True) if letters in of_heads]
    apart = any(letters[0] != letter or letters.count(letter) > 1 for letters in of_heads)
    if heads is None or not of_heads or apart or any(size != heads for size in firsts):
        return spec
    kept = spec.replace(letter, "")
    letters = list(dict.fromkeys(each for each in kept if each.isalpha()))
    return kept.translate({ord(each): chr(ord("a") + place) for place, each in enumerate(letters)})


def _product(spec: str, args: list[Expr]) -> Expr:
    """A product of arrays, by the name that it has."""
    match spec, args:
        case (("ab,b->a" | "a,ab->b" | "ab,bc->ac"), [x, y]):
            return Binary("@", x, y)
        case "a,a->", [x, y]:
            return call("dot", x, y)
        case "a,b->ab", [x, y]:
            return call("outer", x, y)
        case "a,ab->ab", [x, y]:
            return Binary("@", call("diag", x), y)
        case "ab,b->ab", [x, y]:
            return Binary("@", x, call("diag", y))
    return call("einsum", Str(spec), *args)


def _reduction(value: Value, args: list[Expr]) -> Expr:
    axes = integers(value.attr("axes"))
    name = REDUCTIONS[value.op]
    if axes == tuple(range(value.args[0].rank)):
        return call(name, *args)
    return call(name, *args, axis=_axes(axes))


def _axes(axes: tuple[int, ...]) -> Expr:
    return Num(axes[0]) if len(axes) == 1 else _numbers(axes)


def _softmax(value: Value, args: list[Expr]) -> Expr:
    axis = integer(value.attr("axis"))
    return call("softmax", *args) if axis == value.rank - 1 else call("softmax", *args, axis=Num(axis))


def _transpose(value: Value, args: list[Expr]) -> Expr:
    perm = integers(value.attr("perm"))
    if perm == tuple(reversed(range(value.rank))):
        return Attribute(args[0], "T")
    return call("transpose", *args, axes=_axes(perm))


def _expand(value: Value, args: list[Expr]) -> Expr:
    axes = integers(value.attr("axes"))
    if len(axes) == value.rank:
        return call("full", shape(value.shape), *args)
    return call("expand", *args, shape(dims(value.attr("shape"))), axis=_axes(axes))


def _slice(value: Value, args: list[Expr]) -> Expr:
    axis, start, step = integer(value.attr("axis")), dim(value.attr("start")), integer(value.attr("step"))
    stop = start + (value.shape[axis] - 1) * step + 1
    first = None if start == Dim.of(0) else size(start)
    last = None if stop == value.args[0].shape[axis] else size(stop)
    return _index(args[0], axis, Slice(first, last, Num(step) if step != 1 else None))


def _select(value: Value, args: list[Expr]) -> Expr:
    return _index(args[0], integer(value.attr("axis")), size(dim(value.attr("index"))))


def _index(base: Expr, axis: int, item: Expr | Slice) -> Expr:
    return Index(base, (*(Slice(None, None, None) for _ in range(axis)), item))


def _gather(value: Value, args: list[Expr]) -> Expr:
    table, index = args
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    return _index(table, axis, index) if batch == 0 else call("gather", *args, axis=Num(axis), batch=Num(batch))


def _scatter(value: Value, args: list[Expr]) -> Expr:
    attrs = {name: literal(value.attr(name)) for name in ("axis", "batch") if value.attr(name)}
    return call("scatter", *args, size(dim(value.attr("size"))), **attrs)


def _conv(value: Value, args: list[Expr]) -> Expr:
    """`conv(x, w)`; what is the default is left out.  Strides and dilations are alike on all axes in the language."""
    pads = integers(value.attr("padding"))
    if value.op == "conv":
        extra = _padding(value, pads)
    else:
        extra = {"padding": _numbers(pads)}
        args = [*args, shape(value.shape)]
    for name in ("stride", "dilation"):
        step = integers(value.attr(name))[0]
        extra |= {name: Num(step)} if step != 1 else {}
    groups = integer(value.attr("groups"))
    return call(value.op, *args, **extra, **({"groups": Num(groups)} if groups != 1 else {}))


def _padding(value: Value, pads: tuple[int, ...]) -> dict[str, Expr]:
    kernel, dilation = value.args[1].shape[2:], integers(value.attr("dilation"))
    if all(taps.constant is not None for taps in kernel) and pads == same_padding(kernel, dilation):
        return {}
    return {"padding": Str("valid") if not any(pads) else Num(pads[0])}


def _numbers(numbers: tuple[int, ...]) -> Expr:
    return Array(tuple(Num(number) for number in numbers))


def _along(value: Value, args: list[Expr]) -> Expr:
    """`concat(a, b)`, `flip(x)`: along the first axis where none is given."""
    axis = integer(value.attr("axis"))
    return call(value.op, *args) if axis == 0 else call(value.op, *args, axis=Num(axis))


def _cast(value: Value, args: list[Expr]) -> Expr:
    """`float(x)`; a complex number's cast keeps its real part, or asks whether it is zero."""
    match value.args[0].kind, value.kind:
        case Kind.COMPLEX, Kind.BOOL:
            return Binary("!=", args[0], Num(0))
        case Kind.COMPLEX, Kind.FLOAT:
            return call("re", *args)
        case Kind.COMPLEX, Kind.INT:
            return call("int", call("re", *args))
    return call(str(value.attr("to")), *args)


def _reshape(value: Value, args: list[Expr]) -> Expr:
    return call("reshape", *args, shape(value.shape))


def _signed(value: Value, args: list[Expr]) -> Expr:
    return Unary("-" if value.op == "neg" else "not", args[0])


FORMS: Mapping[str, Form] = {
    "softmax": _softmax,
    "transpose": _transpose,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "gather": _gather,
    "scatter": _scatter,
    **dict.fromkeys(("conv", "conv_dx", "conv_dw"), _conv),
    "cast": _cast,
    "reshape": _reshape,
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("concat", "flip"), _along),
    **dict.fromkeys(("neg", "not"), _signed),
}
