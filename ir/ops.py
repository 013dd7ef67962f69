"""The operations of the graph: one row each, and the one constructor that checks.

`apply("add", a, b)` infers the result's type by the row's rule and returns the interned value.  A backend knows an
operation when it has a row of its own for it; `OPS` is the list that they are tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lsrl.ir import convolution, fault, infer
from lsrl.ir.dims import Dim, DimLike, Shape
from lsrl.ir.fault import Fault
from lsrl.ir.value import Attr, Domain, Kind, Value, intern


class Family(StrEnum):
    """How an operation treats axes, which is all that most passes ask."""

    LEAF = "leaf"  # no operands
    ELEMENTWISE = "elementwise"  # the same axes in and out
    CONTRACTION = "contraction"  # einsum
    LAYOUT = "layout"  # moves, repeats or picks elements, computes nothing
    REDUCTION = "reduction"  # axes go away, or are normalised over
    STENCIL = "stencil"  # convolution
    SYSTEM = "system"  # equations, for square matrices in the last two axes
    GRAPH = "graph"  # between nodes, edges and turns


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    Attributes:
        name: how graphs print it.
        family: how it treats axes.
        arity: number of operands, or None where any number (at least one) will do.
        attrs: the attributes it must have.
        rule: type inference.
        doc: what it computes.
        commutes: exchanging its two operands changes nothing, bit for bit.
    """

    name: str
    family: Family
    arity: int | None
    attrs: tuple[str, ...]
    rule: infer.Rule
    doc: str
    commutes: bool = False


_E, _R, _L, _G = Family.ELEMENTWISE, Family.REDUCTION, Family.LAYOUT, Family.GRAPH
_CONV_ADJOINT = tuple(sorted((*convolution.ATTRS, "shape")))
_any = infer.elementwise()
_real = infer.elementwise(Kind.FLOAT)
_to_float = infer.elementwise(Kind.FLOAT, Kind.FLOAT)
_at_least_float = infer.elementwise(Kind.COMPLEX, least=Kind.FLOAT)
_compare = infer.elementwise(Kind.FLOAT, Kind.BOOL)
_equal = infer.elementwise(Kind.COMPLEX, Kind.BOOL)
_to_complex = infer.elementwise(Kind.FLOAT, Kind.COMPLEX)
_part = infer.elementwise(Kind.COMPLEX, Kind.FLOAT)


def _unary(rule: infer.Rule, **docs: str) -> tuple[Op, ...]:
    return tuple(Op(name, _E, 1, (), rule, doc) for name, doc in docs.items())


def _binary(rule: infer.Rule, commutes: bool = False, **docs: str) -> tuple[Op, ...]:
    return tuple(Op(name.rstrip("_"), _E, 2, (), rule, doc, commutes) for name, doc in docs.items())


def _reduction(rule: infer.Rule, **docs: str) -> tuple[Op, ...]:
    return tuple(Op(name, _R, 1, ("axes",), rule, doc) for name, doc in docs.items())


