"""Products with matrices that are diagonal plus something: as the program says, without the matrices."""

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.ir.cell import Cell
from lsrl.ir.distribute import distribute
from lsrl.ir.laws import simplify
from lsrl.ir.value import depends_on, postorder
from lsrl.ir.verify import check
from lsrl.random_arrays import random_arrays
from support.elaborated import cell_of_text

SIZES = {"N": 2, "K": 4, "V": 3}
WRITTEN = {
    "K, V": (
        "(diag(w) - outer(a, b * k)) @ S",
        "b * (eye(K) - b * outer(k, k)) @ S",
        "(eye(K) - b * outer(k, k)) @ diag(w) @ S",
        "(eye(K) - outer(k, k)) @ (eye(K) - outer(a, a)) @ diag(w) @ S",
        "(outer(w, a) + diag(exp(w)) - 2 * outer(a, k)) @ S",
        "S @ (eye(V) - outer(v, v)) @ (eye(V) + outer(v, v))",
    ),
    "V, K": ("S @ (diag(w) - outer(a, b * k))", "S @ (eye(K) - b * outer(k, k)) @ diag(w)"),
}
LEFT_ALONE = ("W @ S", "(W + outer(a, k)) @ S", "diag(w) @ S")
TEXT = """
cell memory(N, K, V) heads N:
    input k, a, w: [K], v: [V], b: []
    param W: [K, K]
    state S: [{shape}] = 0
    S' = {update} + outer({write})
    output S'
"""


def text(shape: str, update: str) -> str:
    write = "k, v" if shape == "K, V" else "v, k"
    return TEXT.format(shape=shape, update=update, write=write)


@pytest.mark.parametrize(("shape", "update"), [(shape, each) for shape, updates in WRITTEN.items() for each in updates])
def test_the_matrix_is_gone_and_the_values_agree(shape: str, update: str) -> None:
    cell = simplify(cell_of_text(text(shape, update)))
    apart = simplify(check(distribute(cell)))
    params, inputs, state = random_arrays(cell, SIZES, 2, 5)
    expected = reference.run(cell, SIZES, params, inputs, state).outputs["S"]
    np.testing.assert_allclose(reference.run(apart, SIZES, params, inputs, state).outputs["S"], expected, rtol=1e-11)
    assert _largest(cell) == 3
    assert _largest(apart) < 3


@pytest.mark.parametrize("update", LEFT_ALONE)
def test_other_products_stay(update: str) -> None:
    cell = simplify(cell_of_text(text("K, V", update)))
    assert distribute(cell) is cell


def _largest(cell: Cell) -> int:
    """The most axes of anything that a product on the way of the state has beside it."""
    state = cell.states[0]
    path = depends_on([state.next], lambda value: value.op == "state")
    products = [value for value in postorder([state.next]) if value.op == "einsum" and value in path]
    return max((arg.rank for value in products for arg in value.args if arg not in path), default=0)
