"""Values under construction: Python's operators build the graph.

A `Traced` stands for a value of a step.  Operators and functions on it apply the same builders as program text does, so
the same formula gives the same graph; numbers and (nested lists of) constants may stand where a value is expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import copysign, isfinite
from types import EllipsisType
from typing import TypeVar, Union

import numpy as np
import numpy.typing as npt

from lsrl.elaborate.body import FOLDING
from lsrl.elaborate.terms import size_in
from lsrl.ir import build, ops
from lsrl.ir.build import Diag
from lsrl.ir.dims import Dim, DimError, Shape
from lsrl.ir.fault import Fault, Refusal
from lsrl.ir.text_line import TextError, parse_dim
from lsrl.ir.value import Attr, Kind, Value

T = TypeVar("T")
Number = bool | int | float | complex | Fraction
Operand = Union["Traced", Number, Dim, npt.NDArray[np.generic], np.generic, Sequence["Operand"]]
SizeLike = Union[int, str, Dim, "Traced"]
Index = Union[int, slice, EllipsisType, "Traced", Dim]


class TraceError(Refusal):
    """Operands that do not fit, or a use of traced values that has no meaning."""


class Traced:
    """A value of the step that is being built.

    `+ - * / // % ** @`, comparisons (which are traced too), `& | ^ ~` for truth values, indices and slices, `.T`.
    Element-wise operands have equal shapes, or one is a scalar.
    """

    __array_ufunc__ = None  # NumPy leaves `array * traced` to this class

    def __init__(self, known: Value | Diag) -> None:
        self._known = known

    @property
    def term(self) -> Value | Diag:
        """The value in the graph, or the vector of a diagonal matrix."""
        return self._known

    @property
    def value(self) -> Value:
        """The value in the graph; a diagonal matrix is written out."""
        return build.value(self.term)

    @property
    def shape(self) -> Shape:
        return self.value.shape

    @property
    def kind(self) -> Kind:
        return self.value.kind

    @property
    def T(self) -> Traced:
        """The axes in reverse order."""
        return made(lambda: build.transpose(self.term))

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"

    def __bool__(self) -> bool:
        raise TraceError("a traced value has no truth value while the program is built; use where(condition, a, b)")

    def __iter__(self) -> Iterator[Traced]:
        length = self.shape[0].constant if self.shape else None
        if length is None:
            raise TraceError(f"{self!r} has no number of elements to go through; use split(x, parts)")
        return (self[place] for place in range(length))

    def __getitem__(self, items: Index | tuple[Index, ...]) -> Traced:
        return made(lambda: _indexed(self.value, items if isinstance(items, tuple) else (items,)))

    def __neg__(self) -> Traced:
        return made(lambda: Diag(build.neg(t.vector)) if isinstance(t := self.term, Diag) else build.neg(t))

    def __pos__(self) -> Traced:
        return self

    def __abs__(self) -> Traced:
        return apply("abs", self)

    def __invert__(self) -> Traced:
        return apply("not", self)

    def __add__(self, other: Operand) -> Traced:
        return apply("add", self, other)

    def __radd__(self, other: Operand) -> Traced:
        return apply("add", other, self)

    def __sub__(self, other: Operand) -> Traced:
        return apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Traced:
        return apply("sub", other, self)

    def __mul__(self, other: Operand) -> Traced:
        return apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Traced:
        return apply("mul", other, self)

    def __truediv__(self, other: Operand) -> Traced:
        return apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Traced:
        return apply("div", other, self)

    def __floordiv__(self, other: Operand) -> Traced:
        return apply("floordiv", self, other)

    def __rfloordiv__(self, other: Operand) -> Traced:
        return apply("floordiv", other, self)

    def __mod__(self, other: Operand) -> Traced:
        return apply("mod", self, other)

    def __rmod__(self, other: Operand) -> Traced:
        return apply("mod", other, self)

    def __pow__(self, other: Operand) -> Traced:
        return apply("pow", self, other)

    def __rpow__(self, other: Operand) -> Traced:
        return apply("pow", other, self)

    def __matmul__(self, other: Operand) -> Traced:
        return made(lambda: build.matmul(self.term, term(other)))

    def __rmatmul__(self, other: Operand) -> Traced:
        return made(lambda: build.matmul(term(other), self.term))

    def __and__(self, other: Operand) -> Traced:
        return apply("and", self, other)

    def __rand__(self, other: Operand) -> Traced:
        return apply("and", other, self)

    def __or__(self, other: Operand) -> Traced:
        return apply("or", self, other)

    def __ror__(self, other: Operand) -> Traced:
        return apply("or", other, self)

    def __xor__(self, other: Operand) -> Traced:
        return apply("xor", self, other)

    def __rxor__(self, other: Operand) -> Traced:
        return apply("xor", other, self)

    def __lt__(self, other: Operand) -> Traced:
        return apply("lt", self, other)

    def __le__(self, other: Operand) -> Traced:
        return apply("le", self, other)

    def __gt__(self, other: Operand) -> Traced:
        return apply("gt", self, other)

    def __ge__(self, other: Operand) -> Traced:
        return apply("ge", self, other)

    def __eq__(self, other: Operand) -> Traced:  # type: ignore[override]  # a comparison in the program
        return apply("eq", self, other)

    def __ne__(self, other: Operand) -> Traced:  # type: ignore[override]
        return apply("ne", self, other)

    __hash__ = object.__hash__


def made(build_it: Callable[[], Value | Diag]) -> Traced:
    """What a builder gives, folded where it is constant.

    Raises:
        TraceError: the operands do not fit; the message says what was found, expected and probably meant.
    """
    result = attempt(build_it)
    if isinstance(result, Value):
        for law in FOLDING:
            result = law(result) or result
    return Traced(result)


def attempt(build_it: Callable[[], T]) -> T:
    """What a builder gives, or a TraceError that says in words what is wrong."""
    try:
        return build_it()
    except Fault as fault:
        raise TraceError(described(fault)) from fault
    except (DimError, TextError) as error:
        raise TraceError(str(error)) from error


def described(fault: Fault) -> str:
    """A fault in one line."""
    parts = [f"found {fault.found}" if fault.found else "", f"expected {fault.expected}" if fault.expected else ""]
    details = ", ".join(part for part in parts if part)
    return fault.message + (f": {details}" if details else "") + (f"; {fault.remedy}" if fault.remedy else "")


def apply(op: str, *operands: Operand) -> Traced:
    """An operation without attributes."""
    return made(lambda: ops.apply(op, *(value(operand) for operand in operands)))


def value(operand: Operand) -> Value:
    """The value that an operand stands for."""
    return build.value(term(operand))


def term(operand: Operand) -> Value | Diag:
    """The value, or the diagonal matrix, that an operand stands for.

    A decimal is read as it is written: 0.1 is one tenth, as in program text.
    """
    match operand:
        case Traced():
            return operand.term
        case Dim():
            return ops.size(operand)
        case bool() | int() | Fraction() | complex():
            return ops.const(operand)
        case float():
            exact = isfinite(operand) and (operand != 0 or copysign(1, operand) > 0)
            return ops.const(Fraction(repr(operand)) if exact else operand)
        case np.ndarray() | np.generic():
            return term(operand.tolist())
        case Sequence() if not isinstance(operand, str):
            return _array([value(item) for item in operand])
    raise TraceError(f"{operand!r} is no value")


def size(like: SizeLike) -> Dim:
    """A size: a number, `"2*H"`, a dim, or a traced size."""
    match like:
        case int() | Dim():
            return Dim.of(like)
        case str():
            return parse_dim(like)
        case Traced():
            found = size_in(like.value)
            if found is not None:
                return found
    raise TraceError(f"{like!r} is no size: whole numbers and expressions of the cell's sizes are")


def _array(items: list[Value]) -> Value:
    """Numbers make a constant, anything else is stacked."""
    if all(item.op == "const" and item.attr("value") != "pi" for item in items):
        rows: tuple[Attr, ...] = tuple(item.attr("value") for item in items)
        return ops.const(rows)
    return build.stack(items)


def _indexed(array: Value, items: tuple[Index, ...]) -> Value:
    """One index after the other, each on the axis that it comes to."""
    at = next((place for place, item in enumerate(items) if item is Ellipsis), len(items))
    skipped = array.rank - (len(items) - (at < len(items)))
    if skipped < 0:
        raise TraceError(f"{len(items)} indices for an array of {array.rank} axes")
    axis = 0
    for item in (*items[:at], *[slice(None)] * skipped, *items[at + 1 :]):
        match item:
            case slice():
                start, stop = (size(bound) if bound is not None else None for bound in (item.start, item.stop))
                array = build.slice_(array, start, stop, axis, item.step if item.step is not None else 1)
                axis += 1
            case Traced() if size_in(item.value) is None:
                array = build.gather(array, item.value, axis)
                axis += item.value.rank
            case int() | Dim() | Traced():
                array = build.select(array, size(item), axis)
    return array
