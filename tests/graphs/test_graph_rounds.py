"""Affine recurrences over graphs in rounds: the elimination, how many rounds it takes, and the programs it runs."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

import jax
import numpy as np
import pytest

import lsrl
from lsrl.backends.arrays import Array
from lsrl.backends.runtime.graph_rounds import Rounds, cost_of_rounds, eliminated, level_rounds, rounds_of
from lsrl.backends.topology import make_topology
from lsrl.cli import main
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.laws import simplify
from lsrl.ir.schedules.how import Dag, HowError, NotLegal, parse_how
from lsrl.ir.schedules.how import Rounds as RoundsHow
from lsrl.ir.schedules.rounds_form import rounds_form
from lsrl.ir.schedules.rounds_stability import stability
from lsrl.random_arrays import random_weights
from lsrl.random_graphs import random_dag, random_graph_arrays
from lsrl.verify import relative_errors
from support.graph_programs import PLSTM, TREE_LSTM

TARGETS = ("jax", "triton")
TWO_STATES = """
cell two(H, K) over graph:  # states that meet along turns and in sums at nodes, each with weights of its own
    node input x: [H, K], g: []
    edge input e: [H], w: []
    turn input t: []
    param scale: [K]
    edge state c, d: [H, K]
    a = g * sum_in(diag(e) @ c) + x
    c' = (w * a + w * sum_in(t * d) - sum_in(t * (c / 2 + x))) @ diag(scale) + w * x
    d' = 2 * sum_in(w * a) - sum_in(d)
    output o = sum_in(c), p = sum_in(d)
"""
MATRICES = """
cell tracking(N, J, V) heads N over graph:  # matrices for turns and a node's, and numbers beside them
    node input x: [J, V], R: [J, J]
    edge input e: []
    turn input T: [J, J], t: []
    param W: [J, J]
    edge state C: [J, V]
    C' = sum_in(T @ C) - e * (W @ sum_in(t * C + t * x)) + R @ sum_in(e * C) + x
    output o = sum_in(C)
