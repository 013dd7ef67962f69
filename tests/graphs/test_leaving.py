"""`sum_out` and `max_out`: what leaves a node or an edge, collected where it leaves."""

from __future__ import annotations

import numpy as np
import pytest

import lsrl
from lsrl import graphs
from lsrl.unparse import unparse

TEXT = """\
cell passing(K) over graph:
    node input x: [K]
    node input g: []
    edge input e: []
    turn input t: []
    edge state C: [K] = 0

    C' = sum_in(t / sum_out(t * e * g) * C) + max_out(e * g) * x + e * sum_out(x)

    output o = sum_in(C) + sum_out(e) * x
"""


def test_what_leaves_is_collected_where_it_leaves() -> None:
    generator = np.random.default_rng(0)
    graph = graphs.make(np.array([(4, 0), (0, 3), (4, 3), (0, 2), (3, 2), (3, 1), (2, 1), (4, 1)]))
    edges, turns = graph.edges.tolist(), graph.turns.tolist()
    x, g = generator.normal(size=(5, 2)), generator.uniform(1, 2, 5)
    e, t = generator.uniform(1, 2, len(edges)), generator.uniform(1, 2, len(turns))
    out = {node: [number for number, edge in enumerate(edges) if edge[0] == node] for node in range(5)}
    C = np.zeros((len(edges), 2))
    for node in (4, 0, 3, 2, 1):
        for edge in out[node]:
            for (before, after), weight in zip(turns, t):
                total = sum(w * e[before] * g[node] for (first, _), w in zip(turns, t) if first == before)
                C[edge] += (after == edge) * weight / total * C[before]
            C[edge] += max(e[other] * g[node] for other in out[node]) * x[node] + e[edge] * len(out[node]) * x[node]
    wanted = np.array([e[out[node]].sum() * x[node] for node in range(5)])
    np.add.at(wanted, graph.edges[:, 1], C)
    run = lsrl.compile(lsrl.parse(TEXT), target="reference", sizes={"K": 2})
    found = run({}, {"x": x, "g": g, "e": e, "t": t, **graph.inputs})
    np.testing.assert_allclose(found.state["C"], C, rtol=1e-13)
    np.testing.assert_allclose(found.outputs["o"], wanted, rtol=1e-13)


def test_it_comes_back_as_text() -> None:
    graph = lsrl.parse(TEXT).graph
    text = unparse(graph)
    assert "sum_out(t * e * g)" in text
    assert unparse(lsrl.parse(text).graph) == text


def test_scores_of_states_keep_their_place_inside_sums() -> None:
    """What is computed of a state that arrives along each edge has no name outside of a sum."""
    text = unparse(lsrl.load("std/dag_gru").graph)
    assert "sum_in(exp(dot(w, h) - highest) * h)" in text
    assert unparse(lsrl.parse(text).graph) == text


def test_states_are_not_collected_before_they_are_known() -> None:
    with pytest.raises(lsrl.LsrlError, match="`C` arrives along every incoming edge"):
        lsrl.parse(TEXT.replace("e * sum_out(x)", "sum_out(C)"))
