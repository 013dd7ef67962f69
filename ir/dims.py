"""Sizes of axes as exact symbolic expressions.

A `Dim` is a polynomial with rational coefficients over atoms.  An atom is the name of a size (`H`) or an opaque
operation (`H // 2`, `H % 2`, `H / K`) whose operands are again dims.  The form is canonical: two dims are equal
exactly when they are the same polynomial, so `2 * H` and `H + H` agree while `H` and `D` never do, not even when
both happen to be 64.  Shapes are tuples of dims; numbers come in only when a program is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import prod
from typing import Union

from lsrl.ir.fault import Refusal

Atom = Union[str, "Opaque"]
Monomial = tuple[tuple[Atom, int], ...]
DimLike = Union["Dim", int, str]
Shape = tuple["Dim", ...]

LARGEST_POWER = 64


class DimError(Refusal):
    """A size expression that has no meaning: a division that leaves a remainder, a negative size, an unknown name."""


@dataclass(frozen=True)
class Opaque:
    """An operation on dims that no polynomial expresses: `//`, `%` or the exact `/`."""

    op: str
    left: Dim
    right: Dim

    def __str__(self) -> str:
        return f"{_wrapped(self.left)} {self.op} {_wrapped(self.right)}"


@dataclass(frozen=True)
class Dim:
    """A sum of `coefficient * monomial`, sorted, without zero coefficients."""

    terms: tuple[tuple[Monomial, Fraction], ...]

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    @staticmethod
    def of(value: DimLike) -> Dim:
        """The dim of a number, of a size's name, or of a dim."""
        match value:
            case Dim():
                return value
            case int():
                return _number_dim(int(value))
            case str():
                return _collect([(((value, 1),), Fraction(1))])

    @property
    def constant(self) -> int | None:
        """The number this dim is whatever the sizes are, or None."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and self.terms[0][0] == () and self.terms[0][1].denominator == 1:
            return int(self.terms[0][1])
        return None

    @property
    def names(self) -> frozenset[str]:
        """The sizes this dim depends on."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom, _power in monomial:
                found |= {atom} if isinstance(atom, str) else atom.left.names | atom.right.names
        return frozenset(found)

    def __add__(self, other: DimLike) -> Dim:
        added = Dim.of(other)
        if not added.terms or not self.terms:
            return self if self.terms else added
        return _collect([*self.terms, *added.terms])

    def __radd__(self, other: DimLike) -> Dim:
        return Dim.of(other) + self

    def __neg__(self) -> Dim:
        return _collect([(monomial, -factor) for monomial, factor in self.terms])

    def __sub__(self, other: DimLike) -> Dim:
        return self + (-Dim.of(other))

    def __rsub__(self, other: DimLike) -> Dim:
        return Dim.of(other) - self

    def __mul__(self, other: DimLike) -> Dim:
        factor = Dim.of(other)
        if factor is ONE or self is ONE:
            return self if factor is ONE else factor
        pairs = ((a, b) for a in self.terms for b in factor.terms)
        products = [(_multiply(a[0], b[0]), a[1] * b[1]) for a, b in pairs]
        return _collect(term for product in products for term in _cancelled(*product))

    def __rmul__(self, other: DimLike) -> Dim:
        return Dim.of(other) * self

    def __pow__(self, power: int) -> Dim:
        if not 0 <= power <= LARGEST_POWER:
            raise DimError(f"the power {power} of a size is outside 0..{LARGEST_POWER}")
        result = Dim.of(1)
        for _ in range(power):
            result = result * self
        return result

    def __truediv__(self, other: DimLike) -> Dim:
        """Exact division: whoever gives the sizes must make it come out even."""
        divisor = Dim.of(other)
        if not divisor.terms:
            raise DimError("division of a size by zero")
        if len(divisor.terms) == 1:
            quotient = _divided(self, *divisor.terms[0])
            if quotient is not None:
                return quotient
        return Dim.of(1) if self == divisor else _opaque("/", self, divisor)

    def __floordiv__(self, other: DimLike) -> Dim:
        divisor = Dim.of(other)
        if self.constant is not None and divisor.constant:
            return Dim.of(self.constant // divisor.constant)
        if not divisor.terms:
            raise DimError("division of a size by zero")
        if divisor.constant == 1:
            return self  # whatever it is an exact part of
        exact = self / divisor
        if _integral(exact):
            return exact
        whole = _multiples(self, divisor)
        if not whole.terms:
            return _opaque("//", self, divisor)
        return whole / divisor + (self - whole) // divisor  # (2*H + 1) // 2 is H

    def __mod__(self, other: DimLike) -> Dim:
        divisor = Dim.of(other)
        if self.constant is not None and divisor.constant:
            return Dim.of(self.constant % divisor.constant)
        if not divisor.terms:
            raise DimError("division of a size by zero")
        if _integral(self / divisor):
            return Dim.of(0)
        whole = _multiples(self, divisor)
        return (self - whole) % divisor if whole.terms else _opaque("%", self, divisor)

    def substitute(self, sizes: Mapping[str, DimLike]) -> Dim:
        """This dim with sizes replaced by other dims."""
        total = Dim.of(0)
        for monomial, factor in self.terms:
            term = Dim((((), factor),))
            for atom, power in monomial:
                term = term * _replaced(atom, sizes) ** power
            total = total + term
        return total

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The number this dim is under `sizes`; DimError when a name is missing or a division leaves a remainder."""
        number = self.constant
        if number is not None:
            return number
        parts = (factor * prod(_number(a, sizes) ** p for a, p in monomial) for monomial, factor in self.terms)
        total = sum(parts, Fraction(0))
        if total.denominator != 1:
            raise DimError(f"the size {self} is {total}, not a whole number, for {_shown(self.names, sizes)}")
        return int(total)

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        text = ""
        for position, (monomial, factor) in enumerate(self.terms):
            sign = "-" if factor < 0 else "+"
            term = _term_text(monomial, abs(factor))
            text = (("-" if factor < 0 else "") + term) if position == 0 else f"{text} {sign} {term}"
        return text

    def __repr__(self) -> str:
        return f"Dim({self})"


@lru_cache(maxsize=4096)
def _number_dim(number: int) -> Dim:
    return Dim((((), Fraction(number)),) if number else ())


ONE = Dim.of(1)


def shape_of(*dims: DimLike) -> Shape:
    """A shape from numbers, names and dims."""
    return tuple(Dim.of(d) for d in dims)


def shape_text(shape: Iterable[Dim]) -> str:
    """`[H, 2*D]`"""
    return "[" + ", ".join(str(d) for d in shape) + "]"


def count(shape: Iterable[Dim]) -> Dim:
    """The number of elements of a shape."""
    total = Dim.of(1)
    for dim in shape:
        total = total * dim
    return total


def _collect(terms: Iterable[tuple[Monomial, Fraction]]) -> Dim:
    sums: dict[Monomial, Fraction] = {}
    for monomial, factor in terms:
        sums[monomial] = sums.get(monomial, Fraction(0)) + factor
    kept = [(monomial, factor) for monomial, factor in sums.items() if factor != 0]
    return Dim(tuple(sorted(kept, key=_order)))


def _order(term: tuple[Monomial, Fraction]) -> tuple[int, str]:
    monomial = term[0]
    degree = sum(power for _, power in monomial)
    return (-degree, " ".join(f"{atom}^{power}" for atom, power in monomial))


def _multiply(left: Monomial, right: Monomial) -> Monomial:
    powers: dict[Atom, int] = {}
    for atom, power in (*left, *right):
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _cancelled(monomial: Monomial, factor: Fraction) -> tuple[tuple[Monomial, Fraction], ...]:
    """A product without the exact divisions that it undoes: `G * (H / G)` is H."""
    for atom, power in monomial:
        if isinstance(atom, Opaque) and atom.op == "/" and len(atom.right.terms) == 1:
            others = tuple((a, p - (a == atom)) for a, p in monomial if a != atom or power > 1)
            quotient = _divided(Dim(((others, factor),)), *atom.right.terms[0])
            if quotient is not None:
                return (quotient * atom.left).terms
    return ((monomial, factor),)


def _divided(dim: Dim, monomial: Monomial, factor: Fraction) -> Dim | None:
    terms = []
    for own, own_factor in dim.terms:
        powers = dict(own)
        for atom, power in monomial:
            powers[atom] = powers.get(atom, 0) - power
        if min(powers.values(), default=0) < 0:
            return None
        kept = tuple(sorted(((a, p) for a, p in powers.items() if p), key=lambda item: str(item[0])))
        terms.append((kept, own_factor / factor))
    return _collect(terms)


def _opaque(op: str, left: Dim, right: Dim) -> Dim:
    return _collect([(((Opaque(op, left, right), 1),), Fraction(1))])


def _multiples(dim: Dim, divisor: Dim) -> Dim:
    """The terms that are multiples of a number."""
    return Dim(tuple(term for term in dim.terms if divisor.constant and _integral(Dim((term,)) / divisor)))


def _integral(dim: Dim) -> bool:
    return all(
        factor.denominator == 1 and all(isinstance(a, str) or a.op != "/" for a, _ in monomial)
        for monomial, factor in dim.terms
    )


def _replaced(atom: Atom, sizes: Mapping[str, DimLike]) -> Dim:
    match atom:
        case str():
            return Dim.of(sizes.get(atom, atom))
        case Opaque(op, left, right):
            return _apply(op, left.substitute(sizes), right.substitute(sizes))


def _apply(op: str, left: Dim, right: Dim) -> Dim:
    match op:
        case "/":
            return left / right
        case "//":
            return left // right
        case _:
            return left % right


def _number(atom: Atom, sizes: Mapping[str, int]) -> int:
    match atom:
        case str():
            if atom not in sizes:
                raise DimError(f"the size {atom} has no value")
            return sizes[atom]
        case Opaque(op, left, right):
            a, b = left.evaluate(sizes), right.evaluate(sizes)
            if b == 0:
                raise DimError(f"{atom} divides by zero")
            if op == "/" and a % b:
                raise DimError(f"{atom} is {a} / {b}, not a whole number")
            return a % b if op == "%" else a // b


def _shown(names: Iterable[str], sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={sizes.get(name, '?')}" for name in sorted(names))


def _term_text(monomial: Monomial, factor: Fraction) -> str:
    powers = [
        "*".join([_atom_text(atom)] * power) if power <= 2 else f"{_atom_text(atom)}**{power}"
        for atom, power in monomial
    ]
    parts = powers if factor.numerator == 1 and powers else [str(factor.numerator), *powers]
    text = "*".join(parts)
    return text if factor.denominator == 1 else f"{text}/{factor.denominator}"


def _atom_text(atom: Atom) -> str:
    return atom if isinstance(atom, str) else f"({atom})"


def _wrapped(dim: Dim) -> str:
    text = str(dim)
    return text if text.isidentifier() or text.isdigit() else f"({text})"
