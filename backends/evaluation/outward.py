"""Sums and products of bounds, rounded outward only where floating point is not exact.

A lower bound may be lowered and an upper bound raised, never the other way; where a sum or product is exact nothing
moves, so whole numbers and halves stay what they are.  What is lost in rounding is found by error-free transformations
(Ogita, Rump and Oishi, 2005, "Accurate sum and dot product", algorithms 3.1 to 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lsrl.backends.arrays import Array

SPLITTER = 2.0**27 + 1
SMALLEST_EXACT = 2.0**-900
"""Below this magnitude a product's rounding error may itself underflow."""
SLACK = 2.0**-49
"""More than the relative error of any elementary function of NumPy."""

LARGEST_COARSE = 2.0**30
COARSE = 2.0**10

Side = Callable[[Array, Array], Array]
"""Moves an array to one side where a mask holds."""


def lower(x: Array, where: Array) -> Array:
    return np.asarray(np.where(where, np.nextafter(x, -np.inf), x))


def upper(x: Array, where: Array) -> Array:
    return np.asarray(np.where(where, np.nextafter(x, np.inf), x))


def add(x: Array, y: Array, side: Side) -> Array:
    """x + y; opposite infinities meet at the one of the side."""
    with np.errstate(all="ignore"):
        total = x + y
        taken = total - x
        lost = (x - (total - taken)) + (y - taken)
        unbounded = -np.inf if side is lower else np.inf
        rounded = np.isfinite(x) & np.isfinite(y) & (lost != 0)  # also where the sum is beyond all floats
        return np.asarray(np.where(np.isnan(total), unbounded, side(total, rounded)))


def multiply(x: Array, y: Array, side: Side) -> Array:
    """x * y, where nothing times infinity is nothing."""
    with np.errstate(all="ignore"):
        product = np.where((x == 0) | (y == 0), 0.0, x * y)
        exact = (x == 0) | (y == 0) | np.isinf(x) | np.isinf(y)
        exact |= (np.abs(product) > SMALLEST_EXACT) & (_lost(x, y, product) == 0)
        return side(product, ~exact)


def contract_positive(spec: str, x: Array, y: Array, side: Side) -> Array:
    """The einsum of two arrays without negative elements, where nothing times infinity is nothing."""
    finite = [np.where(np.isfinite(array), array, 0.0) for array in (x, y)]
    product = np.asarray(np.einsum(spec, *finite))
    endless = np.einsum(spec, np.isinf(x) * 1.0, (y > 0) * 1.0) + np.einsum(spec, (x > 0) * 1.0, np.isinf(y) * 1.0)
    if not (_coarse(finite[0]) and _coarse(finite[1]) and np.all(product < LARGEST_COARSE)):
        terms = x.size + y.size  # at least as many as any element of the result is a sum of
        slack = product * (terms * 2.0**-52)
        product = np.where(product > 0, product - slack if side is lower else product + slack, product)
        product = np.maximum(side(product, product > 0), 0.0)
    return np.where(endless > 0, np.inf, product)


def total(terms: Array, axes: tuple[int, ...], side: Side) -> Array:
    """The sum over axes, which may be none."""
    if np.abs(terms).sum() < LARGEST_COARSE and _coarse(terms):
        return np.asarray(terms.sum(axes))
    letters = "abcdefghijklmnopqrstuvwxyz"[: terms.ndim]
    spec = f"{letters},->{''.join(letter for place, letter in enumerate(letters) if place not in axes)}"
    other = upper if side is lower else lower
    gained = contract_positive(spec, np.maximum(terms, 0.0), np.ones(()), side)
    lost = contract_positive(spec, np.maximum(-terms, 0.0), np.ones(()), other)
    return add(gained, -lost, side)


def around(x: Array, side: Side) -> Array:
    """The result of an elementary function, moved by more than it can be wrong."""
    with np.errstate(all="ignore"):
        moved = x - np.abs(x) * SLACK if side is lower else x + np.abs(x) * SLACK
        return np.asarray(side(np.where(np.isfinite(x), moved, x), x != 0))


def _lost(x: Array, y: Array, product: Array) -> Array:
    """What the rounding of a product dropped (Veltkamp's and Dekker's splitting)."""
    (x1, x2), (y1, y2) = _halves(x), _halves(y)
    return np.asarray(x2 * y2 - (((product - x1 * y1) - x2 * y1) - x1 * y2))


def _halves(x: Array) -> tuple[Array, Array]:
    spread = SPLITTER * x
    top = spread - (spread - x)
    return top, x - top


def _coarse(x: Array) -> bool:
    """Whether the numbers are multiples of 2^-10, so that sums of products below 2^30 are exact."""
    return bool(np.all(x * COARSE == np.floor(x * COARSE)))
