"""Backward passes of emitted JAX modules: those of the reference, whatever is kept or computed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from random import Random
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsrl import stages
from lsrl.arguments import Arguments
from lsrl.backends import jax_prelude, reference
from lsrl.backends.arrays import Array
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from lsrl.backends.result import Gradients
from lsrl.backends.runtime import jax_loop
from lsrl.backends.runtime_source import runtime
from lsrl.engine_jax import JaxEngine
from lsrl.ir.cell import Cell
from lsrl.ir.plan import make_plan
from lsrl.ir.schedules.how import Sequential
from support.comparing import agree, arrays, cotangents_of
from support.process import run_python
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


@cache
def module(case: Case, schedule: str = "sequential") -> ModuleType:
    return load_module(source(case, schedule), f"emitted_{hash((case, schedule))}")


def source(case: Case, schedule: str, dtype: str = "float64") -> str:
    cell, sizes = bound(case)
    return emit_jax(stages.make(cell, sizes, "jax", schedule).plan, dtype)


def expected(cell: Cell, sizes: Mapping[str, int], given: Arguments, cotangents: Named) -> Gradients:
    return reference.gradients(cell, sizes, given.params, given.inputs, given.state, cotangents, extent=given.extent)


def weights(cell: Cell, sizes: Mapping[str, int], given: Arguments) -> dict[str, Array]:
    """Random cotangents of every output and final state."""
    result = reference.run(cell, sizes, given.params, given.inputs, given.state, extent=given.extent)
    return cotangents_of({**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}})


def found(engine: JaxEngine, given: Arguments, cotangents: Named) -> Gradients:
    def gradients(params: Named, inputs: Named, state: Named) -> tuple[Named, Named, Named]:
        made = engine.gradients(Arguments(params, inputs, state, given.extent), cotangents)
        return made.inputs, made.params, made.state

    return Gradients(*jax.jit(gradients)(given.params, given.inputs, given.state))


def check(cell: Cell, sizes: Mapping[str, int], text: ModuleType, given: Arguments) -> None:
    """The module's gradients are those of the reference."""
    cotangents = weights(cell, sizes, given)
    wanted = expected(cell, sizes, given, cotangents)
    mine = found(JaxEngine(cell, "float64", text), given, cotangents)
    for name in ("inputs", "params", "state"):
        agree(getattr(mine, name), getattr(wanted, name), 1e-10)


def arguments(case: Case, length: int, batch: int = 2) -> Arguments:
    return Arguments(*arrays(case, length, batch), {"B": batch, "T": length})


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


SECOND = [(PROGRAMS["gru"], "sequential"), (PROGRAMS["mingru"], "sequential"), (PROGRAMS["lru"], "sequential")]
SECOND += [(PROGRAMS["gated_delta"], "sequential(recompute=4)")]


@pytest.mark.parametrize(("case", "schedule"), SECOND)
def test_second_derivatives(case: Case, schedule: str) -> None:
    """The Hessian of a random weighing times a random direction, against differences of the reference's gradients."""
    cell, sizes = bound(case)
    given = arguments(case, 6)
    generator = np.random.default_rng(2)
    cotangents = weights(cell, sizes, given)
    way = {name: generator.normal(size=array.shape) for name, array in given.inputs.items()}
    step = 1e-5

    def reference_gradients(sign: int) -> Gradients:
        moved = {name: array + sign * step * way[name] for name, array in given.inputs.items()}
        return expected(cell, sizes, given.with_inputs(moved), cotangents)

    def along(inputs: Named) -> Any:
        return jax.grad(weighted(module(case, schedule), given, cotangents))(inputs)

    def slope(inputs: Named) -> Any:
        gradients = along(inputs)
        return sum(jnp.sum(gradients[name] * way[name]) for name in gradients)

    mine = jax.jit(jax.grad(slope))(given.inputs)
    above, below = reference_gradients(1).inputs, reference_gradients(-1).inputs
    agree(mine, {name: (above[name] - below[name]) / (2 * step) for name in mine}, 1e-6)


