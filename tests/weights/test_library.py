"""Every exact program of the library in every architecture: exact in those that hold it, refused by the others."""

import pytest
from weights_page import WITHIN

import lsrl
from lsrl.backends.given_ranges import read_given
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.loader import library
from lsrl.weights import compile as compile_weights
from lsrl.weights_table import weights_table

EVERY = tuple(ARCHITECTURES)
CELLS = ("rnn", "rnn-tanh", "lstm", "gru")
"""Those that hold a state which reads its last value through a ReLU."""

HELD = {
    "adder": CELLS,
    "associative_recall": CELLS,
    "copy": EVERY,
    "dyck": CELLS,
    "majority": EVERY,
    "modulo": CELLS,
    "parity": CELLS,
    "sort": EVERY,
    "tok2tok": EVERY,
    "vec2vec": EVERY,
}


def test_every_exact_program_is_here() -> None:
    assert {f"std/exact/{name}" for name in HELD} == {name for name in library() if name.startswith("std/exact/")}


@pytest.mark.parametrize("name", HELD)
def test_who_holds_it(name: str) -> None:
    cell, sizes = lsrl.load(f"std/exact/{name}").bind()
    rows = weights_table(cell, sizes, {}, read_given(WITHIN.get(f"std/exact/{name}", ())), 100, EVERY)
    assert tuple(row.architecture for row in rows if row.obstacle is None) == HELD[name]
    assert {error for row in rows for error in row.errors.values()} == {0.0}


@pytest.mark.parametrize("name", HELD)
def test_smallest_cell_computes_it(name: str) -> None:
    """In float32, on random sequences, every named value; a wrong one would be an error of the compilation too."""
    compiled = compile_weights(
        lsrl.load(f"std/exact/{name}"), "rnn", given=WITHIN.get(f"std/exact/{name}", ()), horizon=100
    )
    assert {error.measured for error in compiled.report.values} == {0.0}


@pytest.mark.parametrize(("T", "horizon"), [(3, 10_000), (10, 10_000), (32, 2600)])
def test_long_words_and_long_prompts_are_exact(T: int, horizon: int) -> None:
    """In float32 too: what counts far is not multiplied as a difference of large numbers."""
    cell, sizes = lsrl.load("std/exact/tok2tok").bind({"T": T})
    rows = weights_table(cell, sizes, {}, {}, horizon, EVERY)
    assert [row.errors for row in rows] == [{"float32": 0.0, "float64": 0.0}] * len(EVERY)
    rnn = rows[EVERY.index("rnn")]
    assert (rnn.depth, rnn.width) == (19, {3: 11, 10: 28, 32: 94}[T])
