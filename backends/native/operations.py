"""How each element-wise operation is written in C: one row per operation.

Functions with an underscore at the end, and those of two words, are the project's own (`backends/native/c`): they are
exact to a few units in the last place, know every special value, and vectorise, which those of the C library do not.
An operation without a row sends its loop to plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lsrl.backends.expressions import Binding, Code, call, infix, prefix
from lsrl.ir.infer import promote
from lsrl.ir.value import Kind, Value

LARGEST_POWER = 8
TYPES: Mapping[Kind, str] = {Kind.FLOAT: "real", Kind.INT: "int64_t", Kind.BOOL: "bool"}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a value, as an expression of the type that its kind has.

    Attributes:
        value: whose element it is.
        literal: it is written as a number, which has no type of its own.
    """

    value: Value
    code: Code
    literal: bool = False

    @property
    def kind(self) -> Kind:
        return self.value.kind

    def of(self, kind: Kind) -> Code:
        """The element as one of another kind."""
        if self.kind is kind or (self.literal and kind is not Kind.BOOL):
            return self.code
        if kind is Kind.BOOL:
            return _truth(infix("!=", self.code, Code("0")))
        return cast(TYPES[kind], self.code)


Printer = Callable[[Value, Sequence[Element]], Code]


def cast(type_: str, code: Code) -> Code:
    """`(real)x`"""
    return Code(f"({type_}){code.at(Binding.ATOM)}", Binding.SIGN)


def _truth(code: Code) -> Code:
    """C binds comparisons tighter than Python's bit operators do, so what is true or false goes in brackets."""
    return Code(f"({code.text})")


def _unary(name: str, whole: str = "") -> Printer:
    """A function of one element; `whole` is its name for whole numbers."""

    def printer(value: Value, operands: Sequence[Element]) -> Code:
        name_ = whole if whole and value.kind is Kind.INT else name
        return call(name_, operands[0].of(value.kind))

    return printer


def _binary(name: str, whole: str = "") -> Printer:
    def printer(value: Value, operands: Sequence[Element]) -> Code:
        name_ = whole if whole and value.kind is Kind.INT else name
        return call(name_, *(operand.of(value.kind) for operand in operands))

    return printer


def _operator(operator: str) -> Printer:
    def printer(value: Value, operands: Sequence[Element]) -> Code:
        left, right = (operand.of(value.kind) for operand in operands)
        return infix(operator, left, right)

    return printer


def _comparison(operator: str) -> Printer:
    def printer(value: Value, operands: Sequence[Element]) -> Code:
        kind = promote([operand.kind for operand in operands])
        left, right = (operand.of(kind) for operand in operands)
        return _truth(infix(operator, left, right))

    return printer


def _logical(operator: str) -> Printer:
    """Both sides are cheap and without effect, so no branch is asked for."""

    def printer(value: Value, operands: Sequence[Element]) -> Code:
        left, right = (operand.code.at(Binding.ATOM) for operand in operands)
        return Code(f"({left} {operator} {right})")

    return printer


def _not(value: Value, operands: Sequence[Element]) -> Code:
    return Code(f"!{operands[0].code.at(Binding.ATOM)}", Binding.SIGN)


def _minus(value: Value, operands: Sequence[Element]) -> Code:
    return prefix("-", operands[0].of(value.kind))


def _rounding(name: str) -> Printer:
    """Whole numbers are what they are rounded to."""

    def printer(value: Value, operands: Sequence[Element]) -> Code:
        code = operands[0].of(value.kind)
        return code if value.kind is Kind.INT else call(name, code)

    return printer


def _power(value: Value, operands: Sequence[Element]) -> Code:
    """A small whole exponent multiplies."""
    base, exponent = operands
    number = exponent.value.attr("value") if exponent.value.op == "const" and not exponent.value.rank else None
    if isinstance(number, int | Fraction) and number == int(number) and 1 <= number <= LARGEST_POWER:
        return call("power_int", base.of(value.kind), int(number))
    return call("power", base.of(value.kind), exponent.of(value.kind))


def _where(value: Value, operands: Sequence[Element]) -> Code:
    condition, yes, no = operands
    chosen = f"{condition.code.at(Binding.ATOM)} ? {yes.of(value.kind)} : {no.of(value.kind)}"
    return Code(f"({chosen})")


def _cast(value: Value, operands: Sequence[Element]) -> Code:
    (operand,) = operands
    return cast(TYPES[value.kind], operand.code) if operand.literal else operand.of(value.kind)


def _same(value: Value, operands: Sequence[Element]) -> Code:
    return operands[0].of(value.kind)


def _nothing(value: Value, operands: Sequence[Element]) -> Code:
    """The imaginary part of a real number."""
    return Code("0")


def _angle(value: Value, operands: Sequence[Element]) -> Code:
    """The angle of a real number."""
    return call("atan2_", "(real)0", operands[0].of(Kind.FLOAT))


def _product(value: Value, operands: Sequence[Element]) -> Code:
    """A product of elements that nothing sums."""
    whole = operands[0].of(value.kind)
    for operand in operands[1:]:
        whole = infix("*", whole, operand.of(value.kind))
    return whole


_FUNCTIONS = ("exp", "log", "sqrt", "rsqrt", "sin", "cos", "tan", "tanh", "expm1", "log1p", "erf")
_GATES = ("sigmoid", "softplus", "logsigmoid", "silu", "gelu")

PRINTERS: Mapping[str, Printer] = {
    **{name: _unary(f"{name}_") for name in (*_FUNCTIONS, *_GATES)},
    "relu": _unary("relu_", "relu_int"),
    "sign": _unary("sign_", "sign_int"),
    "abs": _unary("abs_", "abs_int"),
    "neg": _minus,
    "floor": _rounding("floor_"),
    "ceil": _rounding("ceil_"),
    "round": _rounding("round_"),
    "re": _same,
    "arg": _angle,
    "im": _nothing,
    "conj": _same,
    "stopgrad": _same,
    "cast": _cast,
    "add": _operator("+"),
    "sub": _operator("-"),
    "mul": _operator("*"),
    "div": _operator("/"),
    "mod": _binary("remainder_", "remainder_int"),
    "floordiv": _binary("floor_divide", "floor_divide_int"),
    "pow": _power,
    "max": _binary("maximum", "maximum_int"),
    "min": _binary("minimum", "minimum_int"),
    "logaddexp": _binary("logaddexp"),
    "atan2": _binary("atan2_"),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "and": _logical("&"),
    "or": _logical("|"),
    "xor": _logical("^"),
    "not": _not,
    "where": _where,
    "einsum": _product,
    "reduce_sum": _same,  # over no axis
}
