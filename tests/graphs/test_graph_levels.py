"""Levels of graphs, the runs that JAX pads them to, and the step that runs at each level."""

from __future__ import annotations

import numpy as np
import pytest

import lsrl
from lsrl.backends.graph_text import node_count
from lsrl.backends.runtime.graph_levels import all_turns, levels_of, node_depths
from lsrl.backends.runtime.jax_levels import MOST_LEVEL_RUNS, PADDED_PLACES, level_runs, prepare_levels
from lsrl.ir import ops
from lsrl.ir.build import add
from lsrl.ir.dims import Dim
from lsrl.ir.graph_plan import Frame, GraphPlanError, make_graph_plan
from lsrl.ir.value import Domain
from lsrl.random_graphs import random_dag
from support.cells import arrives, cell_of, input_, state
from support.graph_programs import MESSAGES_OF_NODES, PLSTM

DIAMOND = np.array([(4, 0), (0, 3), (4, 3), (0, 2), (3, 2), (3, 1), (2, 1), (4, 1), (5, 2)])


def test_the_depth_of_a_node_is_its_longest_path() -> None:
    assert node_depths(DIAMOND, 6).tolist() == [1, 4, 3, 2, 0, 0]


def test_turns_are_all_pairs_in_the_order_of_edges() -> None:
    edges = random_dag(np.random.default_rng(0), 20)
    pairs = [(a, b) for a in range(len(edges)) for b in range(len(edges)) if edges[a, 1] == edges[b, 0]]
    assert all_turns(edges, 20).tolist() == [list(pair) for pair in pairs]
    assert all_turns(DIAMOND[:0], 6).shape == (0, 2)


@pytest.mark.parametrize("seed", range(5))
def test_levels_hold_every_place_once(seed: int) -> None:
    """Edges into a level's nodes leave lower levels; local places lead back to what the graph says."""
    nodes = 30
    edges = random_dag(np.random.default_rng(seed), nodes)
    turns = all_turns(edges, nodes)
    sorts, level = levels_of(edges, turns, nodes)
    assert sorted(level.leaving) == list(range(len(edges)))
    assert sorted(level.turns) == list(range(len(turns)))
    assert set(level.nodes) == set(edges[:, 0])
    depth = node_depths(edges, nodes)
    for number in range(len(sorts[0].first) - 1):
        own, entering, leaving, inner = (s.members[s.first[number] : s.first[number + 1]] for s in sorts)
        piece = [slice(s.first[number], s.first[number + 1]) for s in sorts]
        assert (depth[own] == number).all()
        assert (depth[edges[entering, 0]] < number).all()
        assert (own[level.edge_from[piece[2]]] == edges[leaving, 0]).all()
        assert (own[level.edge_to[piece[1]]] == edges[entering, 1]).all()
        assert (entering[level.turn_in[piece[3]]] == turns[inner, 0]).all()
        assert (leaving[level.turn_out[piece[3]]] == turns[inner, 1]).all()


def padded(counts: np.ndarray) -> int:
    return sum((end - start) * int(counts[start:end].max(0).sum()) for start, end in level_runs(counts))


@pytest.mark.parametrize(
    "widths",
    [
        np.full(100_000, 1),
        2 ** np.arange(16)[::-1],
        np.append(50_000, np.full(5_000, 2)),
        np.random.default_rng(0).integers(1, 3_000, 60),
    ],
    ids=["path", "tree", "star and path", "random"],
)
def test_padding_at_most_doubles_the_work(widths: np.ndarray) -> None:
    counts = np.repeat(widths[:, None], 4, 1)
    runs = level_runs(counts)
    assert [start for start, _ in runs] == [0, *(end for _, end in runs[:-1])]
    assert runs[-1][1] == len(widths)
    assert len(runs) <= MOST_LEVEL_RUNS
    assert padded(counts) <= 2 * counts.sum() + len(runs) * PADDED_PLACES


def test_levels_that_alternate_have_few_runs() -> None:
    counts = np.repeat(np.tile([1, 100_000], 50)[:, None], 4, 1)
    assert len(level_runs(counts)) <= MOST_LEVEL_RUNS


def test_the_row_of_states_holds_every_edge_once() -> None:
    graph = prepare_levels(DIAMOND, None, None)
    place, row = np.asarray(graph.place), np.asarray(graph.row)
    assert row[place].tolist() == list(range(len(DIAMOND)))
    assert (row < len(DIAMOND)).sum() == len(DIAMOND)


def test_a_graph_without_edges_has_no_levels() -> None:
    graph = prepare_levels(np.zeros((0, 2), np.int64), None, 3)
    assert graph.runs == ()
    assert graph.whole.nodes.shape == (3,)


def test_the_step_reads_what_needs_no_states() -> None:
    cell, sizes = lsrl.parse(PLSTM).bind({"K": 2, "V": 3})
    levels = make_graph_plan(cell, sizes).levels
    assert levels is not None
    assert [read.frame for read in levels.reads] == [Frame.LEAVING, Frame.TURNS]
    assert levels.reads[0].value.domain is Domain.EDGE  # s * outer(k, v), for all edges at once
    assert levels.statics == ()


def test_what_is_made_where_an_edge_leaves_is_passed_on_to_where_it_enters() -> None:
    cell, sizes = lsrl.parse(MESSAGES_OF_NODES).bind({"H": 3})
    levels = make_graph_plan(cell, sizes).levels
    assert levels is not None
    assert [(state.name, state.hidden) for state in levels.states] == [("c", False), ("y.0", True)]


def test_states_of_later_edges_are_refused() -> None:
    shape = (Dim.of("H"),)
    carried = arrives("c", *shape, axis="graph", domain=Domain.EDGE)
    sizes = {"H": 2}
    own = cell_of({"o": ops.apply("sum_in", carried, via="edge.to")}, [state(carried, carried)], ("graph",))
    with pytest.raises(GraphPlanError, match="c' reads states other than those of edges into the node"):
        make_graph_plan(own, sizes)
    everywhere = ops.apply("read", ops.apply("sum_in", carried, via="edge"), via="edge")
    whole = cell_of({}, [state(carried, add(everywhere, input_("x", *shape, domain=Domain.EDGE)))], ("graph",))
    with pytest.raises(GraphPlanError, match="c' needs a sum over the whole graph"):
        make_graph_plan(whole, sizes)


def test_a_program_without_inputs_of_nodes_is_told_their_number() -> None:
    program = lsrl.parse("cell ends() over graph:\n    edge input w: []\n    output y = sum_in(w)\n")
    assert node_count(program.cell({})) == "nodes"
    inputs = {"w": np.ones(2), "edges": np.array([(0, 1), (2, 1)])}
    for target in ("reference", "jax", "triton"):
        found = lsrl.compile(program, target=target)({}, inputs, length=4).outputs["y"]
        assert np.asarray(found).tolist() == [0, 2, 0, 0]


def test_what_is_repeated_is_read_before_it_is() -> None:
    """A turn's number, and not a matrix of it for each turn."""
    levels = make_graph_plan(lsrl.parse(PLSTM).cell({}), {"K": 2, "V": 2}).levels
    assert levels is not None
    ranks = {str(read.value.attr("name")): read.leaf.rank for read in levels.reads if read.frame is Frame.TURNS}
    assert ranks == {"t": 0}
    assert all(read.value.op != "expand" for read in levels.reads)
