"""What modules of programs over graphs whose states are solved in rounds say in every framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from lsrl.backends.expressions import Code, call, subscript, tupled
from lsrl.backends.graph_text import COUNTS
from lsrl.backends.thin import repeated
from lsrl.backends.writer import Writer
from lsrl.ir.schedules.rounds_form import RoundsForm
from lsrl.ir.value import Domain, Value

Arrays = Callable[[Value, Sequence[str]], Code]
"""The code of a value with leading axes."""
SIDES = {Domain.EDGE: "leaving", Domain.NODE: "nodes"}
"""The side of a level that has a place for each unknown."""
PREPARE = """A graph as `apply` takes it; ValueError where an edge leads outside, a turn is none, or edges form a cycle.

edges [E, 2], node from and node to; turns [n, 2], an edge into a node and one out of it, all by default."""


def write_prepare(form: RoundsForm | None, writer: Writer, *options: str) -> None:
    """The function `prepare`, and what it is told of the system where there is one.

    Args:
        options: what it takes besides a graph.
    """
    given = ["edges", "turns", "nodes", *options]
    if form is not None:
        unknowns = [f'"{SIDES[each.leaf.domain]}"' for each in form.unknowns]
        arcs = [f'("{each.start}", "{each.end}", {each.one}, {each.two})' for each in form.arcs]
        writer.line(f"UNKNOWNS = {tupled(unknowns)}", "sorts of unknowns: one for each place of that side")
        writer.line(f"ARCS = {tupled(arcs)}", "sorts of arcs: where they start and end, and at which sort of unknowns")
        writer.blank(2)
        given = ["ARCS", "UNKNOWNS", *given]
    takes = ["edges", *(f"{name}=None" for name in ("turns", "nodes", *options))]
    with writer.block(f"def prepare({', '.join(takes)}):"):
        writer.docstring(PREPARE)
        writer.line(f"return {call('prepare_levels' if form is None else 'prepare_system', *given)}")


def named_operands(form: RoundsForm, is_number: Callable[[Value], bool]) -> list[Value]:
    """What weights and sources are made of, but for numbers that are repeated."""
    scalars = {value: repeated(value) for value in form.operands}
    return [value for value, scalar in scalars.items() if not (scalar and is_number(scalar))]


def write_solution(
    form: RoundsForm, writer: Writer, array: Arrays, bind: Callable[[Value], str], concatenate: str
) -> None:
    """The weights and sources of the system, and its solution under the names of the states."""
    writer.blank()
    writer.line(f"weights = {_joined(_weights(form, array), concatenate)}")
    writer.line(f"sources = {_joined(_sources(form, array), concatenate)}")
    if len(form.unknowns) == 1:
        writer.line(f"{bind(form.unknowns[0].leaf)} = {_solved(form)}")
        return
    writer.line(f"known = {_solved(form)}")
    for leaf, piece in _pieces(form):
        writer.line(f"{bind(leaf)} = known[{piece}]")


def _weights(form: RoundsForm, array: Arrays) -> list[Code]:
    """The weights of each sort of arcs, with an axis for each axis of a state, or of a matrix's rows and columns."""
    rank = len(form.unknowns[0].leaf.shape) if form.matrix is None else form.matrix
    of_matrix = [] if form.matrix is None else [":", ":"]
    index = ", ".join([":", *(":" if axis in form.axes else "None" for axis in range(rank)), *of_matrix])
    found = [array(each.weight, COUNTS[each.domain]) for each in form.arcs]
    return found if len(form.axes) == rank else [subscript(code, index) for code in found]


def _solved(form: RoundsForm) -> str:
    """The call that solves the system."""
    return f"{'solved_rounds' if form.matrix is None else 'solved_matrices'}(graph, weights, sources)"


def _sources(form: RoundsForm, array: Arrays) -> list[Code]:
    """What each sort of unknowns is besides what arrives."""
    return [array(each.source, COUNTS[each.leaf.domain]) for each in form.unknowns]


def _joined(codes: Sequence[Code], function: str) -> Code:
    """Arrays one after the other."""
    return codes[0] if len(codes) == 1 else call(function, tupled([str(code) for code in codes]))


def _pieces(form: RoundsForm) -> Iterator[tuple[Value, str]]:
    """Each sort of unknowns, and the code of where it is among all."""
    begin: list[str] = []
    for each in form.unknowns:
        (count,) = COUNTS[each.leaf.domain]
        yield each.leaf, f"{_total(begin)}:{_total([*begin, count])}"
        begin.append(count)


def _total(counts: Iterable[str]) -> str:
    """`2 * edges + nodes`"""
    every = list(counts)
    numbers = {name: every.count(name) for name in every}
    return " + ".join(name if number == 1 else f"{number} * {name}" for name, number in numbers.items())
