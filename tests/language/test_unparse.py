"""Graphs come back as text, and the text gives the graph again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from lsrl import elaborate
from lsrl.backends.initialise import init_params
from lsrl.backends.reference import run
from lsrl.elaborate.body import FOLDING
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.laws import simplify
from lsrl.ir.rewrite import rewrite
from lsrl.ir.verify import verify
from lsrl.loader import library_folder, load_path, load_text
from lsrl.unparse import unparse
from support.graphs import LITERALS, random_cell

LIBRARY = sorted(library_folder().glob("*.lsrl"))

MINGRU = """\
cell mingru(D, H=2*D):
    \"\"\"Minimal gated recurrent unit.\"\"\"
    input x: [D]
    param Wz, Wh: [H, D] ~ uniform(1/sqrt(D))
    param bz, bh: [H] = 0
    state h: [H] = 0

    z = sigmoid(Wz @ x + bz)
    c = Wh @ x + bh
    h' = (1 - z) * h + z * c

    output h'
"""
SHORTHAND = """\
cell shorthand(D, H):
    input x: [D]
    input token: [] int(D) pad 2
    input r: [] bool
    param w: [4, D] ~ uniform(1/sqrt(D))
    param h0: [H] = 0
    state h: [H] = h0

    y = w[0] * x + w[1] * x[t-1] + w[2] * x[t-3] + w[token[t-1]]
    h' = tanh(h) + full([H], sum(y)) + h[t-2]
    reset when r

    output h'
    output z = y + y[t-1]
"""
GRID = """\
cell grid(K, V) over y, x:
    input q, k: [K]
    input v: [V]
    input s, t: []
    state R: [K, V] along x = 0
    state D: [] along y, x = -inf

    R' = t * R + s * outer(k, v)
    D' = max(D[y-1], D[x-1]) - t
    o = q @ R'

    output o
    output e = o * D' + o
"""
GRAPH = """\
cell graph_lstm(K, V) over graph:
    node input q, k: [K]
    node input v: [V]
    edge input s, m: []
    turn input g: []
    edge state C: [K, V] = 0

    C' = sum_in(g * C) + s * outer(k, v)
    n = sum_in(m * C)

    output o = q @ n
    output p = sum_in(outer(q, v) - n * s) + n
"""
COMPLEX = """\
cell rotation(N):
    input u: [N]
    noise eps: [N] ~ normal(0.1)
    state z: [N] complex = 1.0 - 2j

    z' = cis(0.4*pi) * z + u + eps

    output o = re(conj(z') * z')
    output m = where(u > 0 and not u > 2, argmax(u), 3)
    output k = float(iota(N)) ** 2
"""
BIDIRECTIONAL = """
cell gru(D, H):
    input x: [D]
    param W: [H, D]
    param h0: [H] ~ normal(1)
    state h: [H] = h0
    h' = tanh(W @ x + h) + x[t-1][0:H]
    output h'

cell both(D=4, H=3):
    input x: [D], r: [] bool
    reset when r
    a = reverse gru(D, H)(x)
    repeat 2:
        a = a + gru(H, H)(a)
    output y = concat(a, reverse gru(H, H)(gru(H, H)(a)))
"""


def elaborated(text: str) -> Cell:
    loaded = load_text(text)
    return elaborate.elaborate(loaded.program, loader=loaded.loader)


@pytest.mark.parametrize(
    "text", [MINGRU, SHORTHAND, GRID, GRAPH, COMPLEX], ids=["line", "lag", "grid", "graph", "complex"]
)
def test_text_comes_back_as_it_was(text: str) -> None:
    cell = elaborated(text)
    again = unparse(cell)
    assert again == text
    assert bare(elaborated(again)) == bare(cell)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_library_comes_back_as_the_same_graphs(path: Path) -> None:
    loaded = load_path(path)
    for syntax in loaded.program.cells:
        cell = flat(elaborate.elaborate(loaded.program, cell=syntax.name.id, loader=loaded.loader))
        if any(state.reverse for state in cell.states):
            continue  # comes back as the use of a cell, whose names are new ones: see below
        assert bare(elaborated(unparse(cell))) == bare(cell)
        simple = simplify(cell)
        assert bare(elaborated(unparse(simple))) == bare(simple)


def flat(cell: Cell) -> Cell:
    """The cell with the names that its text has.

    Those of used cells, of windows and of axes become plain ones, and so do lags that feed back, which are states.
    """
    names = [named.name for named in (*cell.params, *cell.states)]
    other = any("." in name or ":" in name or name in cell.axes for name in names)
    again = elaborated(unparse(cell))
    fed_back = {state.name for state in cell.states if state.hidden} - {state.name for state in again.states}
    return again if other or fed_back else cell


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_of_every_operation_come_back(seed: int) -> None:
    cell = rewrite(random_cell(Random(seed), constants=LITERALS), FOLDING)
    assert bare(elaborated(unparse(cell))) == bare(cell)


def test_backward_recurrences_come_back_as_cells_used_in_reverse() -> None:
    cell = elaborated(BIDIRECTIONAL)
    text = unparse(cell)
    assert text.count("reverse backward_") == 5
    again = elaborated(text)
    assert verify(again) == ()
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(2, 7, 4)), "r": rng.random((2, 7)) < 0.3}
    params = {name: rng.normal(size=array.shape) for name, array in init_params(cell, {"D": 4, "H": 3}).items()}
    written = {name.replace(".", "_"): array for name, array in params.items()}
    given = {param.name: written[param.name.rpartition(".")[2]] for param in again.params}
    expected = run(cell, {}, params, inputs).outputs["y"]
    found = run(again, {}, given, inputs).outputs["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_parameter_that_starts_two_backward_recurrences_is_refused() -> None:
    cell = elaborated("""
cell last(D):
    input x: [D]
    param h0: [D]
    state h: [D] = h0
    h' = tanh(h + x)
    output h'

cell tied(D):
    input x: [D]
    repeat 2 shared:
        x = reverse last(D)(x)
    output x
""")
    with pytest.raises(Refusal, match=r"tied has no flat text: the parameter layers\.h0 starts a backward recurrence"):
        unparse(cell)


def test_names_become_identifiers_that_mean_nothing_else() -> None:
    cell = elaborated(
        "cell c(H):\n input sum: [H], x: [H], v1: [H]\n param W: [H, H]\n"
        " gate = sigmoid(x)\n a = gate * (v1 + x)\n repeat 2:\n  a = W @ a * gate + a\n"
        " output o = relu(a), s = mean(a)\n"
    )
    text = unparse(cell)
    assert "layers_0_a = (W @ a) * gate + a" in text
    assert "input sum_2, x, v1: [H]" in text
    assert [i.name for i in elaborated(text).inputs] == ["sum_2", "x", "v1"]


def bare(cell: Cell) -> Cell:
    """The cell without what flat text does not say: heads are axes like any other, conditions are found anew."""
    states = sorted(cell.states, key=lambda state: state.name)
    return replace(cell, heads=None, requires=(), states=tuple(states))
