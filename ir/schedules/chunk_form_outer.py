"""What is added to a matrix state, as a sum of outer products of a key and a value.

    b * outer(k, v) - where(r, outer(p, u), 0)   ->   (k, b * v), (p, -where(r, u, 0))

Sums are taken apart and products distributed over them.  A choice goes into the value, so that what is not chosen is
exactly zero even where it is infinite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lsrl.ir import build, ops
from lsrl.ir.facts.factors import scaled, without_axis
from lsrl.ir.facts.linear import Factor, Letters, Term, fitted
from lsrl.ir.schedules.chunk_form_groups import Group, connected, culprit, others
from lsrl.ir.schedules.chunk_form_values import Axes, is_zero, product, signed
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value

MOST_PRODUCTS = 16
"""Each is a key of its own."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A signed product of factors, zero wherever one of the guards does not hold.

    Attributes:
        rest: a factor that is not yet taken apart, or None.
        guards: conditions, and whether they must hold or must not.
    """

    rest: Factor | None
    factors: tuple[Factor, ...] = ()
    sign: int = 1
    guards: tuple[tuple[Factor, bool], ...] = ()


def outer_products(value: Value, axes: Axes) -> Iterator[tuple[Value, Value]]:
    """Keys [*lanes, K] and values [*lanes, V] ([*lanes] without columns) whose outer products add up to the value.

    Args:
        value: of the state's shape; a letter of it is the number of its axis.

    Raises:
        NotLegal: it is no such sum, as far as the graph shows.
    """
    return (_outer(part, axes) for part in _products(value, axes))


def gated_products(value: Value, axes: Axes) -> Iterator[tuple[Value, Value, Value]]:
    """As `outer_products`, each with a number in each lane, [*lanes], that multiplies it.

    Raises:
        NotLegal: it is no such sum, as far as the graph shows.
    """
    for part in _products(value, axes):
        numbers = () if part.guards else _groups(part, axes)[2]  # a choice guards what all factors make
        vectors = tuple(factor for factor in part.factors if factor not in numbers)
        key, found = _outer(replace(part, factors=vectors, sign=1), axes)
        yield key, found, signed(product(numbers, axes.lanes, axes.dims(axes.lanes)), part.sign)


def _products(value: Value, axes: Axes) -> Iterator[_Part]:
    stack = [_Part(Factor(value, tuple(range(value.rank))))]
    found = 0
    while stack:
        part = stack.pop()
        if part.rest is not None:
            stack += [] if is_zero(part.rest.value) else reversed(_apart(part, part.rest, axes))
            continue
        found += 1
        if found > MOST_PRODUCTS:
            raise NotLegal(f"what it adds to its state is more than {MOST_PRODUCTS} outer products", value)
        yield part


def _apart(part: _Part, rest: Factor, axes: Axes) -> list[_Part]:
    """A part one step further: its summands, or its factors."""
    value, letters = rest.value, rest.axes

    def of(operand: Value) -> Factor:
        return Factor(fitted(operand, value.shape, value.kind), letters)

    match value:
        case Value("add", (x, y)):
            return [replace(part, rest=of(x)), replace(part, rest=of(y))]
        case Value("sub", (x, y)):
            return [replace(part, rest=of(x)), replace(part, rest=of(y), sign=-part.sign)]
        case Value("div", (x, y)):
            return [replace(part, rest=of(x), factors=(*part.factors, *_factors(of(build.div(1, y)))[1]))]
        case Value("where", (condition, x, y)):
            guard = _narrowed(Factor(condition, letters if condition.rank else ()))
            chosen = [replace(part, rest=of(x), guards=(*part.guards, (guard, True)))]
            return [*chosen, replace(part, rest=of(y), guards=(*part.guards, (guard, False)))]
        case Value("cast", (x,)) if _opens(value):
            inner = ops.apply(x.op, *(build.cast(arg, value.kind) for arg in x.args), **dict(x.attrs))
            return [replace(part, rest=Factor(inner, letters))]
    return _factored(part, rest, axes)


def _factored(part: _Part, rest: Factor, axes: Axes) -> list[_Part]:
    """A product: its factors, the one of them that still has rows and columns to be taken apart further."""
    sign, factors = _factors(rest)
    joint = [factor for factor in factors if {axes.rows, axes.columns} <= set(factor.axes)]
    known = replace(part, rest=None, factors=(*part.factors, *factors), sign=part.sign * sign)
    if len(joint) != 1 or not _opens(joint[0].value):
        return [known]
    free = tuple(factor for factor in known.factors if factor is not joint[0])
    return [replace(known, rest=joint[0], factors=free)]


def _opens(value: Value) -> bool:
    """Whether a value with rows and columns is taken apart further; a real one in a complex state, before its cast."""
    if value.op == "cast":
        return value.args[0].op in ("add", "sub", "neg", "mul", "div", "einsum")
    return value.op in ("add", "sub", "div", "where")


def _factors(whole: Factor) -> tuple[int, tuple[Factor, ...]]:
    """A sign and factors whose product is the whole, each as small as what it varies along."""
    one = ops.const(1)
    term = scaled(Term(one, one, (), (), (), whole.axes), whole.value, whole.axes)
    return term.sign, term.factors


def _narrowed(factor: Factor) -> Factor:
    """The factor without axes along which the graph shows it to be constant."""
    value, letters = factor.value, list(factor.axes)
    for axis in reversed(range(value.rank)):
        smaller = without_axis(value, axis)
        if smaller is not None:
            value = smaller
            del letters[axis]
    return Factor(value, tuple(letters))


def _groups(part: _Part, axes: Axes) -> tuple[Group, Group, Group]:
    """The factors of the key, those of the value, and numbers in each lane."""
    by_key, written = connected(part.factors, axes.rows, axes.lanes)
    by_value = () if axes.columns is None else connected(part.factors, axes.columns, axes.lanes)[0]
    if axes.columns in written:
        raise NotLegal("what it adds to its state is no outer product", culprit(by_key, axes.rows, axes.columns))
    return by_key, by_value, others(part.factors, by_key, by_value)


def _outer(part: _Part, axes: Axes) -> tuple[Value, Value]:
    """Key and value of a product of factors."""
    by_key, by_value, numbers = _groups(part, axes)
    along_rows, along_columns = axes.vector(axes.rows), axes.vector(axes.columns)
    key = product(by_key, along_rows, axes.dims(along_rows))
    value = signed(product((*by_value, *numbers), along_columns, axes.dims(along_columns)), part.sign)
    for condition, holds in part.guards:
        if axes.rows not in condition.axes:
            value = _guarded(value, condition, holds, along_columns, axes)
        elif axes.columns not in condition.axes:
            key = _guarded(key, condition, holds, along_rows, axes)
        else:
            raise NotLegal("what it adds to its state is chosen element by element", condition.value)
    return key, value


def _guarded(vector: Value, condition: Factor, holds: bool, letters: Letters, axes: Axes) -> Value:
    """The vector where the condition holds (or where it does not), else 0."""
    shape = axes.dims(letters)
    at = [letters.index(letter) for letter in condition.axes]
    order = build.transpose(condition.value, sorted(range(len(at)), key=at.__getitem__)) if at else condition.value
    assert isinstance(order, Value)
    wide = build.expand(order, shape, [place for place in range(len(shape)) if place not in at])
    zero = build.zeros(shape, vector.kind)
    return build.where(wide, vector, zero) if holds else build.where(wide, zero, vector)
