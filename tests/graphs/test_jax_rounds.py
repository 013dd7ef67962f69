"""Rounds in JAX: steps in boxes of arcs, states that are too large for many at once, and what is derived."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
import pytest

import lsrl
from lsrl.backends.arrays import Array
from lsrl.backends.runtime.graph_rounds import ARCS_OF_STEP
from lsrl.backends.runtime.jax_rounds import arcs_at_once, best_box, prepare_system, solved_rounds
from lsrl.random_graphs import random_dag
from support.graph_programs import PLSTM

ARCS, UNKNOWNS = (("edge_from", "edge_to", 0, 0),), ("nodes",)  # the unknowns of nodes, an arc for each edge


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("counts", [[1], [5, 3], [1000, 2, 2, 2], [64] * 20, [1, 900, 30, 30, 30, 700, 1]])
def test_the_box_is_the_power_of_2_that_takes_least_time(counts: list[int]) -> None:
    def time(length: int) -> int:
        return sum((ARCS_OF_STEP + length) * (-(-count // length)) for count in counts)

    found = len(best_box(np.cumsum([0, *counts])))
    assert found in [1 << number for number in range(12)]
    assert time(found) == min(time(1 << number) for number in range(12))


def chain(nodes: int) -> Array:
    return np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)


@pytest.mark.parametrize("numbers", [1, 3, 1 << 17])
@pytest.mark.parametrize("kind", ["random", "chain"])
def test_states_of_any_size(kind: str, numbers: int) -> None:
    """Against the inverse of 1 - A: of large states two arcs are handled at once, fewer than a step has."""
    nodes = 9 if numbers > 3 else 150
    edges = chain(nodes) if kind == "chain" else random_dag(np.random.default_rng(0), nodes, 3)
    generator = np.random.default_rng(1)
    weights = generator.normal(size=(len(edges), 1)) / 2
    sources, cotangents = generator.normal(size=(2, nodes, numbers))
    graph = prepare_system(ARCS, UNKNOWNS, edges, None, nodes)
    assert bool(len(graph.fills.start)) == (kind == "chain")
    assert (arcs_at_once(numbers) == 2) == (numbers > 3)
    matrix = np.eye(nodes)
    matrix[edges[:, 1], edges[:, 0]] -= weights[:, 0]
    solve = jax.jit(lambda *given: jax.vjp(lambda w, b: solved_rounds(graph, w, b), *given[:2]))
    found, pull = solve(weights, sources)
    right, back = np.linalg.solve(matrix, sources), np.linalg.solve(matrix.T, cotangents)
    np.testing.assert_allclose(found, right, 1e-9, 1e-9)
    by_weights, by_sources = pull(cotangents)
    np.testing.assert_allclose(by_sources, back, 1e-9, 1e-9)
    dots = (back[edges[:, 1]] * right[edges[:, 0]]).sum(1, keepdims=True)
    np.testing.assert_allclose(by_weights, dots, 1e-9, 1e-8)


def test_without_arcs_the_sources_are_the_solution() -> None:
    graph = prepare_system(ARCS, UNKNOWNS, np.zeros((0, 2), np.int64), None, 3)
    sources = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(solved_rounds(graph, np.zeros((0, 1)), sources), sources)


def test_products_of_matrices_are_derived_from_outer_products() -> None:
    """No gradient by vectors is a sum of products of broadcast arrays: those by turns sum whole memories, [K, V]."""
    made = lsrl.compile(lsrl.parse(PLSTM), target="jax", sizes={"K": 4, "V": 5}, dtype="float64")
    edges = random_dag(np.random.default_rng(0), 8)
    module, count = made.engine.module, len(edges)
    graph = module.prepare(edges, None, 8)
    inputs = {"q": np.ones((8, 4)), "k": np.ones((8, 4)), "v": np.ones((8, 5)), "d": np.ones(8)}
    inputs |= {"s": np.ones(count), "m": np.ones(count), "t": np.ones(len(graph.whole.turns))}
    gradient = jax.grad(lambda inputs: module.apply({}, inputs, graph)[0]["o"].sum())
    sums = [each for each in jax.make_jaxpr(gradient)(inputs).eqns if each.primitive.name == "reduce_sum"]
    of_memories = [each.params["axes"] for each in sums if each.invars[0].aval.shape[1:] == (4, 5)]
    assert of_memories
    assert set(of_memories) == {(1, 2)}
