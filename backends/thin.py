"""Which values of a graph are less than they seem: repeated scalars, constants, and what other operands widen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value, users


def repeated(value: Value) -> Value | None:
    """The scalar that an array repeats; None where it is no such array."""
    scalar = value.args[0] if value.op == "expand" else value
    return None if scalar.rank else scalar


def constant_leaves(values: Iterable[Value]) -> list[Value]:
    """Constant arrays among the values, which need a statement where they are used more than once."""
    return [v for v in values if v.op == "iota" or (v.op == "const" and v.rank)]


def thin_values(roots: Sequence[Value], crossing: Iterable[Value]) -> frozenset[Value]:
    """Values made by `expand` that meet only whole arrays of the same shape, element by element.

    Args:
        crossing: values that leave the function, and so need their full shape.
    """
    found = users(roots)
    whole = {*roots, *crossing}
    return frozenset(
        v for v in found if v.op == "expand" and v not in whole and all(_widens(user, v) for user in found[v])
    )


def _widens(user: Value, value: Value) -> bool:
    """Whether another operand gives the result its shape."""
    other = any(arg.shape == value.shape and arg.op != "expand" for arg in user.args)
    return family(user.op) is Family.ELEMENTWISE and other
