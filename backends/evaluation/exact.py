"""Evaluation in rational numbers: arrays of `fractions.Fraction` for floats, and no rounding anywhere.

Only the rational fragment can be evaluated so: arithmetic, comparisons, choices, layouts and sums.  Whole numbers stay
int64 and truth values bool, as everywhere.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.elementwise import aligned
from lsrl.backends.evaluation.scope import Kernel, Scope
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.fold import exact
from lsrl.ir.ops import LEAVES
from lsrl.ir.value import Attr, Kind, Value, postorder, users


class InexactError(Refusal):
    """A program that has no exact result in rational numbers.

    Attributes:
        value: what has none; None where the message has its place already.
    """

    def __init__(self, message: str, value: Value | None = None) -> None:
        super().__init__(message)
        self.value = value

    def placed(self, cell: Cell) -> InexactError:
        """The same with the value's place in the program."""
        return self if self.value is None else InexactError(f"{_place(cell, self.value)}{self}")


def _sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "abs": abs,
    "sign": _sign,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "relu": lambda x: max(x, 0),
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": lambda x, y: Fraction(x) / y,
    "pow": lambda x, y: Fraction(x) ** int(y),
    "mod": operator.mod,
    "floordiv": operator.floordiv,
    "max": max,
    "min": min,
}
"""What rational numbers are given to in place of NumPy's functions of floats."""

SHARED = frozenset(
    (
        *("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "not", "where", "cast", "stopgrad", "re", "conj"),
        *("einsum", "transpose", "reshape", "expand", "slice", "select", "flip", "concat", "gather", "scatter"),
        *("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all", "argmax", "argmin"),
        *("read", "sum_in"),
    )
)
"""Operations whose evaluation does for rational numbers what it does for floats."""


def _apply(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """One function at every element; whole numbers are computed as NumPy does."""
    function = np.frompyfunc(FUNCTIONS[value.op], len(args), 1)
    try:
        found = np.asarray(function(*(array.astype(object) for array in aligned(value, args))), object)
        return found.astype(scope.dtype(value.kind))
    except ZeroDivisionError as error:
        raise InexactError(f"`{value.op}` divides by zero, which gives no rational number", value) from error
    except OverflowError as error:
        raise InexactError(f"`{value.op}` gives a whole number beyond 64 bits", value) from error


def _const(value: Value, _: Sequence[Array], __: Scope) -> Array:
    return np.array(value.attr("value"), object)


def _cast(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    return np.asarray(args[0] != 0) if value.kind is Kind.BOOL else args[0]


KERNELS: Mapping[str, Kernel] = {**dict.fromkeys(FUNCTIONS, _apply), "const": _const, "cast": _cast}


def check_rational(cell: Cell) -> None:
    """Refuse a program outside the rational fragment.

    Raises:
        InexactError: an operation or a constant has no exact result; the message has its place.
    """
    for value in postorder(_roots(cell)):
        reason = _irrational(value)
        if reason:
            raise InexactError(f"{_place(cell, value)}{reason}; exact results are rational numbers")


def _roots(cell: Cell) -> list[Value]:
    return [*cell.roots(), *(state.init for state in cell.states)]


def _irrational(value: Value) -> str:
    """Why a value has no exact result; empty where it has one."""
    if value.kind is Kind.COMPLEX:
        return f"`{value.op}` is complex"
    if value.op == "const":
        odd = next((number for number in _numbers(value.attr("value")) if not isinstance(number, int | Fraction)), None)
        return "" if odd is None else f"{odd} is no rational number"
    if value.op == "pow":
        power = exact(value.args[1])
        whole = power is not None and power.denominator == 1
        return "" if whole else "a power that is no whole number is not rational"
    if value.op in LEAVES or value.op in SHARED or value.op in FUNCTIONS:
        return ""
    return f"`{value.op}` has no exact result"


def _numbers(attr: Attr) -> Iterator[Attr]:
    if isinstance(attr, tuple):
        for item in attr:
            yield from _numbers(item)
    else:
        yield attr


def _place(cell: Cell, value: Value) -> str:
    """Where a value, or what it is used for, stands: `file:line:column: `; empty for graphs without places."""
    using = users(_roots(cell))
    waiting = [value]
    for each in waiting:
        if cell.spans.get(each):
            return f"{cell.spans[each][0]}: "
        waiting += using.get(each, ())
    return ""
