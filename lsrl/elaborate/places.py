"""Values of nodes, edges and turns meeting in one expression of a cell over a graph.

What belongs to a node is read at the edge or turn where it is needed: inside `sum_in`, edges are the incoming ones and
nodes the node at hand; elsewhere an edge is the one being updated, or in `sum_out` each that leaves, and its node is
where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.elaborate import fault_codes as code
from lsrl.ir import fault, ops
from lsrl.ir.fault import Fault
from lsrl.ir.value import Domain, Value


def meet(values: Sequence[Value], collecting: bool) -> tuple[Value, ...]:
    """The values where they can be combined: all per node, per edge or per turn."""
    domains = {value.domain for value in values} - {Domain.NONE}
    if len(domains) < 2:
        return tuple(values)
    target = Domain.TURN if Domain.TURN in domains else Domain.EDGE
    return tuple(moved(value, target, collecting) for value in values)


def moved(value: Value, target: Domain, collecting: bool = False) -> Value:
    """The value as it is at each edge, turn or node; a fault where it differs among those."""
    if value.domain in (Domain.NONE, target):
        return value
    match value.domain, target:
        case Domain.NODE, Domain.EDGE:
            return ops.apply("read", value, via="edge.to" if collecting else "edge.from")
        case Domain.NODE, Domain.TURN:
            return ops.apply("read", value, via="turn.node")
        case Domain.EDGE, Domain.TURN:
            return ops.apply("read", value, via="turn.in")
    expected = f"one value per {target}" if target else "the same value everywhere"
    raise Fault(
        fault.DOMAIN_MISMATCH,
        f"a value per {value.domain} where {expected} is needed",
        remedy="collect what arrives: `sum_in(...)`",
    )


INTO = ("turn.out", "edge.to")
OUT_OF = ("turn.in", "edge.from")


def collected(op: str, value: Value, ends: tuple[str, str] = INTO) -> Value:
    """`sum_in` and the like: values per turn are collected by an edge, all others by the node.

    Args:
        ends: `INTO` where that edge follows the turn, and the node ends the edges; `OUT_OF` where they come before.
    """
    of_turn, of_edge = ends
    if value.domain is Domain.TURN:
        return ops.apply(op, value, via=of_turn)
    if value.domain is Domain.NODE:
        value = moved(value, Domain.EDGE, collecting=ends == INTO)
    return ops.apply(op, value, via=of_edge)


def outside_sum(name: str) -> Fault:
    """The fault of reading an arriving state without saying how those of several edges are collected."""
    return Fault(
        code.OUTSIDE_SUM,
        f"`{name}` arrives along every incoming edge",
        remedy=f"collect it: `sum_in({name})`; what this edge passes on is `{name}'`",
    )
