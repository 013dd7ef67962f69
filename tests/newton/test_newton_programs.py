"""Programs solved by Newton's method: the reference's numbers and gradients, in JAX and PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lsrl
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.compiled import Compiled
from support.newton_cells import CASES, PARAGRU
from support.programs import program
from support.running import random_arrays

BATCH, WINDOW = 2, 4
TAME, HARD = 0.3, 4.0
TARGETS = ("jax", "triton")

pytestmark = pytest.mark.filterwarnings("ignore:.*no GPU:UserWarning")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@cache
def compiled(name: str, target: str, schedule: str = f"newton(window={WINDOW})", dtype: str = "float64") -> Compiled:
    """A program whose nonlinear recurrence runs by Newton's method."""
    case = CASES[name]
    directives = schedule if name != "reversed" else f"gru.h={schedule}"
    return lsrl.compile(program(case.source), target=target, sizes=case.numbers, schedule=directives, dtype=dtype)


def arrays(function: Compiled, scale: float, length: int) -> tuple[Any, Any, Any]:
    params, inputs, state = random_arrays(function.cell, function.sizes, BATCH, length)
    return {name: scale * array for name, array in params.items()}, inputs, state


def agree(function: Compiled, found: Mapping[str, Any], wanted: Mapping[str, Array], tolerance: float = 1e-9) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        scale = max(1.0, float(np.max(np.abs(array), initial=0.0)))
        given = function.engine.to_numpy(found[name])
        np.testing.assert_allclose(given, array, rtol=0, atol=tolerance * scale, err_msg=name)


def run(function: Compiled, params: Any, inputs: Any, state: Any) -> lsrl.Result:
    """One run; in JAX compiled as a whole, which is faster than operation by operation."""
    found: lsrl.Result = (jax.jit(function) if function.target == "jax" else function)(params, inputs, state)
    return found


def pulled(function: Compiled, params: Any, inputs: Any, state: Any, cotangents: Any) -> tuple[Any, Any, Any]:
    """The gradients by params, inputs and states."""
    if function.target != "jax":
        found = function.gradients(params, inputs, state, cotangents)
        return found.params, found.inputs, found.state

    def loss(*given: Any) -> Any:
        result = function(*given)
        named = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
        return sum((array * cotangents[name]).sum() for name, array in named.items())

    given = jax.tree.map(jnp.asarray, (params, inputs, state))
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2), allow_int=True))(*given)
    by_params, by_inputs, by_states = (
        {name: array for name, array in each.items() if array.dtype != jax.dtypes.float0} for each in gradients
    )
    return by_params, by_inputs, by_states


def check(function: Compiled, params: Any, inputs: Any, state: Any) -> lsrl.Result:
    """Compare a run and its gradients with the reference; the run."""
    cell, sizes = function.cell, function.sizes
    wanted = reference.run(cell, sizes, params, inputs, state)
    generator = np.random.default_rng(5)
    cotangents = {name: generator.normal(size=array.shape) for name, array in wanted.outputs.items()}
    cotangents |= {f"state.{name}": generator.normal(size=array.shape) for name, array in wanted.state.items()}
    found = run(function, params, inputs, state)
    agree(function, found.outputs, wanted.outputs)
    agree(function, found.state, wanted.state)
    expected = reference.gradients(cell, sizes, params, inputs, state, cotangents)
    by_params, by_inputs, by_states = pulled(function, params, inputs, state, cotangents)
    agree(function, by_params, expected.params)
    agree(function, by_inputs, expected.inputs)
    agree(function, by_states, expected.state)
    return found


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, "triton") for name in CASES), *((name, "jax") for name in ("paralstm", "columns", "reversed"))],
)
def test_values_and_gradients(name: str, target: str) -> None:
    function = compiled(name, target)
    found = check(function, *arrays(function, HARD, 2 * WINDOW + 1))
    (told,) = found.statistics.values()
    assert {word: tuple(array.shape) for word, array in told.items()} == {
        "iterations": (BATCH,),
        "fallback": (BATCH,),
        "residual": (BATCH,),
    }


@pytest.mark.parametrize(
    ("name", "target", "length"),
    [
        *(("paralstm", "triton", length) for length in (0, 1, WINDOW - 1, WINDOW, WINDOW + 1)),
        *(("paragru", "jax", length) for length in (0, 1)),
    ],
)
def test_lengths_around_the_window(name: str, target: str, length: int) -> None:
    function = compiled(name, target)
    check(function, *arrays(function, TAME, length))


