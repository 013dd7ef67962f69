"""The diagonal of a dense Jacobian, where it costs no more than the step: what quasi-Newton methods put in its place.

A step that is element-wise apart from products with the arriving states, `h' = g(W @ h, U @ h, x)`, has the diagonal
sum over the products p of dg/dp * diag(dp/dh), and dp/dh is a matrix known before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lsrl.ir import build
from lsrl.ir.adjoint import cotangents
from lsrl.ir.cell import State
from lsrl.ir.dims import Shape
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.linear import Term
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import leaf_of
from lsrl.ir.schedules.coefficients import diagonal
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.traces import arriving
from lsrl.ir.value import Value, depends_on


def unit_blocks(states: Sequence[State]) -> tuple[tuple[Value, ...], ...]:
    """For each state, by each state, the derivative of every element of the next value by that at the same place.

    Raises:
        NotLegal: the states have different shapes, or a diagonal would cost as much as the whole Jacobian.
    """
    for state in states:
        if state.shape != states[0].shape:
            raise NotLegal(f"`{states[0].name}` and `{state.name}` have different shapes, so no diagonal joins them")
    leaves = [arriving(state) for state in states]
    return tuple(tuple(_row(state, leaves)) for state in states)


def _row(state: State, leaves: Sequence[Value]) -> Iterator[Value]:
    products = list(_products(state, leaves))
    shares = cotangents([state.next], [build.full(state.shape, 1)], products, independent=True)
    forms, _ = read_affine(products, leaves)
    for leaf in leaves:
        total = build.zeros(state.shape)
        for product, share, form in zip(products, shares, forms, strict=True):
            if form is None:
                raise _not_at_hand(state, product)
            terms = [_at_same_place(state, product, term) for term in form.terms if term.leaf is leaf]
            found = diagonal(terms, state.shape)
            if found is not None:
                total = build.add(total, build.mul(share, _whole(found.value, found.axes, state.shape)))
        yield total


def _products(state: State, leaves: Sequence[Value]) -> Iterator[Value]:
    """What the next value is an element-wise function of: arriving states, and values of products with them."""
    tied = depends_on([state.next], leaf_of(str(leaf.attr("name")) for leaf in leaves))
    seen, stack = set[Value](), [state.next]
    while stack:
        value = stack.pop()
        if value in seen or value not in tied:
            continue
        seen.add(value)
        if value.shape != state.shape:
            raise _not_at_hand(state, value)
        if value.args and family(value.op) is Family.ELEMENTWISE:
            stack.extend(value.args)
        else:
            yield value


def _not_at_hand(state: State, value: Value) -> NotLegal:
    reason = f"the diagonal of the Jacobian of `{state.name}` costs as much as all of it: its step is no element-wise"
    return NotLegal(f"{reason} function of products with the arriving states", value)


def _at_same_place(state: State, product: Value, term: Term) -> Term:
    """The term with its state's indices made those of the result: what remains acts on each element by itself."""
    if term.through or term.operand is not term.leaf:
        raise _not_at_hand(state, product)
    table = {own: place for own, place in zip(term.axes, term.result, strict=True) if own != place}
    if table.keys() & {*term.result} or {*table.values()} & {*term.axes}:
        raise _not_at_hand(state, product)
    factors = [replace(f, axes=tuple(table.get(axis, axis) for axis in f.axes)) for f in term.factors]
    return replace(term, axes=term.result, factors=tuple(factors))


def _whole(value: Value, axes: Sequence[int], shape: Shape) -> Value:
    return build.expand(value, shape, [axis for axis in range(len(shape)) if axis not in axes])
