"""Back-propagation over a graph: the cotangents of the edges' states solve the transposed equation, edge by edge back.

With `state = next(state)`, the cotangent of a state is what reaches it from outside plus what reaches it through the
next states of later edges; again as many passes as the longest path has edges make it right everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import Env, evaluate, run, split_loop
from lsrl.backends.evaluation.scope import Scope, spread
from lsrl.backends.reference.graph import arriving
from lsrl.backends.reference.pullback import Collected, differentiable, pull, seeds, statics, varying_leaves
from lsrl.backends.topology import Topology, longest_path
from lsrl.ir import ops
from lsrl.ir.adjoint import cotangents
from lsrl.ir.cell import Cell
from lsrl.ir.infer import GRAPH_READS, GRAPH_SUMS
from lsrl.ir.ops import Family, family
from lsrl.ir.substitute import substitute, with_args
from lsrl.ir.value import Domain, Value, postorder


def localised(cell: Cell) -> Cell:
    """The cell with every use, at nodes, edges or turns, of what is the same everywhere made an operation.

    The adjoint of that operation is the sum over all nodes, edges or turns: so the cotangents of a param used at
    nodes and at edges can meet.
    """
    table: dict[Value, Value] = {}
    for value in postorder(cell.roots()):
        domain = _operand_domain(value)
        args = [ops.apply("read", a, via=domain.value) if domain and not a.domain else a for a in value.args]
        if args != list(value.args):
            table[value] = with_args(value, args)
    return replace(substitute(cell, table), names={}, spans={})


def pull_back(
    cell: Cell,
    scope: Scope,
    topology: Topology,
    env: Env,
    outputs: Sequence[tuple[Value, Array]],
    final: Mapping[str, Array],
) -> Collected:
    """The cotangents of a localised cell's inputs and static values.

    Args:
        env: what `solve` computed.
        outputs: the cotangent of each output's value.
        final: the cotangents of edges' states, by name; zero when missing.
    """
    roots = list(cell.roots())
    targets = [*varying_leaves(roots), *statics(roots)]
    collected = Collected()
    pull(outputs, targets, env, scope, collected)
    states = [state for state in cell.states if differentiable(state.next)]
    leaves = [arriving(state) for state in states]
    nexts = [state.next for state in states]
    places = (len(topology.edges),)
    outside = [collected.of(leaf, places, scope) + final.get(state.name, 0) for leaf, state in zip(leaves, states)]
    passed = _solved(nexts, leaves, outside, env, scope, longest_path(topology))
    pull(list(zip(nexts, passed)), [t for t in targets if t not in leaves], env, scope, collected)
    return collected


def _solved(
    nexts: Sequence[Value], leaves: Sequence[Value], outside: Sequence[Array], env: Env, scope: Scope, passes: int
) -> list[Array]:
    given = seeds(nexts)
    pulled = cotangents(nexts, given, leaves, independent=True)
    body, used = split_loop(pulled, set(given))
    known = dict(env)
    evaluate(used, known, scope)
    solved = list(outside)
    for _ in range(passes):
        local = known | dict(zip(given, solved))
        run(body, local, scope)
        parts = [spread(cotangent, local[cotangent], array.shape[:1]) for cotangent, array in zip(pulled, outside)]
        solved = [array + part for array, part in zip(outside, parts)]
    return solved


def _operand_domain(value: Value) -> Domain:
    """Where an operation's operands live."""
    if family(value.op) is not Family.GRAPH:
        return value.domain
    via = str(value.attr("via"))
    return GRAPH_READS[via][0] if value.op == "read" else GRAPH_SUMS[via][0]
