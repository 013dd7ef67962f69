"""Matrices that are the identity, or a diagonal one, plus something: as coefficients their summands say more apart.

`eye(K) - b * outer(k, k)` is one term that keeps every element and one of rank one; multiplied out it is dense.  The
same holds inside of a product of matrices, `(eye(K) - b * outer(k, k)) @ diag(a)`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from lsrl.ir import build
from lsrl.ir.facts.factors import apart
from lsrl.ir.facts.linear import fitted
from lsrl.ir.value import Value

MOST_SUMMANDS = 8
MOST_NESTED = 6


def opened(letters: Sequence[Hashable], value: Value) -> list[tuple[Sequence[Hashable], Value]]:
    """A coefficient with its letters; if it is a product of which an operand has summands, its operands.

    What the product sums over gets letters of its own.
    """
    if not _has_summands(value):
        return [(letters, value)]
    left, result = str(value.attr("spec")).split("->")
    table = dict(zip(result, letters))
    found = []
    for own, arg in zip(left.split(","), value.args):
        found += opened([table.setdefault(letter, (value, letter)) for letter in own], arg)
    return found


def pieces(value: Value) -> tuple[Value, ...]:
    """All summands of a matrix, or of the factors of a product of matrices; the value alone if it has no such."""
    factors = [factor for _, factor in opened(tuple(range(value.rank)), value)]
    return tuple(part for factor in factors for _, part in summands(factor))


def summands(value: Value) -> list[tuple[int, Value]]:
    """`eye(K) - b * outer(k, k)` as its two parts, with signs; any other value as it is."""
    parts = [(1, value)]
    while len(parts) < MOST_SUMMANDS:
        finer = [each for sign, part in parts for each in _once(sign, part)]
        if len(finer) == len(parts):
            break
        parts = finer
    return parts if any(_is_diagonal(part) for _, part in parts) else [(1, value)]


def is_eye(value: Value) -> bool:
    return value.op == "cast" and value.rank == 2 and value is build.eye(value.shape[0])


def _has_summands(value: Value, depth: int = MOST_NESTED) -> bool:
    """Whether a product has an operand with summands, at whatever depth within reason."""
    if value.op != "einsum" or not depth:
        return False
    return any(len(summands(arg)) > 1 or _has_summands(arg, depth - 1) for arg in value.args)


def _once(sign: int, value: Value) -> list[tuple[int, Value]]:
    """The summands of a matrix, or of a matrix times a coefficient; else the value itself."""
    if value.rank < 2 or value.op not in ("add", "sub", "mul"):
        return [(sign, value)]
    left, right = (fitted(arg, value.shape, value.kind) for arg in value.args)
    if value.op != "mul":
        return [(sign, left), (-sign if value.op == "sub" else sign, right)]
    whole, other = (left, right) if left.op in ("add", "sub") else (right, left)
    if whole.op not in ("add", "sub"):
        return [(sign, value)]
    return [(each, build.mul(other, part)) for each, part in _once(sign, whole)]


def _is_diagonal(value: Value) -> bool:
    """Whether a matrix is the identity times coefficients, as far as the graph shows."""
    return any(is_eye(factor.value) for factor in apart(value, tuple(range(value.rank)))[1])
