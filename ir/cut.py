"""Where to draw the line between what runs inside a loop and what runs for all positions at once.

Both sides of a loop pose the same question: which values cross the line?  Each costs its number of elements at every
position, so the answer is a minimum cut.  Among cuts of equal cost the caller chooses a side: a line close to the loop
moves element-wise work out of it (right where a step is dear), a distant one keeps it inside (right where memory
traffic is).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import networkx as nx

from lsrl.ir.dims import count
from lsrl.ir.value import Value

SOURCE, SINK = "source", "sink"


def minimum_cut(
    values: Sequence[Value],
    arguments: Callable[[Value], Iterable[Value]],
    sources: Iterable[Value],
    needed: Iterable[Value],
    sizes: Mapping[str, int],
    late: bool,
    free: Collection[Value] = (),
) -> tuple[Value, ...]:
    """The cheapest set of values from which everything needed beyond the line follows, in the order of `values`.

    Args:
        values: the vertices, operands before users.
        arguments: the operands of a value that are vertices too.
        sources: computed before the line; they may be in the cut.
        needed: what the other side of the line asks for; these may be in the cut too.
        late: among equally cheap cuts the one nearest to what is needed, otherwise the one nearest to the sources.
        free: values that are written wherever they are computed, so that crossing costs them nothing.
    """
    # networkx returns the cut nearest to the flow's target.
    graph = nx.DiGraph()
    graph.add_nodes_from((SOURCE, SINK))
    for value in values:
        elements = 0 if value in free else max(1, count(value.shape).evaluate(sizes))
        graph.add_edge((value, "in"), (value, "out"), capacity=elements)
        for argument in arguments(value):
            graph.add_edge((argument, "out"), (value, "in"))
    graph.add_edges_from((SOURCE, (value, "in")) for value in sources)
    graph.add_edges_from(((value, "out"), SINK) for value in needed)
    if late:
        _, (before, after) = nx.minimum_cut(graph, SOURCE, SINK)
    else:
        _, (after, before) = nx.minimum_cut(graph.reverse(copy=True), SINK, SOURCE)
    return tuple(value for value in values if (value, "in") in before and (value, "out") in after)