_ROWS: tuple[Op, ...] = (
    *_unary(_any, neg="-x"),
    *_unary(_at_least_float, exp="e^x", log="natural logarithm", sqrt="square root"),
    *_unary(
        _real, sign="-1, 0 or 1", floor="largest integer not above", ceil="smallest integer not below", relu="max(x, 0)"
    ),
    *_unary(_real, round="nearest integer, ties to even"),
    *_unary(
        _to_float, expm1="e^x - 1", log1p="log(1 + x)", rsqrt="1 / sqrt(x)", sin="sine", cos="cosine", tan="tangent"
    ),
    *_unary(
        _to_float,
        tanh="hyperbolic tangent",
        sigmoid="1 / (1 + e^-x)",
        softplus="log(1 + e^x)",
        logsigmoid="-softplus(-x)",
    ),
    *_unary(_to_float, silu="x sigmoid(x)", gelu="x times the normal distribution function", erf="error function"),
    *_unary(_to_complex, cis="e^(ix)"),
    *_unary(_part, re="real part", im="imaginary part", arg="angle of a complex number, 0 for 0"),
    *_unary(_any, conj="complex conjugate"),
    Op("abs", _E, 1, (), infer.absolute, "absolute value, modulus of a complex number"),
    Op("cast", _E, 1, ("to",), infer.cast, "to another kind; float to int truncates"),
    Op("stopgrad", _E, 1, (), infer.same, "its operand, with derivative zero"),
    *_binary(_any, commutes=True, add="x + y", mul="x * y"),
    *_binary(_any, sub="x - y"),
    *_binary(_at_least_float, div="x / y", pow="x to the power y"),
    *_binary(_real, mod="x - y floor(x / y), with the sign of y", floordiv="floor(x / y)"),
    *_binary(_real, commutes=True, max="the larger", min="the smaller"),
    *_binary(_to_float, commutes=True, logaddexp="log(e^x + e^y)"),
    *_binary(_to_float, atan2="angle of the point (y, x)"),
    *_binary(_compare, lt="x < y", le="x <= y", gt="x > y", ge="x >= y"),
    *_binary(_equal, commutes=True, eq="x == y", ne="x != y"),
    *_binary(infer.logical, commutes=True, and_="both", or_="either", xor="exactly one"),
    Op("not", _E, 1, (), infer.logical, "the opposite"),
    Op("where", _E, 3, (), infer.where, "y where the condition holds, else z"),
    Op("einsum", Family.CONTRACTION, None, ("spec",), infer.einsum, "sum of products over the axes the result lacks"),
    Op("transpose", _L, 1, ("perm",), infer.transpose, "axes in another order"),
    Op("reshape", _L, 1, ("shape",), infer.reshape, "the same elements, another shape"),
    Op("expand", _L, 1, ("axes", "shape"), infer.expand, "repeated along new axes"),
    Op("slice", _L, 1, ("axis", "size", "start", "step"), infer.slice_, "elements of an axis, evenly spaced"),
    Op("select", _L, 1, ("axis", "index"), infer.select, "one element of an axis"),
    Op("flip", _L, 1, ("axis",), infer.flip, "an axis backwards"),
    Op("concat", _L, None, ("axis",), infer.concat, "one after the other"),
    Op("gather", _L, 2, ("axis", "batch"), infer.gather, "table entries by index; an index outside is clamped"),
    Op("scatter", _L, 2, ("axis", "batch", "size"), infer.scatter, "updates added up by index, the adjoint of gather"),
    *_reduction(infer.additive, reduce_sum="sum", reduce_prod="product"),
    *_reduction(infer.reduction(Kind.FLOAT), reduce_max="largest", reduce_min="smallest"),
    *_reduction(infer.reduction(Kind.BOOL), reduce_any="whether one holds", reduce_all="whether all hold"),
    *_reduction(infer.reduction(Kind.FLOAT, Kind.FLOAT), logsumexp="log of the sum of exponentials"),
    *_reduction(
        infer.reduction(Kind.FLOAT, Kind.INT), argmax="place of the first largest", argmin="place of the first smallest"
    ),
    Op("softmax", _R, 1, ("axis",), infer.softmax, "exponentials divided by their sum"),
    Op("conv", Family.STENCIL, 2, convolution.ATTRS, convolution.convolution, "correlation over spatial axes"),
    Op(
        "conv_dx",
        Family.STENCIL,
        2,
        _CONV_ADJOINT,
        convolution.input_adjoint,
        "the adjoint of conv for its first operand",
    ),
    Op("conv_dw", Family.STENCIL, 2, _CONV_ADJOINT, convolution.kernel_adjoint, "the adjoint of conv for its kernel"),
    Op("solve", Family.SYSTEM, 2, (), infer.system, "the X with A X = B, matrices in the last two axes"),
    Op("read", _G, 1, ("via",), infer.read, "a node's or edge's value at the edges or turns that touch it"),
    Op("sum_in", _G, 1, ("via",), infer.gathered, "sum over incoming edges of a node, or turns into an edge"),
    Op("max_in", _G, 1, ("via",), infer.gathered, "largest of the incoming, -inf where there is none"),
)

OPS: dict[str, Op] = {row.name: row for row in _ROWS}

LEAVES = ("const", "size", "iota", "input", "param", "noise", "state")


def family(op: str) -> Family:
    """The family of an operation or leaf."""
    return Family.LEAF if op in LEAVES else OPS[op].family


def apply(op: str, *args: Value, **attrs: Attr) -> Value:
    """The value of operation `op` on `args`; Fault when they do not fit."""
    row = OPS[op]
    if (row.arity is not None and len(args) != row.arity) or not args:
        raise Fault(fault.ARGUMENT_COUNT, f"`{op}` takes {row.arity} operands", str(len(args)), str(row.arity))
    assert tuple(sorted(attrs)) == row.attrs, (op, attrs)
    typing = row.rule(args, attrs)
    return intern(op, args, tuple(attrs.items()), typing.shape, typing.kind, typing.domain)


def const(value: Attr) -> Value:
    """A constant: an int, bool, Fraction, float or complex, "pi", or nested tuples of these."""
    typing = infer.literal_typing(value)
    return intern("const", (), (("value", value),), typing.shape, typing.kind)


def size(dim: DimLike) -> Value:
    """A size as a number, an int scalar known when compiled."""
    known = Dim.of(dim)
    return const(known.constant) if known.constant is not None else intern("size", (), (("dim", known),), (), Kind.INT)


def iota(dim: DimLike) -> Value:
    """0, 1, ..., dim-1: [dim] ints."""
    return intern("iota", (), (), (Dim.of(dim),), Kind.INT)


def leaf(op: str, name: str, shape: Sequence[Dim], kind: Kind, domain: Domain = Domain.NONE) -> Value:
    """An `input`, `param` or `noise` by name."""
    assert op in ("input", "param", "noise"), op
    return intern(op, (), (("name", name),), tuple(shape), kind, domain)


def state(name: str, axis: str, shape: Shape, kind: Kind, domain: Domain = Domain.NONE) -> Value:
    """The value of state `name` that arrives from the previous position along `axis`."""
    return intern("state", (), (("axis", axis), ("name", name)), tuple(shape), kind, domain)
