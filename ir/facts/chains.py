"""An affine map taken apart into maps that act one after the other.

A value that every path from the arriving state to the next one goes through is a waist.  `S - b outer(k, k @ S)`
inside of a longer update is one: what follows is affine in it.  So a product of Householder matrices is found as the
product that it is, and never multiplied out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from lsrl.ir import ops
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.linear import LinearForm, materialise
from lsrl.ir.graphs import dominators
from lsrl.ir.substitute import rebuild
from lsrl.ir.value import Value, depends_on, postorder

BLANK = "what the maps before give"
"""A name that no state of a program can have."""


def waists(leaf: Value, root: Value) -> tuple[Value, ...]:
    """The values of the leaf's type that all paths from it to the root go through, the leaf first, the root last."""
    tied = depends_on([root], lambda value: value is leaf)
    if root not in tied:
        return (leaf, root)
    ordered = [value for value in postorder([root]) if value in tied]
    above = dominators(ordered, lambda value: [arg for arg in value.args if arg in tied])
    chain = [root]
    while chain[-1] is not leaf:
        chain.append(above[chain[-1]])
    alike = [v for v in reversed(chain) if v in (leaf, root) or (v.shape, v.kind) == (leaf.shape, leaf.kind)]
    return tuple(dict.fromkeys(alike)) if root is not leaf else (leaf, root)


def chain(leaf: Value, root: Value) -> tuple[tuple[Value, LinearForm], ...]:
    """The map from leaf to root as pairs of a waist and the affine form, in it, of the next; empty if not affine."""
    places = waists(leaf, root)
    found = tuple(_steps(places))
    return found if len(found) == len(places) - 1 else ()


def composed(steps: tuple[tuple[Value, LinearForm], ...]) -> Value:
    """The last value of a chain, built anew from its forms."""
    value = steps[0][0]
    for waist, form in steps:
        # The value so far may well be the waist itself again, and a replacement must not contain what it replaces.
        blank = ops.state(BLANK, "t", waist.shape, waist.kind, waist.domain)
        made = materialise(form)
        opened = rebuild([made], {waist: blank})[made]
        value = rebuild([opened], {blank: value})[opened]
    return value


def _steps(places: tuple[Value, ...]) -> Iterator[tuple[Value, LinearForm]]:
    for waist, following in pairwise(places):
        (form,), _ = read_affine([following], [waist])
        if form is None:
            return
        yield waist, form
