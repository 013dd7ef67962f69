"""Whether two graphs are the same but for their leaves, and what in one plays the part of what in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.ir.value import Value

INNER, STATE, READ, STATIC = "inner", "state", "read", "static"
"""What a value is to its graph: made in it, an arriving state, given at each position, or the same at all of them."""


def counterparts(
    first: Sequence[Value], second: Sequence[Value], parts: tuple[Mapping[Value, str], Mapping[Value, str]]
) -> dict[Value, Value] | None:
    """For each value of one graph the one of another that plays its part; None where they are not the same.

    Args:
        first, second: the ends of both graphs, in the same order; arriving states among them.
        parts: what each value is to the first graph, and to the second; values that are nothing to them (constants)
            are to be one and the same.
    """
    found: dict[Value, Value] = {}
    if len(first) != len(second):
        return None
    stack = list(zip(first, second, strict=True))
    while stack:
        here, there = stack.pop()
        if found.get(here, there) is not there:
            return None
        if here in found:
            continue
        found[here] = there
        part = parts[0].get(here)
        if part != parts[1].get(there) or not (_is_like(here, there) if part else here is there):
            return None
        if part == INNER:
            if (here.op, here.attrs, len(here.args)) != (there.op, there.attrs, len(there.args)):
                return None
            stack.extend(zip(here.args, there.args, strict=True))
    return found


def _is_like(first: Value, second: Value) -> bool:
    return (first.shape, first.kind, first.domain) == (second.shape, second.kind, second.domain)
