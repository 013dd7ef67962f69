"""Values: the vertices of the graph of one step.

A `Value` is an operation applied to other values.  It is immutable and interned: building the same operation on the
same arguments twice gives the same object, so equality is identity and common subexpressions never exist twice.
A state is a leaf, its next value a named root of the cell (`lsrl.ir.cell`), hence every step is a DAG.

Source spans and the names users gave live beside the graph, in the cell, because one value can stand for several
places of a program.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Union

from lsrl.ir.dims import Dim, Shape, shape_text

Attr = Union[str, int, float, complex, Fraction, Dim, tuple["Attr", ...]]  # noqa: UP007 - recursive
Attrs = tuple[tuple[str, Attr], ...]


class Kind(StrEnum):
    """What the elements of a value are; the order is the order of promotion."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    COMPLEX = "complex"


class Domain(StrEnum):
    """Where a value of a cell over a graph lives; `NONE` on lines and grids, and for what is the same everywhere."""

    NONE = ""
    NODE = "node"
    EDGE = "edge"
    TURN = "turn"


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Value:
    """One operation of a step.

    Attributes:
        op: name of the operation, a key of `lsrl.ir.ops.OPS`.
        args: the operands.
        attrs: static attributes, sorted by name.
        shape: one dim per axis; batch and time are never part of it.
        kind: what the elements are.
        domain: where the value lives in a cell over a graph.
    """

    op: str
    args: tuple[Value, ...]
    attrs: Attrs
    shape: Shape
    kind: Kind
    domain: Domain

    def attr(self, name: str) -> Attr:
        """The attribute `name`; KeyError when the operation has none of that name."""
        for key, value in self.attrs:
            if key == name:
                return value
        raise KeyError(f"{self.op} has no attribute {name}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        attrs = "".join(f" {key}={value}" for key, value in self.attrs)
        return f"<{self.op}{attrs} {self.kind}{shape_text(self.shape)}>"


_interned: weakref.WeakValueDictionary[tuple[object, ...], Value] = weakref.WeakValueDictionary()


def intern(
    op: str, args: tuple[Value, ...], attrs: Attrs, shape: Shape, kind: Kind, domain: Domain = Domain.NONE
) -> Value:
    """The one value with these parts.  Use the builders of `lsrl.ir.ops`, which infer and check; this does neither."""
    attrs = tuple(sorted(attrs))
    key = (op, tuple(id(a) for a in args), tuple((k, _identity(v)) for k, v in attrs), shape, kind, domain)
    found = _interned.get(key)
    if found is None:
        found = Value(op, args, attrs, shape, kind, domain)
        _interned[key] = found
    return found


def postorder(roots: Iterable[Value], stop: Callable[[Value], bool] | None = None) -> Iterator[Value]:
    """Every value the roots depend on, operands before users, each once, in a deterministic order.

    A value for which `stop` holds is yielded, but its operands are not visited.  Iterative: depth is no limit.
    """
    seen: set[Value] = set()
    for root in roots:
        stack: list[Value | None] = [root]  # None stands above a value whose operands have been visited
        while stack:
            value = stack.pop()
            if value is None:
                yield stack.pop()  # type: ignore[misc]
            elif value not in seen:
                seen.add(value)
                if not value.args or (stop is not None and stop(value)):
                    yield value
                else:
                    stack += (value, None, *reversed(value.args))


def users(roots: Iterable[Value]) -> dict[Value, tuple[Value, ...]]:
    """For every value the roots depend on, the values that use it directly."""
    found: dict[Value, list[Value]] = {}
    for value in postorder(roots):
        found.setdefault(value, [])
        for arg in dict.fromkeys(value.args):
            found[arg].append(value)
    return {value: tuple(uses) for value, uses in found.items()}


def depends_on(roots: Iterable[Value], is_leaf: Callable[[Value], bool]) -> frozenset[Value]:
    """The values among the roots and their operands that are, or depend on, a value for which `is_leaf` holds."""
    found: set[Value] = set()
    for value in postorder(roots):
        if is_leaf(value) or not found.isdisjoint(value.args):
            found.add(value)
    return frozenset(found)


def _identity(attr: Attr) -> object:
    """A key that keeps 1, 1.0 and True, 0.0 and -0.0 apart and makes nan equal to itself."""
    if isinstance(attr, tuple):
        return tuple(_identity(item) for item in attr)
    return attr if isinstance(attr, (Dim, str)) else (type(attr).__name__, repr(attr))
