"""Backward passes of emitted JAX modules: those of the reference, whatever is kept or computed anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsrl import stages
from lsrl.arguments import Arguments
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from lsrl.engine_jax import JaxEngine
from lsrl.ir.plan import make_plan
from lsrl.ir.schedules.how import Sequential
from support.comparing import agree
from support.jax_gradients import arguments, check, expected, found, module, source, weights
from support.programs import PROGRAMS, Case, bound
from support.running import random_arrays
from support.smooth_cells import smooth_cell

# Whole sequences of the others are compared in `test_jax_programs`.
OTHERS = (
    "rnn",
    "gru",
    "gru2014",
    "mingru",
    "minlstm",
    "rg_lru",
    "retention",
    "gla",
    "gated_delta",
    "slstm",
    "matrices",
)
COUNTED = Case("""
cell counted(N=3):
    input x: [N], go: [] bool
    param w: [N]
    state h: [N] = 0, seen: [] int = 2
    seen' = seen + where(go, 1, 2)
    h' = tanh(w * x + h / seen)
    output y = h' * seen, seen'
""")
MEMORIES = Case("""
cell forward(K, V):
    input k: [K], v: [V], a: []
    param w: [K], M: [V, V]
    state S: [K, V] = outer(w, M[0])
    S' = sigmoid(a) * S @ M + outer(w * k, v)
    output o = k @ S'

cell memories(K=5, V=4):
    input k: [K], v: [V], a: []
    output o = forward(K, V)(k, v, a) + reverse forward(K, V)(k, v, a)
""")
CORNERS = {
    "states passed on as they are": """
cell swapped(N=3):
    input x: [N]
    state a: [N] = 1, b: [N] = 0
    a' = b
    b' = tanh(a * x)
    output y = a' + b, z = a * b'
""",
    "a state that becomes a parameter": """
cell restarted(N=3):
    input x: [N], r: [] bool
    param w: [N]
    state a: [N] = 1, b: [N] = w
    a' = sin(a * b + x)
    b' = where(r, w, b * a)
    output y = a' * b'
""",
    "nothing read": """
cell driven(N=3):
    param w: [N], M: [N, N]
    state h: [N] = w
    h' = tanh(M @ h + w)
    output y = h'
""",
    "whole numbers alone": """
cell whole(N=3):
    input x: [N]
    state n: [N] int = 1
    n' = (n * 2) % 7
    output y = sum(x * n'), c = sum(sin(n'))
