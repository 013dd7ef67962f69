"""Which factors of a term belong together: a vector along one axis is what the factors that reach its letter make."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lsrl.ir.facts.linear import Factor
from lsrl.ir.graphs import reached
from lsrl.ir.value import Value

Group = tuple[Factor, ...]


def connected(
    factors: Sequence[Factor], letter: int | None, lanes: Collection[int]
) -> tuple[Group, frozenset[int | None]]:
    """The factors that make the vector along a letter, and all letters that they connect, lanes aside."""
    letters = reached(letter, ([each for each in factor.axes if each not in lanes] for factor in factors))
    return tuple(factor for factor in factors if letters & set(factor.axes)), letters


def others(factors: Sequence[Factor], *taken: Group) -> Group:
    """The factors that no vector took: numbers in each lane."""
    gone = {factor for group in taken for factor in group}
    return tuple(factor for factor in factors if factor not in gone)


def culprit(factors: Sequence[Factor], *letters: int | None) -> Value | None:
    """The factor to show: one that has two of the letters, else the first."""
    both = [factor.value for factor in factors if sum(letter in factor.axes for letter in letters) > 1]
    return next(iter([*both, *(factor.value for factor in factors)]), None)
