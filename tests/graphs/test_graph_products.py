"""Products over graphs are made small before they are read along edges and summed up."""

from __future__ import annotations

import numpy as np
import pytest

import lsrl
from lsrl.backends.reference import run
from lsrl.ir.laws import simplify
from lsrl.ir.laws_graph import small_products
from lsrl.ir.value import postorder
from lsrl.random_graphs import random_graph_arrays

HEAD = """
cell own(K, V) over graph:
    node input q, k: [K], v: [V], a: []
    edge input m, s: []
    turn input t: []
    param W: [V, K]
    edge state C: [K, V]
    C' = sum_in(t * C) + s * outer(k, v)
"""
SIZES = {"K": 2, "V": 3}
SUMS = {
    "a vector and a sum": ("output o = q @ sum_in(m * C)", 0),
    "a sum and a vector": ("output o = sum_in(m * C) @ v", 0),
    "a vector that is scaled": ("output o = a * dot(q @ sum_in(C), v)", 0),
    "a sum that is an output": ("output r = sum_in(m * C)\n    output o = q @ r", 1),
    "a matrix of parameters": ("output o = W @ sum_in(C)", 1),
}


@pytest.mark.parametrize("case", SUMS)
def test_matrices_are_multiplied_before_they_are_summed_up(case: str) -> None:
    """Where that is less work; the results are those of the cell before."""
    outputs, sums = SUMS[case]
    before = simplify(lsrl.parse(f"{HEAD}    {outputs}\n").cell({}))
    after = small_products(before)
    made = postorder(output.value for output in after.outputs)
    assert sum(v.op == "sum_in" and v.rank == 2 for v in made) == sums
    following = [v for v in postorder(state.next for state in after.states) if v.op == "read" and v.rank == 2]
    assert [v.args[0].op for v in following] == ["state"]  # no outer product is read
    arrays = random_graph_arrays(before, SIZES, 12)
    wanted, found = (run(cell, SIZES, *arrays) for cell in (before, after))
    for name, array in wanted.outputs.items():
        np.testing.assert_allclose(found.outputs[name], array, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.state["C"], wanted.state["C"], rtol=1e-12, atol=1e-12)
