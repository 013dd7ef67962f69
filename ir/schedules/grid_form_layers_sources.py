"""What is added to a state in layers, as outer products of a layer of keys with one of values.

    einsum("i j l, d j, v l -> d v i", s, k, v)   ->   (k, v, s)

Sums are taken apart, and products of matrices on the way: their sums over layers are those of the form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import count

from lsrl.ir import build
from lsrl.ir.dims import Dim
from lsrl.ir.facts.factors import apart
from lsrl.ir.facts.linear import Factor, Letters, fitted
from lsrl.ir.schedules.chunk_form_values import is_zero, product, signed
from lsrl.ir.schedules.grid_form_parts import Layers
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value

FRESH = 1000
"""Letters from here on are of no term."""


def layered_products(value: Value, axes: Layers) -> Iterator[tuple[Value, Value, Value]]:
    """Keys [*lanes, JK, K], values [*lanes, JV, V] and numbers [*lanes, J, JK, JV] that add up to a value.

    Args:
        value: of the state's shape; a letter of it is the number of its axis.

    Raises:
        NotLegal: it is no such sum, as far as the graph shows.
    """
    letters = count(FRESH)
    for sign, factors in _summands(value, tuple(range(value.rank)), letters, {axes.rows, axes.columns}):
        yield _outer(sign, factors, axes, letters)


def opened(factor: Factor, letters: Iterator[int]) -> tuple[int, list[Factor]]:
    """A sign and the factors of a product of matrices, whose sums get letters of their own; else the factor itself."""
    value = factor.value
    spec = str(value.attr("spec")) if value.op == "einsum" else ""
    terms = spec.split("->")[0].split(",")
    if len(terms) < 2 or any(len(set(term)) < len(term) for term in terms):
        return 1, [factor]
    names = dict(zip(spec.split("->")[1], factor.axes))
    sign, found = 1, list[Factor]()
    for term, arg in zip(terms, value.args):
        own, parts = apart(arg, tuple(names.setdefault(letter, next(letters)) for letter in term))
        sign *= own
        found += parts
    return sign, found


def layer_letter(
    group: Sequence[Factor], known: Collection[int], shared: Collection[int], letters: Iterator[int]
) -> tuple[int, Dim, list[Factor]]:
    """The letter of the layers of a vector, their number, and what is to be multiplied with.

    Args:
        group: the factors of the vector.
        known: letters of lanes, and of the vector itself.
        shared: letters that the layers of the vector cannot have, since other things have layers by them.

    Raises:
        NotLegal: it has layers along several axes.
    """
    sizes = {a: dim for f in group for a, dim in zip(f.axes, f.value.shape) if a not in known}
    if len(sizes) > 1:
        raise NotLegal("a vector has layers along several axes", group[0].value)
    own = next(letters)
    if not sizes:
        return own, Dim.of(1), []
    ((letter, size),) = sizes.items()
    return (own, size, [Factor(build.eye(size), (own, letter))]) if letter in shared else (letter, size, [])


def renamed(factors: Sequence[Factor], eyes: Sequence[Factor]) -> list[Factor]:
    """Factors by the letters that matrices of ones on the diagonal stand for."""
    table = {eye.axes[1]: eye.axes[0] for eye in eyes}
    return [Factor(f.value, tuple(table.get(letter, letter) for letter in f.axes)) for f in factors]


def _summands(
    value: Value, axes: Letters, letters: Iterator[int], both: set[int]
) -> Iterator[tuple[int, list[Factor]]]:
    """Signed products of factors none of which has rows and columns, wherever sums and products show them."""
    stack: list[tuple[int, list[Factor]]] = [(1, [Factor(value, axes)])]
    while stack:
        sign, factors = stack.pop()
        joint = next((factor for factor in factors if both <= set(factor.axes)), None)
        if joint is None:
            yield sign, factors
            continue
        others = [factor for factor in factors if factor is not joint]
        own = joint.value
        if own.op in ("add", "sub"):
            signs = (sign, sign if own.op == "add" else -sign)
            whole = [fitted(arg, own.shape, own.kind) for arg in own.args]
            stack += [(s, [*others, Factor(x, joint.axes)]) for s, x in zip(signs, whole) if not is_zero(x)]
            continue
        turn, parts = apart(own, joint.axes)
        if list(parts) == [joint]:
            turn, opening = opened(joint, letters)
            if opening == [joint]:
                raise NotLegal("what it adds to its state is no outer product", own)
            parts = tuple(opening)
        stack.append((sign * turn, [*others, *parts]))


def _outer(sign: int, factors: Sequence[Factor], axes: Layers, letters: Iterator[int]) -> tuple[Value, Value, Value]:
    """Key, value and numbers of a product of factors."""
    by_key = [factor for factor in factors if axes.rows in factor.axes]
    by_value = [factor for factor in factors if axes.columns in factor.axes]
    numbers = [factor for factor in factors if factor not in by_key and factor not in by_value]
    of_value = {letter for factor in by_value for letter in factor.axes}
    j, keys, key_eyes = layer_letter(by_key, {*axes.lanes, axes.rows}, {axes.layer, *of_value}, letters)
    m, values, value_eyes = layer_letter(by_value, {*axes.lanes, axes.columns}, {axes.layer}, letters)
    lanes = axes.dims(axes.lanes)
    key = product(renamed(by_key, key_eyes), (*axes.lanes, j, axes.rows), (*lanes, keys, axes.shape[axes.rows]))
    value = product(
        renamed(by_value, value_eyes), (*axes.lanes, m, axes.columns), (*lanes, values, axes.shape[axes.columns])
    )
    shape = (*lanes, axes.shape[axes.layer], keys, values)
    gate = product([*numbers, *key_eyes, *value_eyes], (*axes.lanes, axes.layer, j, m), shape)
    return key, value, signed(gate, sign)
