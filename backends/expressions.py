"""Python expressions as text with a binding strength, so that brackets appear exactly where they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from math import copysign, inf, isfinite, lcm

from lsrl.ir.dims import Atom, Dim, Shape


class Binding(IntEnum):
    """How strongly an expression's outermost operator binds, from loose to tight."""

    TERNARY = 0
    OR = 1
    AND = 2
    NOT = 3
    COMPARISON = 4
    BIT_OR = 5
    BIT_XOR = 6
    BIT_AND = 7
    SUM = 8
    PRODUCT = 9
    SIGN = 10
    POWER = 11
    ATOM = 12


@dataclass(frozen=True, slots=True)
class Code:
    """An expression's text and its outermost operator's binding."""

    text: str
    binding: Binding = Binding.ATOM

    def at(self, binding: Binding) -> str:
        """The text, in brackets when something that binds as `binding` would tear it apart."""
        return self.text if self.binding >= binding else f"({self.text})"

    def __str__(self) -> str:
        return self.text


_OPERATORS: Mapping[str, Binding] = {
    "+": Binding.SUM,
    "-": Binding.SUM,
    "*": Binding.PRODUCT,
    "/": Binding.PRODUCT,
    "//": Binding.PRODUCT,
    "%": Binding.PRODUCT,
    "@": Binding.PRODUCT,
    "&": Binding.BIT_AND,
    "^": Binding.BIT_XOR,
    "|": Binding.BIT_OR,
    "<": Binding.COMPARISON,
    "<=": Binding.COMPARISON,
    ">": Binding.COMPARISON,
    ">=": Binding.COMPARISON,
    "==": Binding.COMPARISON,
    "!=": Binding.COMPARISON,
}


def infix(operator: str, left: Code, right: Code) -> Code:
    """`left operator right`.  Brackets keep the order of evaluation: floating point sums do not reassociate."""
    if operator == "**":
        return Code(f"{left.at(Binding.ATOM)} ** {right.at(Binding.SIGN)}", Binding.POWER)
    binding = _OPERATORS[operator]
    tighter = Binding(binding + 1)
    first = left.at(tighter if binding is Binding.COMPARISON else binding)
    return Code(f"{first} {operator} {right.at(tighter)}", binding)


def prefix(operator: str, operand: Code) -> Code:
    """`-x`, `~x`.  The sign of a product or quotient is that of its first factor, to the last bit."""
    if operator == "-" and operand.binding is Binding.PRODUCT and not re.search("//|%", operand.text):
        return Code(f"-{operand.text}", Binding.PRODUCT)
    return Code(f"{operator}{operand.at(Binding.SIGN)}", Binding.SIGN)


def call(function: str, *operands: object, **options: object) -> Code:
    """`function(operands, name=option)`."""
    parts = [str(operand) for operand in operands] + [f"{name}={option}" for name, option in options.items()]
    return Code(f"{function}({', '.join(parts)})")


def attribute(operand: Code, name: str) -> Code:
    """`operand.name`."""
    return Code(f"{operand.at(Binding.ATOM)}.{name}")


def method(operand: Code, name: str, *arguments: object) -> Code:
    """`operand.name(arguments)`."""
    return Code(f"{attribute(operand, name)}({', '.join(str(a) for a in arguments)})")


def subscript(operand: Code, index: str) -> Code:
    """`operand[index]`."""
    return Code(f"{operand.at(Binding.ATOM)}[{index}]")


def grouped(parts: Sequence[str], empty: str = "()") -> str:
    """One thing itself, several in brackets."""
    if len(parts) == 1:
        return parts[0]
    return f"({', '.join(parts)})" if parts else empty


def tupled(parts: Sequence[str]) -> str:
    """A tuple of any number of things."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def number(value: bool | int | float | complex | Fraction) -> Code:
    """A literal that is read back as the same number; a fraction that no short decimal names stays a division."""
    match value:
        case Fraction() if isfinite(nearest(value)) and Fraction(repr(nearest(value))) != value:
            return infix("/", number(value.numerator), number(value.denominator))
        case Fraction():
            return number(nearest(value))
        case complex() if copysign(1, value.real) > 0 and value.real == 0 and isfinite(value.imag):
            return _signed(f"{value.imag!r}j")
        case complex():
            return call("complex", number(value.real), number(value.imag))
        case float() if not isfinite(value):
            return _signed(repr(value).replace("inf", "math.inf").replace("nan", "math.nan"))
        case _:
            return _signed(repr(value))


def nearest(value: Fraction) -> float:
    """The float next to a fraction, infinite beyond the largest one."""
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def _signed(text: str) -> Code:
    return Code(text, Binding.SIGN if text.startswith("-") else Binding.ATOM)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a language writes what sizes are made with.

    Attributes:
        quotient: the operator of whole quotients.
        power: a small whole power.
    """

    quotient: str
    power: Callable[[Code, int], Code]


PYTHON = Arithmetic("//", lambda base, power: infix("**", base, Code(str(power))))


def dim_code(dim: Dim, sizes: Mapping[str, str], arithmetic: Arithmetic = PYTHON) -> Code:
    """A size as arithmetic on ints; `sizes` gives the identifier of every size."""
    divisor = lcm(*(factor.denominator for _, factor in dim.terms)) if dim.terms else 1
    whole = Code("0")
    for position, (monomial, factor) in enumerate(dim.terms):
        scaled = int(factor * divisor)
        term = _monomial(monomial, abs(scaled), sizes, arithmetic)
        if position == 0:
            whole = prefix("-", term) if scaled < 0 else term
        else:
            whole = infix("-" if scaled < 0 else "+", whole, term)
    return infix(arithmetic.quotient, whole, Code(str(divisor))) if divisor != 1 else whole


def shape_code(shape: Shape, sizes: Mapping[str, str], before: tuple[str, ...] = ()) -> str:
    """A shape as a tuple: `(batch, H, 2 * D)`."""
    parts = [*before, *(str(dim_code(dim, sizes)) for dim in shape)]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _monomial(
    monomial: tuple[tuple[Atom, int], ...], factor: int, sizes: Mapping[str, str], arithmetic: Arithmetic
) -> Code:
    code = Code(str(factor)) if factor != 1 or not monomial else None
    for atom, power in monomial:
        base = _atom(atom, sizes, arithmetic)
        part = base if power == 1 else arithmetic.power(base, power)
        code = part if code is None else infix("*", code, part)
    assert code is not None
    return code


def _atom(atom: Atom, sizes: Mapping[str, str], arithmetic: Arithmetic) -> Code:
    match atom:
        case str():
            return Code(sizes[atom])
        case _:
            operator = arithmetic.quotient if atom.op == "/" else atom.op.replace("//", arithmetic.quotient)
            left, right = (dim_code(side, sizes, arithmetic) for side in (atom.left, atom.right))
            return infix(operator, left, right)
