"""Complex values as pairs of real ones, for code that knows no complex numbers.

Every complex value of a cell becomes its real and its imaginary part, each operation the equations of the parts.
Inputs and params stay complex and are read through `re` and `im`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from lsrl.ir import build, ops
from lsrl.ir.build import add, div, mul, neg, sub, unary, where
from lsrl.ir.cell import Cell, Output, State
from lsrl.ir.substitute import with_args
from lsrl.ir.value import Kind, Value, postorder


class NoRealForm(ValueError):
    """An operation on complex numbers that has no equations here."""


ZERO = ops.const(Fraction(0))


@dataclass(frozen=True, slots=True)
class Pair:
    """The parts of a complex number; `im` is the scalar `ZERO` itself where a value is known to be real."""

    re: Value
    im: Value


@dataclass(frozen=True, slots=True)
class RealCell:
    """A cell without complex values, inputs and params aside.

    Attributes:
        parts: for states and outputs that are a part of a complex one, its name and which part: 0 real, 1 imaginary.
    """

    cell: Cell
    parts: Mapping[str, tuple[str, int]]


def realify(cell: Cell) -> RealCell:
    """The cell on real numbers; a state or output `h` becomes `h.re` and `h.im`.

    Raises:
        NoRealForm: an operation has no equations here.
    """
    done = _translated(cell)
    parts: dict[str, tuple[str, int]] = {}
    states = tuple(new for state in cell.states for new in _states(state, done, parts))
    outputs = tuple(new for output in cell.outputs for new in _outputs(output, done, parts))
    names = {part: name for value, given in cell.names.items() for part, name in _named(done.get(value), given)}
    spans = {part: places for value, places in cell.spans.items() for part, _ in _named(done.get(value), "")}
    return RealCell(replace(cell, states=states, outputs=outputs, names=names, spans=spans), parts)


Translation = Mapping[Value, Value | Pair]
Parts = dict[str, tuple[str, int]]


def _states(state: State, done: Translation, parts: Parts) -> tuple[State, ...]:
    match done[state.next]:
        case Pair(re, im):
            names = _part_names(state.name, parts)
            zero, following = build.zeros(state.shape), (re, build.full(state.shape, im))
            return tuple(
                replace(state, name=name, kind=Kind.FLOAT, init=zero, next=part)
                for name, part in zip(names, following, strict=True)
            )
        case Value() as real:
            return (replace(state, next=real),)


def _outputs(output: Output, done: Translation, parts: Parts) -> tuple[Output, ...]:
    match done[output.value]:
        case Pair(re, im):
            names = _part_names(output.name, parts)
            return (Output(names[0], re), Output(names[1], build.full(output.value.shape, im)))
        case Value() as real:
            return (replace(output, value=real),)


def _part_names(name: str, parts: Parts) -> tuple[str, str]:
    names = (f"{name}.re", f"{name}.im")
    parts.update({part: (name, place) for place, part in enumerate(names)})
    return names


def _named(result: Value | Pair | None, name: str) -> tuple[tuple[Value, str], ...]:
    match result:
        case Pair(re, im):
            return ((re, f"{name}.re"), (im, f"{name}.im"))
        case Value() as real:
            return ((real, name),)
    return ()


def _translated(cell: Cell) -> dict[Value, Value | Pair]:
    done: dict[Value, Value | Pair] = {}
    for value in postorder(cell.roots()):
        args = [done[arg] for arg in value.args]
        if not value.args:
            done[value] = _leaf(value)
        elif value.kind is not Kind.COMPLEX and not any(isinstance(arg, Pair) for arg in args):
            done[value] = with_args(value, [arg for arg in args if isinstance(arg, Value)])
        elif value.op in _RULES:
            done[value] = _RULES[value.op](value, [_pair(arg) for arg in args])
        else:
            raise NoRealForm(f"{value.op} of complex numbers")
    return done


def _leaf(value: Value) -> Value | Pair:
    if value.kind is not Kind.COMPLEX:
        return value
    match value.op, dict(value.attrs):
        case "state", {"name": name, "axis": axis}:
            return Pair(*(ops.state(f"{name}.{part}", str(axis), value.shape, Kind.FLOAT) for part in ("re", "im")))
        case "const", {"value": complex() as known}:
            return Pair(ops.const(known.real), ops.const(known.imag))
        case ("input" | "param"), _:
            return Pair(unary("re", value), unary("im", value))
    raise NoRealForm(f"a complex {value.op} array")


def _pair(operand: Value | Pair) -> Pair:
    match operand:
        case Pair():
            return operand
        case Value():
            real = build.cast(operand, Kind.FLOAT) if operand.kind is not Kind.BOOL else operand
            return Pair(real, ZERO)


Rule = Callable[[Value, list[Pair]], Value | Pair]


def _each(value: Value, args: list[Pair]) -> Pair:
    """Operations that move elements or add them up work on each part."""
    attrs = dict(value.attrs)
    re = ops.apply(value.op, *(arg.re for arg in args), **attrs)
    if all(arg.im is ZERO for arg in args):
        return Pair(re, ZERO)
    return Pair(re, ops.apply(value.op, *(build.full(arg.re.shape, arg.im) for arg in args), **attrs))


def _plus(x: Value, y: Value) -> Value:
    """The sum of two imaginary parts."""
    return y if x is ZERO else x if y is ZERO else add(x, y)


def _minus(x: Value, y: Value) -> Value:
    return x if y is ZERO else neg(y) if x is ZERO else sub(x, y)


def _product_of(multiply: Callable[[Value, Value], Value], x: Pair, y: Pair) -> Pair:
    """(a + bi)(c + di) = ac - bd + (ad + bc)i for any bilinear product."""

    re = multiply(x.re, y.re)
    if ZERO not in (x.im, y.im):
        re = sub(re, multiply(x.im, y.im))
    left = ZERO if y.im is ZERO else multiply(x.re, y.im)
    right = ZERO if x.im is ZERO else multiply(x.im, y.re)
    return Pair(re, _plus(left, right))


def _times(x: Pair, y: Pair) -> Pair:
    return _product_of(mul, x, y)


def _over(x: Pair, y: Pair) -> Pair:
    if y.im is ZERO:
        return Pair(div(x.re, y.re), ZERO if x.im is ZERO else div(x.im, y.re))
    square = add(mul(y.re, y.re), mul(y.im, y.im))
    over = _times(x, Pair(y.re, neg(y.im)))
    return Pair(div(over.re, square), div(over.im, square))


def _product(value: Value, args: list[Pair]) -> Pair:
    return _times(*args)


def _quotient(value: Value, args: list[Pair]) -> Pair:
    return _over(*args)


def _modulus(z: Pair) -> Value:
    """sqrt(re^2 + im^2), the larger part taken out so that no square overflows."""
    a, b = unary("abs", z.re), unary("abs", z.im)
    large, small = build.binary("max", a, b), build.binary("min", a, b)
    ratio = where(build.binary("gt", large, 0), div(small, large), 0)
    return mul(large, unary("sqrt", add(1, mul(ratio, ratio))))


def _exp(value: Value, args: list[Pair]) -> Pair:
    (z,) = args
    size = unary("exp", z.re)
    return Pair(mul(size, unary("cos", z.im)), mul(size, unary("sin", z.im)))


def _cis(value: Value, args: list[Pair]) -> Pair:
    (z,) = args
    return Pair(unary("cos", z.re), unary("sin", z.re))


def _log(value: Value, args: list[Pair]) -> Pair:
    (z,) = args
    return Pair(unary("log", _modulus(z)), build.binary("atan2", z.im, z.re))


def _sqrt(value: Value, args: list[Pair]) -> Pair:
    """The root with a real part of at least 0."""
    (z,) = args
    half = unary("sqrt", div(add(_modulus(z), unary("abs", z.re)), 2))
    other = where(build.binary("gt", half, 0), div(z.im, mul(2, half)), 0)
    right = build.binary("ge", z.re, 0)
    signed = where(build.binary("lt", z.im, 0), neg(half), half)
    return Pair(where(right, half, unary("abs", other)), where(right, other, signed))


def _where(value: Value, args: list[Pair]) -> Pair:
    condition, x, y = args
    return Pair(where(condition.re, x.re, y.re), where(condition.re, x.im, y.im))


def _einsum(value: Value, args: list[Pair]) -> Pair:
    spec = str(value.attr("spec"))
    match args:
        case [_]:
            return _each(value, args)
        case [x, y]:
            return _product_of(lambda p, q: ops.apply("einsum", p, q, spec=spec), x, y)
    raise NoRealForm(f"einsum of {len(args)} complex operands")


def _equal(value: Value, args: list[Pair]) -> Value:
    x, y = args
    joined = "and" if value.op == "eq" else "or"
    return build.binary(joined, build.binary(value.op, x.re, y.re), build.binary(value.op, x.im, y.im))


def _cast(value: Value, args: list[Pair]) -> Value | Pair:
    (z,) = args
    if value.kind is Kind.COMPLEX:
        return Pair(build.cast(z.re, Kind.FLOAT), z.im)
    if value.kind is Kind.BOOL:
        return build.binary("or", build.binary("ne", z.re, 0), build.binary("ne", z.im, 0))
    return build.cast(z.re, value.kind)


def _sum(value: Value, args: list[Pair]) -> Pair:
    x, y = args
    return Pair(add(x.re, y.re), _plus(x.im, y.im))


def _difference(value: Value, args: list[Pair]) -> Pair:
    x, y = args
    return Pair(sub(x.re, y.re), _minus(x.im, y.im))


def _negative(value: Value, args: list[Pair]) -> Pair:
    (z,) = args
    return Pair(neg(z.re), _minus(ZERO, z.im))


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("transpose", "reshape", "expand", "slice", "select", "flip", "concat", "reduce_sum"), _each),
    "stopgrad": _each,
    "add": _sum,
    "sub": _difference,
    "neg": _negative,
    "mul": _product,
    "div": _quotient,
    "exp": _exp,
    "cis": _cis,
    "log": _log,
    "sqrt": _sqrt,
    "where": _where,
    "einsum": _einsum,
    "eq": _equal,
    "ne": _equal,
    "cast": _cast,
    "conj": lambda v, args: Pair(args[0].re, _minus(ZERO, args[0].im)),
    "re": lambda v, args: args[0].re,
    "im": lambda v, args: build.full(v.shape, args[0].im),
    "abs": lambda v, args: _modulus(args[0]),
    "arg": lambda v, args: build.binary("atan2", args[0].im, args[0].re),
}