def weighted(text: ModuleType, given: Arguments, cotangents: Named) -> Callable[[Named], jax.Array]:
    """The weighted sum of all results, as a function of inputs."""

    def value(inputs: Named) -> jax.Array:
        outputs, state = text.apply(given.params, inputs, given.state)
        results = {**outputs, **{f"state.{name}": array for name, array in state.items()}}
        return jnp.asarray(sum(jnp.sum(jnp.real(jnp.conj(w) * results[name])) for name, w in cotangents.items()))

    return value


def test_nested_jacobians() -> None:
    """`jacrev` of `jacrev` is symmetric."""
    case = PROGRAMS["gru"]
    given = arguments(case, 3, batch=1)
    loss = weighted(module(case), given, weights(*bound(case), given))

    def of_array(x: jax.Array) -> jax.Array:
        return loss({"x": x.reshape(1, 3, -1)})

    flat = jnp.asarray(given.inputs["x"]).ravel()
    hessian = jax.jit(jax.jacrev(jax.jacrev(of_array)))(flat)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-10, atol=1e-12)
    assert np.abs(hessian).max() > 1e-3


def test_forward_mode_is_refused() -> None:
    case = PROGRAMS["gru"]
    given = arguments(case, 3)
    loss = weighted(module(case), given, weights(*bound(case), given))
    with pytest.raises(TypeError, match="can't apply forward-mode"):
        jax.jvp(loss, (given.inputs,), (given.inputs,))


def test_mapped_and_checkpointed() -> None:
    """`vmap` of a gradient is the gradient at each point, and rematerialisation changes nothing."""
    case = PROGRAMS["gated_delta"]
    given = arguments(case, 5)
    loss = weighted(module(case), given, weights(*bound(case), given))
    points = {name: jnp.stack([array, 0.5 * array]) for name, array in given.inputs.items()}
    mapped = jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss))))(points)
    one = jax.jit(jax.grad(loss))
    for place in range(2):
        alone = one({name: array[place] for name, array in points.items()})
        agree({name: array[place] for name, array in mapped.items()}, jax.tree.map(np.asarray, alone), 1e-12)


LONG = """
import resource, sys
import jax, jax.numpy as jnp
import lsrl
fn = lsrl.compile(lsrl.load("std/gated_delta"), "jax", {"N": 1, "K": 64, "V": 64}, "sequential")
keys = jax.random.split(jax.random.key(0), 5)
shapes = {"q": 64, "k": 64, "v": 64, "a": None, "b": None}
inputs = {n: 0.1 * jax.random.normal(k, (1, 65536, 1, *([s] if s else []))) for k, (n, s) in zip(keys, shapes.items())}
loss = lambda inputs: sum(jnp.sum(o * o) for o in fn({}, inputs).outputs.values())
found = jax.block_until_ready(jax.jit(jax.grad(loss))(inputs))
assert all(bool(jnp.all(jnp.isfinite(array))) and float(jnp.abs(array).max()) > 0 for array in found.values())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_long_sequence_of_matrix_states_fits() -> None:
    """65,536 positions of a 64 x 64 state, forward and backward: 1 GiB of states, of which a few MiB are kept."""
    kilobytes = int(run_python("-c", LONG).split()[-1])
    assert kilobytes < 1.5 * 2**20


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4, 11])
def test_pieces_are_taken_apart_and_joined(length: int, reverse: bool) -> None:
    whole = (jnp.arange(2.0 * length * 3).reshape(2, length, 3), None)
    pieces, rest = jax_loop.in_pieces(whole, length, 4, reverse)
    assert pieces[0].shape == (length // 4, 2, 4, 3)
    assert rest[0].shape == (2, length % 4, 3)
    again = jax_loop.joined(pieces, rest, reverse)
    np.testing.assert_array_equal(again[0], whole[0])
    if length == 11:
        np.testing.assert_array_equal(pieces[0][0, 0, 0], whole[0][0, 3 if reverse else 0])


def test_pieces_are_about_as_many_as_each_is_long() -> None:
    assert [jax_loop.piece_size(length) for length in (0, 1, 100, 1024, 65536)] == [16, 16, 16, 32, 256]


def test_functions_that_modules_take_over_have_different_names() -> None:
    names = [name for file in jax_prelude.RUNTIME for name in runtime(file)] + [*jax_prelude.FUNCTIONS]
    assert len(names) == len({*names})