""",
}
PIECES = ("sequential", "sequential(save)", "sequential(recompute=4)")
Named = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", OTHERS)
def test_library(name: str) -> None:
    case = PROGRAMS[name]
    check(*bound(case), module(case), arguments(case, 7))


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("name", ["gru", "lru", "gated_delta"])
def test_short_sequences(name: str, length: int) -> None:
    case = PROGRAMS[name]
    check(*bound(case), module(case), arguments(case, length))


def test_whole_numbers_and_truth_values_have_no_gradient() -> None:
    check(*bound(COUNTED), module(COUNTED), arguments(COUNTED, 7))


@pytest.mark.parametrize("schedule", ["sequential", "sequential(recompute=3)"])
@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str, schedule: str) -> None:
    case = Case(CORNERS[name])
    check(*bound(case), module(case, schedule), arguments(case, 7))


LENGTHS = [("sequential", 11), ("sequential(save)", 11)]
LENGTHS += [("sequential(recompute=4)", length) for length in (0, 8, 11)]


@pytest.mark.parametrize(("schedule", "length"), LENGTHS)
def test_states_kept_and_computed_anew(schedule: str, length: int) -> None:
    """Pieces that fit and that do not, in both directions."""
    check(*bound(MEMORIES), module(MEMORIES, schedule), arguments(MEMORIES, length))


@pytest.mark.parametrize("seed", range(6))
def test_random_cells(seed: int) -> None:
    """Every third runs from the end to the start, every other keeps few of its states."""
    cell = smooth_cell(Random(seed), reverse=seed % 3 == 0)
    sizes = {"H": 6, "K": 4}
    given = Arguments(*random_arrays(cell, sizes, batch=2, length=5, seed=seed), {"B": 2, "T": 5})
    hows = {state.name: Sequential(recompute=2 if seed % 2 else None) for state in cell.states}
    check(
        cell, sizes, load_module(emit_jax(make_plan(cell, sizes, hows=hows), "float64"), "emitted_random_cell"), given
    )


def test_what_is_kept() -> None:
    """All states, unless they are many more numbers than what the loop reads; directives decide otherwise."""
    vectors, matrices = PROGRAMS["gru"], MEMORIES
    texts = {schedule: [source(case, schedule) for case in (vectors, matrices)] for schedule in PIECES}
    for text in (texts["sequential"][0], *texts["sequential(save)"]):
        assert "differentiable(" in text
        assert "in_pieces" not in text
    for text in texts["sequential(recompute=4)"]:
        assert "_adjoint, size=4" in text
    wide = source(Case(MEMORIES.source, (("K", 20), ("V", 20))), "sequential")
    assert wide.count("differentiable_in_pieces(S_") + wide.count("differentiable_in_pieces(forward") >= 2


def rounded(arrays_: Named, dtype: str) -> dict[str, Array]:
    """Arrays as 16 bits hold them."""
    return {name: np.asarray(jnp.asarray(a, dtype).astype(jnp.float64)) for name, a in arrays_.items()}


@pytest.mark.parametrize(("name", "dtype"), [("lstm", "bfloat16"), ("gated_delta", "bfloat16"), ("gru", "float16")])
def test_sixteen_bits(name: str, dtype: str) -> None:
    case = PROGRAMS[name]
    cell, sizes = bound(case)
    drawn = arguments(case, 16)
    given = Arguments(rounded(drawn.params, dtype), rounded(drawn.inputs, dtype), drawn.state, drawn.extent)
    cotangents = rounded(weights(cell, sizes, given), dtype)
    wanted = expected(cell, sizes, given, cotangents)
    engine = JaxEngine(cell, dtype, load_module(source(case, "sequential", dtype), "emitted_narrow"))
    mine = found(engine, given, cotangents)
    for group in ("inputs", "params", "state"):
        for key, truth in getattr(wanted, group).items():
            array = np.asarray(getattr(mine, group)[key]).astype(float)
            assert np.sqrt(np.mean((array - truth) ** 2)) < 1e-2 * np.sqrt(np.mean(truth**2)), key


def test_small_cotangents_are_not_rounded_away() -> None:
    """Those of a state are float32 all the way back, though float16 could not hold them."""
    case = PROGRAMS["gru"]
    cell, sizes = bound(case)
    drawn = arguments(case, 16)
    given = Arguments(rounded(drawn.params, "float16"), rounded(drawn.inputs, "float16"), drawn.state, drawn.extent)
    cotangents = {"state.h": 1e-8 * weights(cell, sizes, given)["state.h"]}
    wanted = expected(cell, sizes, given, cotangents).state["h"]
    engine = JaxEngine(cell, "float16", load_module(source(case, "sequential", "float16"), "emitted_half"))
    mine = np.asarray(found(engine, given, cotangents).state["h"])
    assert np.sqrt(np.mean((mine - wanted) ** 2)) < 1e-2 * np.sqrt(np.mean(wanted**2))


def test_without_a_backward_pass() -> None:
    """The text has none, and computes the same."""
    case = PROGRAMS["gru"]
    given = arguments(case, 7)
    cell, sizes = bound(case)
    text = emit_jax(stages.make(cell, sizes, "jax").plan, "float64", gradients=False)
    assert "adjoint" not in text
    outputs, state = load_module(text, "emitted_without_gradients").apply(given.params, given.inputs, given.state)
    wanted = reference.run(cell, sizes, given.params, given.inputs, given.state)
    agree(outputs, wanted.outputs, 1e-12)
    agree(state, wanted.state, 1e-12)
