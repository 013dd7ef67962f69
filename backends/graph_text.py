"""What modules of programs over graphs say in every framework: reads and sums between places, and their arrays."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, call
from lsrl.backends.module_header import WIDTH, origin, table, title
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Shape
from lsrl.ir.graph_plan import READ_AT, READ_FROM, Frame, GraphPlan
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Domain, Kind, Value, postorder

COUNTS: Mapping[Domain, tuple[str, ...]] = {
    Domain.NONE: (),
    Domain.NODE: ("nodes",),
    Domain.EDGE: ("edges",),
    Domain.TURN: ("turns",),
}
"""The leading axes of a value at all places."""
RESERVED = (
    *("graph", "level", "arriving", "at", "statics", "nodes", "edges", "turns", "entering", "leaving", "advance"),
    *("prepare", "weights", "sources", "known", "ARCS", "UNKNOWNS"),
)
"""What functions over graphs call their own."""
_LEVELS = (
    "Schedule: {states} level by level, all edges out of a level's nodes at once.",
    "Backward pass: the cotangents of states level by level back; from them all others, at all places at once.",
)
_ROUNDS = (
    "Schedule: {states} in rounds, which eliminate unknowns that are not joined, chains and trees in logarithmically "
    "many; level by level where that takes less time.  `prepare` reckons both for each graph.",
    "Backward pass: the cotangents of states by the same rounds the other way round; from them all others, at all "
    "places at once.",
)
_FUNCTIONS = {"sum_in": "sum_at", "max_in": "max_at"}


def is_between(value: Value) -> bool:
    """Whether an operation leads from some places to others."""
    return family(value.op) is Family.GRAPH


def everywhere(value: Value) -> tuple[str, ...]:
    """The leading axes of a value at all places."""
    return COUNTS[value.domain]


def between(value: Value, operand: Code) -> Code:
    """A read or a sum; `operand` has the leading axis of where it is."""
    via = str(value.attr("via"))
    index = f"level.{via.replace('.', '_')}"
    if value.op == "read":
        return call("read_at", operand, index)
    return call(_FUNCTIONS[value.op], operand, index, f"level.{READ_FROM[via]}")


def collected(value: Value) -> Frame:
    """The places whose values a read or sum takes."""
    via = str(value.attr("via"))
    return READ_FROM[via] if value.op == "read" else READ_AT[via]


def read_domain(value: Value) -> Domain:
    """Where the operand of a read or a sum lives, also one that is the same everywhere."""
    match collected(value):
        case Frame.NODES:
            return Domain.NODE
        case Frame.TURNS:
            return Domain.TURN
        case _:
            return Domain.EDGE


@dataclass(frozen=True, slots=True)
class Leads:
    """The leading axes of values in one function.

    Attributes:
        of: those of a value.
        collected: those of what a read or a sum takes.
    """

    of: Callable[[Value], tuple[str, ...]]
    collected: Callable[[Value], tuple[str, ...]]

    @classmethod
    def everywhere(cls) -> Leads:
        """At all places."""
        return cls(everywhere, lambda value: COUNTS[read_domain(value)])

    @classmethod
    def of_step(cls, frames: Mapping[Value, Frame]) -> Leads:
        """At the places of one level."""
        return cls(lambda value: (frames[value].value,) if value in frames else (), lambda v: (collected(v).value,))


def counts(level: str, used: Iterable[str]) -> Iterator[str]:
    """Statements for those of the leading axes that a text uses."""
    sides = {"nodes": "nodes", "edges": "leaving", "turns": "turns", "entering": "entering", "leaving": "leaving"}
    names = set(used)
    return (f"{name} = {level}.{side}.shape[0]" for name, side in sides.items() if name in names)


def node_count(cell: Cell) -> str:
    """The expression of the number of nodes; `nodes` where no input tells it."""
    told = [each.name for each in cell.inputs if each.domain is Domain.NODE]
    told += [each.name for each in cell.noises if each.domain is Domain.NODE]
    return f'inputs["{told[0]}"].shape[0]' if told else "nodes"


def parameters(cell: Cell) -> str:
    """What `apply` takes."""
    return "params, inputs, graph=None" + (", nodes=None" if node_count(cell) == "nodes" else "")


def leaves(roots: Iterable[Value]) -> Mapping[tuple[str, str], Value]:
    """Params, inputs and noises among what values are made of, by operation and name."""
    found = (value for value in postorder(roots) if value.op in ("param", "input", "noise", "state"))
    return {(value.op, str(value.attr("name"))): value for value in found}


def given(cell: Cell) -> tuple[tuple[str, str, list[str]], ...]:
    """Operations of leaves, the argument that holds them, and their names."""
    return (
        ("param", "params", [param.name for param in cell.params]),
        ("input", "inputs", [declared.name for declared in cell.inputs]),
        ("noise", "inputs", [noise.name for noise in cell.noises]),
    )


def header(plan: GraphPlan, types: str, source_name: str, command: str, needs: str) -> str:
    """The docstring of a module."""
    states = ", ".join(state.name for state in plan.cell.states)
    run = "Every place by itself."
    if plan.system is not None:
        run, backward = (text.format(states=states) for text in _ROUNDS)
    elif states:
        run, backward = (text.format(states=states) for text in _LEVELS)
    told = [textwrap.fill(text, WIDTH, subsequent_indent="    ") for text in ([run, backward] if states else [run])]
    parts = [title(plan.cell), _arrays(plan.cell), types, "\n".join(told)]
    return "\n\n".join(part for part in (*parts, origin(source_name, command, needs)) if part)


def apply_docstring(cell: Cell) -> str:
    """What `apply` says of itself."""
    lines = [
        "Run a whole graph: (outputs, the state of every edge) by name.",
        "",
        'The inputs "edges" [E, 2] and "turns" [n, 2] say what the graph is, or `graph`, made of them by `prepare`.',
    ]
    lines += ["Where `graph` is not given, `nodes` is the number of nodes."] * (node_count(cell) == "nodes")
    return "\n".join(lines)


def _arrays(cell: Cell) -> str:
    rows: list[tuple[str, Sequence[str], Sequence[tuple[str, Shape, Kind]]]] = []
    given = [(each.name, each.shape, each.kind, each.domain) for each in cell.inputs]
    given += [(each.name, each.shape, Kind.FLOAT, each.domain) for each in cell.noises]
    for domain, lead in COUNTS.items():
        rows.append(("inputs", lead, [(name, shape, kind) for name, shape, kind, own in given if own is domain]))
    rows.append(("params", (), [(p.name, p.shape, p.kind) for p in cell.params]))
    rows.append(("state", ("edges",), [(s.name, s.shape, s.kind) for s in cell.states]))
    for domain, lead in COUNTS.items():
        own = [o for o in cell.outputs if o.value.domain is domain]
        rows.append(("outputs", lead, [(o.name, o.value.shape, o.value.kind) for o in own]))
    return "\n".join(["Arrays, by name:", table(rows)])