def agrees(function: Compiled, params: Any, inputs: Any, state: Any) -> lsrl.Result:
    """Compare a run with the reference."""
    wanted = reference.run(function.cell, function.sizes, params, inputs, state)
    found = run(function, params, inputs, state)
    agree(function, found.outputs, wanted.outputs)
    agree(function, found.state, wanted.state)
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_lanes_that_do_not_converge_run_step_by_step(target: str) -> None:
    """With weights so large and so few iterations most lanes are left over, and nothing of it shows in the result."""
    function = compiled("paragru", target, "newton(window=24, iterations=3)")
    params, inputs, state = arrays(function, HARD, 24)
    told = agrees(function, params, inputs, state).statistics["h"]
    assert all(share > 0.2 for share in told["fallback"])
    turns = told["iterations"].tolist()
    assert turns == [3, 3] if target == "jax" else min(turns) >= 3  # a kernel's turns go on for what is left over


@pytest.mark.parametrize("target", TARGETS)
def test_tame_cells_need_few_iterations(target: str) -> None:
    """Four or five at the initialisation of ParaRNN: scale 0.06, inputs of standard deviation 0.8."""
    function = compiled("paragru", target, "newton(window=64)")
    params, inputs, state = arrays(function, 1.0, 64)
    params |= {name: 0.06 * params[name] for name in ("az", "ar", "ah")}
    told = agrees(function, params, inputs, state).statistics["h"]
    assert max(told["iterations"].tolist()) <= 5
    assert told["fallback"].tolist() == [0.0, 0.0]
    assert max(told["residual"].tolist()) < 1e-14