"""
PROGRAMS = {
    "plstm": (PLSTM, {"K": 2, "V": 3}),
    "two": (TWO_STATES, {"H": 2, "K": 2}),
    "matrices": (MATRICES, {"N": 2, "J": 2, "V": 3}),
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def path(nodes: int) -> Array:
    return np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)


def tree(nodes: int, reach: int = 3) -> Array:
    """A deep random tree: each node hangs below one of the few before it."""
    generator = np.random.default_rng(0)
    above = np.array([generator.integers(max(0, node - reach), node) for node in range(1, nodes)])
    return np.stack([above, np.arange(1, nodes)], 1)


def caterpillar(nodes: int) -> Array:
    """A path with a leaf at each of its nodes."""
    half = nodes // 2
    return np.concatenate([path(half), np.stack([np.arange(half), half + np.arange(half)], 1)])


def diamonds(nodes: int) -> Array:
    """A chain of pairs of ways."""
    first = 3 * np.arange(nodes // 3)
    ways = [(first, first + 1), (first, first + 2), (first + 1, first + 3), (first + 2, first + 3)]
    return np.concatenate([np.stack(pair, 1) for pair in ways])


def series_parallel(arcs: int) -> Array:
    """An arc is doubled or cut in two, again and again."""
    generator, found, nodes = np.random.default_rng(0), [(0, 1)], 2
    while len(found) < arcs:
        place = generator.integers(len(found))
        start, end = found[place]
        if generator.random() < 0.3:
            found.append((start, end))
        else:
            found[place] = (start, nodes)
            found.append((nodes, end))
            nodes += 1
    return np.array(found)


def fan(nodes: int) -> Array:
    """A path, each of whose nodes has an edge to its last one besides."""
    return np.concatenate([path(nodes), np.stack([np.arange(nodes - 2), np.full(nodes - 2, nodes - 1)], 1)])


def ladder(nodes: int) -> Array:
    """Two paths, with an edge from each node of the first to its fellow."""
    half = nodes // 2
    return np.concatenate([path(half), half + path(half), np.stack([np.arange(half), half + np.arange(half)], 1)])


SLIM = {
    "path": path,
    "tree": tree,
    "caterpillar": caterpillar,
    "diamonds": diamonds,
    "series-parallel": series_parallel,
    "fan": fan,
    "ladder": ladder,
}


def solved(rounds: Rounds, weights: Array, sources: Array, *, backwards: bool = False) -> Array:
    """What the rounds say, step by step."""
    every = np.concatenate([weights, [1], np.zeros(rounds.slots - len(weights) - 1)])
    for first, last in zip(rounds.fill_first[:-1], rounds.fill_first[1:]):
        left, right, slot = (x[first:last] for x in (rounds.fill_left, rounds.fill_right, rounds.fill_slot))
        np.add.at(every, slot, every[left] * every[right])
    found = sources.copy()
    pieces = [slice(*ends) for ends in zip(rounds.step_first[:-1], rounds.step_first[1:])]
    start, end = (rounds.step_to, rounds.step_from) if backwards else (rounds.step_from, rounds.step_to)
    for piece in pieces[::-1] if backwards else pieces:
        np.add.at(found, end[piece], every[rounds.step_slot[piece]] * found[start[piece]])
    return found


@pytest.mark.parametrize("seed", range(40))
def test_rounds_solve_the_system_and_its_transpose(seed: int) -> None:
    """Against the inverse of 1 - A, the sum over all paths; parallel arcs and single unknowns among them."""
    generator = np.random.default_rng(seed)
    unknowns = int(generator.integers(1, 30))
    arcs = random_dag(generator, unknowns, 1.5)
    start, end = np.concatenate([arcs, arcs[: len(arcs) // 4]]).T
    weights, sources = generator.normal(size=len(start)), generator.normal(size=unknowns)
    matrix = np.eye(unknowns)
    np.subtract.at(matrix, (end, start), weights)
    for found in (level_rounds(start, end, unknowns), eliminated(start, end, unknowns)):
        np.testing.assert_allclose(solved(found, weights, sources), np.linalg.solve(matrix, sources), 1e-9, 1e-9)
        back = solved(found, weights, sources, backwards=True)
        np.testing.assert_allclose(back, np.linalg.solve(matrix.T, sources), 1e-9, 1e-9)


@pytest.mark.parametrize("turned", [False, True], ids=["out", "in"])
@pytest.mark.parametrize("kind", SLIM)
def test_the_number_of_rounds_is_logarithmic(kind: str, turned: bool) -> None:
    """Where levels are as many as nodes, or a part of them; and there is less than twice as much work."""
    for size in (300, 20_000):
        edges = SLIM[kind](size)
        start, end = edges.T[::-1] if turned else edges.T
        unknowns = int(edges.max()) + 1
        found = eliminated(start, end, unknowns)
        assert len(found.step_first) - 1 <= 3.2 * log2(size)
        assert len(found.fill_first) - 1 <= 1.6 * log2(size)
        assert len(found.step_from) <= 2.2 * len(edges)
        assert cost_of_rounds(rounds_of(start, end, unknowns)) <= cost_of_rounds(level_rounds(start, end, unknowns))


def test_few_wide_levels_stay_levels() -> None:
    start, end = random_dag(np.random.default_rng(0), 1000).T
    found = rounds_of(start, end, 1000)
    assert len(found.fill_left) == 0
    assert len(found.step_from) == len(start)


def cell_of(name: str) -> Cell:
    text, sizes = PROGRAMS[name]
    return simplify(lsrl.parse(text).bind(sizes)[0])


def test_the_system_is_read_off_the_graph() -> None:
    plstm, two = (rounds_form(cell_of(name), PROGRAMS[name][1]) for name in ("plstm", "two"))
    assert [(a.start, a.end, a.one, a.two) for a in plstm.arcs] == [("turn_in", "turn_out", 0, 0)]
    assert plstm.axes == ()  # one weight for the whole matrix
    assert len(two.unknowns) == 5
    assert two.axes == (0, 1)


@pytest.mark.parametrize(
    ("name", "kind"), [("plstm", "diamonds"), ("two", "path"), ("two", "random"), ("matrices", "path")]
)
@pytest.mark.parametrize("target", TARGETS)
def test_values_and_gradients(target: str, name: str, kind: str) -> None:
    """Against the reference, which goes from node to node; the two slim graphs are eliminated."""
    text, sizes = PROGRAMS[name]
    edges = random_dag(np.random.default_rng(1), 20) if kind == "random" else SLIM[kind](120)
    generator, nodes = np.random.default_rng(2), int(edges.max()) + 1
    edges = generator.permutation(generator.permutation(nodes)[edges])
    program = lsrl.parse(text)
    params, inputs, _ = random_graph_arrays(*program.bind(sizes), nodes, graph=make_topology(nodes, edges))
    inputs = {n: a / 3 if a.dtype.kind == "f" else a for n, a in inputs.items()}
    truth = lsrl.compile(program, target="reference", sizes=sizes)
    ours = lsrl.compile(program, target=target, sizes=sizes, schedule="dag(rounds)", dtype="float64")
    graph = ours.engine.module.prepare(inputs["edges"], inputs["turns"], nodes)
    fills = graph.fills.start if target == "jax" else graph.rounds.fill_left
    assert bool(len(fills)) == (kind != "random")
    found, wanted = ours(params, inputs), truth(params, inputs)
    weights = random_weights({**wanted.outputs, **{f"state.{n}": a for n, a in wanted.state.items()}})
    mine, theirs = (each.gradients(params, inputs, cotangents=weights) for each in (ours, truth))
    for one, other in (
        (found.outputs, wanted.outputs),
        (found.state, wanted.state),
        (mine.params, theirs.params),
        (mine.inputs, theirs.inputs),
    ):
        numbers = {n: ours.engine.to_numpy(array) for n, array in one.items()}
        assert max(relative_errors(numbers, dict(other)).values(), default=0) <= 1e-10


NOT_AFFINE = {
    "nonlinear": (TREE_LSTM, "no sum of `h` and `c` times what is known"),
    "whole numbers": ("edge state n: [] int\n    n' = 1 + sum_in(n)", "`n` holds int values"),
    "shapes": (
        "edge state c: [H], d: []\n    c' = sum_in(c) + x\n    d' = sum_in(d) + 1",
        "`c` and `d` differ in shape",
    ),
    "large matrices": ("edge state c: [H]\n    c' = W @ sum_in(c) + x", "3 by 3, larger than the 1 columns"),
    "two sides": ("edge state c: [H, H]\n    c' = W @ sum_in(c) @ W", "several axes"),
    "turned": ("edge state c: [H, H]\n    c' = sum_in(c).T", "no sum of `c` times what is known"),
    "columns": ("edge state c: [H, H]\n    c' = W @ sum_in(c) @ diag(x)", "from column to column"),
}


@pytest.mark.parametrize("case", NOT_AFFINE)
def test_what_no_rounds_serve_is_refused_with_the_reason(case: str) -> None:
    text, reason = NOT_AFFINE[case]
    if "cell" not in text:
        head = "cell own(H) over graph:\n    node input x: [H]\n    param W: [H, H]\n    "
        text = f"{head}{text}\n    output o = x\n"
    program = lsrl.parse(text)
    with pytest.raises(NotLegal, match=reason):
        rounds_form(*program.bind({"H": 3, **({"D": 2} if case == "nonlinear" else {})}))


def test_the_schedule_is_chosen_where_it_serves() -> None:
    assert lsrl.compile(lsrl.parse(PLSTM), target="jax", sizes={"K": 2, "V": 2}).schedule.hows == {"C": RoundsHow()}
    tree_lstm = lsrl.compile(lsrl.parse(TREE_LSTM), target="jax", sizes={"D": 2, "H": 2})
    assert tree_lstm.schedule.hows == {"h": Dag(), "c": Dag()}
    parts = "edge state c, d: []\n    c' = sum_in(c) + x\n    d' = sum_in(d) + x"
    apart = lsrl.parse(f"cell apart() over graph:\n    node input x: []\n    {parts}\n    output o = sum_in(c + d)\n")
    with pytest.raises(Refusal, match="all states run by `dag\\(rounds\\)`, as one system, or all by `dag`"):
        lsrl.compile(apart, target="jax", schedule="c=dag,d=dag(rounds)")
    with pytest.raises(Refusal, match="`dag\\(rounds\\)`"):
        lsrl.compile(lsrl.load("std/md_rnn"), target="jax", sizes={"D": 2, "H": 2}, schedule="dag(rounds)")


def test_the_schedule_reads_back() -> None:
    assert parse_how("dag(rounds)") == RoundsHow()
    assert str(RoundsHow()) == "dag(rounds)"
    with pytest.raises(HowError, match="`rounds` alone"):
        parse_how("dag(rounds, 8)")


WEIGHTS = {
    "t": "unbounded",
    "tanh(t)": "D-mode",
    "t / max(1, sum_out(abs(t)))": "P-mode",
    "exp(t) / sum_out(exp(t))": "P-mode",
    "tanh(g) * (t / (1/2 + sum_out(abs(t))))": "P-mode",
    "t / sum_out(t)": "unbounded",
    "2 * (t / max(1, sum_out(abs(t))))": "unbounded",
    "t / max(1, sum_out(abs(2 * t)))": "unbounded",
}


@pytest.mark.parametrize("weight", WEIGHTS)
def test_what_bounds_states_is_read_off_the_program(weight: str) -> None:
    """What is told holds on a random graph."""
    program = lsrl.parse(
        "cell passing() over graph:\n    node input x: []\n    turn input t: []\n    edge input g: []\n"
        f"    edge state c: []\n    w = {weight}\n    c' = sum_in(w * c) + x\n    total = max_in(sum_out(abs(w)))\n"
        "    largest = max_in(max_in(abs(w)))\n    output o = sum_in(c), total, largest\n"
    )
    cell = simplify(program.cell({}))
    told = stability(cell, rounds_form(cell, {}))
    assert told is not None
    assert told.value == WEIGHTS[weight]
    assert told.spans
    found = lsrl.compile(program, target="reference")({}, random_graph_arrays(cell, {}, 30, seed=1)[1]).outputs
    if told.value == "P-mode":
        assert found["total"].max() <= 1 + 1e-12
    if told.value == "D-mode":
        assert found["largest"].max() <= 1


def test_explain_says_what_bounds_states(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "std/plstm_graph_p", "--set", "N=1", "K=2", "V=2"])
    told = " ".join(capsys.readouterr().out.split())
    assert "The absolute weights of the turns out of an edge sum to at most 1" in told
