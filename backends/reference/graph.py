"""Running a cell over a directed acyclic graph, where states live on edges.

What arrives along an edge is what the node it starts from passed on, so the states are the solution of

    state = next(state)

in which an edge depends only on edges before it.  Putting in what is known again and again, each time all edges at
once, is right for the edges out of sources after one pass, and for all of them after as many as the longest path has
edges.  Sums over the edges into a node that has none are 0, the largest of nothing is -inf; a graph has no other
start, and the `init` of a state is not used.
"""

from __future__ import annotations

from math import inf

from lsrl.backends.evaluation.evaluate import Env, evaluate, order, run, split_loop
from lsrl.backends.evaluation.scope import Scope, spread
from lsrl.backends.topology import Topology, longest_path
from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, Cell, State
from lsrl.ir.pipeline import PipelineError
from lsrl.ir.value import Value

STEPS = {
    ("read", "edge.to"): 1,
    ("sum_in", "edge.to"): -1,
    ("max_in", "edge.to"): -1,
    ("read", "turn.in"): -1,
    ("sum_in", "turn.in"): 1,
    ("max_in", "turn.in"): 1,
}
"""How much further along the graph, seen from its own place, the result of an operation reads states."""


def solve(cell: Cell, scope: Scope, topology: Topology, env: Env) -> None:
    """Add the state of every edge to `env`, which holds params [*shape], node inputs [nodes, *shape] and so on.

    Raises:
        PipelineError: a state is read other than through the edges into a node, or is reversed.
    """
    check_causal(cell)
    leaves = [arriving(state) for state in cell.states]
    nexts = [state.next for state in cell.states]
    body, outside = split_loop(nexts, leaves)
    evaluate(outside, env, scope)
    places = (len(topology.edges),)
    known = {leaf: scope.zeros(places, leaf) for leaf in leaves}
    for _ in range(longest_path(topology)):
        local = env | known
        run(body, local, scope)
        known = {leaf: spread(following, local[following], places) for leaf, following in zip(leaves, nexts)}
    env.update(known)


def arriving(state: State) -> Value:
    """The leaf that stands for the state of each edge."""
    return ops.state(state.name, GRAPH, state.shape, state.kind, state.domain)


def check_causal(cell: Cell) -> None:
    """See that an edge's next state reads states only of edges that end where it starts, or before.

    `reach` says of a value how far along the graph it reads states: an edge's own is 1, those of the edges into the
    node at hand, or into the node that an edge starts from, are 0.

    Raises:
        PipelineError: names the state that does otherwise.
    """
    reach: dict[Value, float] = {}
    for value in order([state.next for state in cell.states], ()):
        via = str(value.attr("via")) if value.op in ("read", "sum_in", "max_in") else ""
        furthest = max((reach[arg] for arg in value.args), default=-inf)
        if value.op == "state":
            reach[value] = 1
        elif value.op in ("sum_in", "max_in") and via in ("node", "edge", "turn"):
            reach[value] = inf if furthest > -inf else -inf
        else:
            reach[value] = furthest + STEPS.get((value.op, via), 0)
    for state in cell.states:
        if reach[state.next] > 0:
            raise PipelineError(f"{state.name}' reads states other than those of edges into the node it starts from")
        if state.reverse:
            raise PipelineError(f"{state.name} is reversed; a graph has one direction, that of its edges")
