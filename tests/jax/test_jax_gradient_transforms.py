"""What JAX does with backward passes of emitted modules: derives them again, maps them, runs long sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsrl.backends.result import Gradients
from lsrl.backends.runtime import jax_loop
from support.comparing import agree
from support.jax_gradients import arguments, expected, module, weighted, weights
from support.process import peak_memory
from support.programs import PROGRAMS, Case, bound

Named = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


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
import jax, jax.numpy as jnp
import lsrl
fn = lsrl.compile(lsrl.load("std/gated_delta"), "jax", {"N": 1, "K": 64, "V": 64}, "sequential")
keys = jax.random.split(jax.random.key(0), 5)
shapes = {"q": 64, "k": 64, "v": 64, "a": None, "b": None}
inputs = {n: 0.1 * jax.random.normal(k, (1, 65536, 1, *([s] if s else []))) for k, (n, s) in zip(keys, shapes.items())}
loss = lambda inputs: sum(jnp.sum(o * o) for o in fn({}, inputs).outputs.values())
found = jax.block_until_ready(jax.jit(jax.grad(loss))(inputs))
assert all(bool(jnp.all(jnp.isfinite(array))) and float(jnp.abs(array).max()) > 0 for array in found.values())
"""


@pytest.mark.slow
def test_a_long_sequence_of_matrix_states_fits() -> None:
    """65,536 positions of a 64 x 64 state, forward and backward: 1 GiB of states, of which a few MiB are kept."""
    assert peak_memory(LONG) < 1.5


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