@pytest.mark.parametrize("target", TARGETS)
def test_the_diagonal_of_a_dense_jacobian(target: str) -> None:
    """Convergence is linear, a sequence is done as a whole, and the gradient is that of the program."""
    schedule = "newton(window=16, iterations=14, quasi)"
    function = lsrl.compile(program("std/lstm"), target, {"D": 3, "H": 12}, schedule, "float64")
    params, inputs, state = arrays(function, 0.03, 16)
    told = (check if target == "triton" else agrees)(function, params, inputs, state).statistics["h, c"]
    assert told["fallback"].tolist() == [0.0, 0.0]
    assert all(5 < turns < 14 for turns in told["iterations"].tolist())
    hard = {name: 30 * array for name, array in params.items()}
    assert agrees(function, hard, inputs, state).statistics["h, c"]["fallback"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("target", TARGETS)
def test_windows_as_long_as_iterations_always_converge(target: str) -> None:
    """After k iterations k positions are exact, so that W of them and one to see it are enough for W positions."""
    function = compiled("paragru", target, f"newton(window={WINDOW}, iterations={WINDOW + 1})")
    params, inputs, state = arrays(function, 20.0, 4 * WINDOW)
    told = agrees(function, params, inputs, state).statistics["h"]
    assert told["fallback"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_a_number_stays_in_its_lane(target: str) -> None:
    source = """
cell lanes(H=4):
    input u: [H]
    param a: [H]
    state h: [H] = 0
    h' = tanh(a * h + u)
    output h'
"""
    function = lsrl.compile(lsrl.parse(source), target=target, schedule="newton(window=4)", dtype="float64")
    params, inputs, state = arrays(function, 1.0, 9)
    wanted = reference.run(function.cell, function.sizes, params, inputs, state).outputs["h"].copy()
    inputs["u"][0, 3, 1] = np.nan
    wanted[0, 3:, 1] = np.nan
    found = run(function, params, inputs, state)
    np.testing.assert_allclose(function.engine.to_numpy(found.outputs["h"]), wanted, rtol=0, atol=1e-12)
    first, second = found.statistics["h"]["fallback"].tolist()
    assert 0 < first <= 1 / 4  # one lane of four
    assert second == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("target", TARGETS)
def test_other_types(target: str, dtype: str, tolerance: float) -> None:
    function = compiled("paralstm", target, "newton", dtype)
    params, inputs, state = arrays(function, TAME, 40)
    cut = [
        {name: np.asarray(jnp.asarray(array, dtype).astype("float64")) for name, array in given.items()}
        for given in (params, inputs)
    ]
    wanted = reference.run(function.cell, function.sizes, *cut, state).outputs
    narrow = [{name: array.astype("float32") for name, array in given.items()} for given in (*cut, state)]
    found = run(function, *narrow).outputs
    agree(function, found, wanted, tolerance)


@pytest.mark.parametrize("target", TARGETS)
def test_a_state_outside_of_its_bounds_is_not_cut_off(target: str) -> None:
    """The hidden state stays in [-1, 1] when it starts there; here it starts at 5."""
    function = compiled("paragru", target)
    params, inputs, state = arrays(function, TAME, 9)
    agrees(function, params, inputs, {"h": state["h"] + 5})


@pytest.mark.parametrize("target", TARGETS)
def test_streaming_gives_what_a_run_gives(target: str) -> None:
    function = compiled("paralstm", target)
    params, inputs, state = arrays(function, TAME, 3)
    wanted = reference.run(function.cell, function.sizes, params, inputs, state)
    step = jax.jit(function.step) if target == "jax" else function.step
    for t in range(3):
        found = step(params, {"x": inputs["x"][:, t]}, state)
        agree(function, found.outputs, {name: array[:, t] for name, array in wanted.outputs.items()})
        state = found.state
    agree(function, state, wanted.state)


def test_jax_transforms_it() -> None:
    """Compiled and mapped over parameters, it is the same function."""
    function = compiled("paragru", "jax")
    params, inputs, state = arrays(function, TAME, 9)
    many = {name: np.stack([array, 2 * array]) for name, array in params.items()}
    mapped = jax.jit(jax.vmap(lambda each: function(each, inputs, state).outputs["h"]))(many)
    for place, scale in enumerate((1, 2)):
        scaled = {name: scale * array for name, array in params.items()}
        wanted = reference.run(function.cell, function.sizes, scaled, inputs, state).outputs["h"]
        np.testing.assert_allclose(mapped[place], wanted, rtol=0, atol=1e-12)


def test_torch_differentiates_it_twice() -> None:
    small = {"D": 1, "H": 1}
    function = lsrl.compile(program(PARAGRU), "triton", small, f"newton(window={WINDOW})", "float64")
    params, inputs, state = arrays(function, TAME, 3)
    tensors = {name: torch.tensor(array) for name, array in params.items()}
    x = torch.tensor(inputs["x"][:1], requires_grad=True)
    h = torch.tensor(state["h"][:1], requires_grad=True)

    def outputs(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = function(tensors, {"x": x}, {"h": h}).outputs["h"]
        return found

    assert torch.autograd.gradcheck(outputs, (x, h))
    assert torch.autograd.gradgradcheck(outputs, (x, h))


def test_torch_maps_it() -> None:
    function = compiled("paralstm", "triton")
    params, inputs, state = arrays(function, TAME, 5)
    tensors, starts = ({n: torch.tensor(a) for n, a in each.items()} for each in (params, state))
    many = torch.tensor(np.stack([inputs["x"], -inputs["x"]]))
    mapped = torch.vmap(lambda x: function(tensors, {"x": x}, starts).outputs["h"])(many)
    for place, sign in enumerate((1, -1)):
        wanted = reference.run(function.cell, function.sizes, params, {"x": sign * inputs["x"]}, state).outputs["h"]
        np.testing.assert_allclose(mapped[place].numpy(), wanted, rtol=0, atol=1e-12)


def test_jax_differentiates_it_twice() -> None:
    """The second derivative goes through the loop that runs step by step, so both schedules have the same one."""
    found, wanted = (second_derivative(compiled("paragru", "jax", each)) for each in ("newton(window=4)", "sequential"))
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-9)


def second_derivative(function: Compiled) -> list[Array]:
    """The product of a Hessian, by inputs and a parameter, with where it is taken."""
    params, inputs, state = arrays(function, TAME, 5)

    def loss(x: jax.Array, a: jax.Array) -> jax.Array:
        return (function({**params, "az": a}, {"x": x}, state).outputs["h"] ** 3).sum()

    def slope(x: jax.Array, a: jax.Array) -> jax.Array:
        by_x, by_a = jax.grad(loss, (0, 1))(x, a)
        return (by_x * inputs["x"]).sum() + (by_a * params["az"]).sum()

    return [np.asarray(array) for array in jax.jit(jax.grad(slope, (0, 1)))(inputs["x"], params["az"])]
