"""Scans in emitted JAX modules: the numbers and gradients of the reference, for every algebra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from lsrl.ir.laws import simplify
from lsrl.ir.plan import Loop, Plan, make_plan
from lsrl.ir.products import fuse_products, split_products
from support.comparing import BATCH, agree, arrays, cotangents_of, expected, extent
from support.programs import bound
from support.scan_programs import SCANS, scans

EDGES = ("max_plus", "lru", "mixed", "history", "backwards")
TOLERANCE = 1e-10
Named = Mapping[str, Any]


def scanned(name: str) -> Plan:
    """The plan in which everything runs as a scan but what counts."""
    cell, sizes = bound(SCANS[name])
    cell = fuse_products(split_products(simplify(cell)), in_loops=True)
    return make_plan(cell, sizes, hows=scans(cell))


def loaded(name: str) -> ModuleType:
    return load_module(emit_jax(scanned(name), "float64", name), f"scanned_{name}")


module = cache(loaded)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def check(name: str, emitted: ModuleType, length: int) -> None:
    """Outputs, final states and the gradients of random weights of them, against the reference's."""
    case = SCANS[name]
    params, inputs, state = arrays(case, length)
    cell, sizes = bound(case)
    wanted = expected(case, params, inputs, state, length)
    results = {**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}}
    weights = cotangents_of(results)
    numbers = None if cell.inputs else {"B": BATCH, "T": length}
    truth = reference.gradients(cell, sizes, params, inputs, state, weights, extent=numbers)

    def weighted(own_params: Named, own_inputs: Named, own_state: Named) -> tuple[jax.Array, Named]:
        given = {**params, **own_params}, {**inputs, **own_inputs}, {**state, **own_state}
        outputs, final = emitted.apply(*given, **extent(cell, length))
        found = {**outputs, **{f"state.{key}": array for key, array in final.items()}}
        total = sum(jnp.sum(jnp.real(jnp.conj(weight) * found[key])) for key, weight in weights.items())
        return jnp.asarray(total), found

    smooth = [{key: a for key, a in group.items() if a.dtype.kind in "fc"} for group in (params, inputs, state)]
    gradients, found = jax.jit(jax.grad(weighted, argnums=(0, 1, 2), has_aux=True))(*smooth)
    agree(found, results, TOLERANCE)
    for mine, theirs in zip(jax.tree.map(jnp.conj, gradients), (truth.params, truth.inputs, truth.state), strict=True):
        agree(mine, {key: theirs[key] for key in mine}, TOLERANCE)


@pytest.mark.parametrize("name", SCANS)
def test_results_and_gradients(name: str) -> None:
    """The length is no multiple of anything."""
    check(name, module(name), 37)


@pytest.mark.parametrize("length", [0, 1, 1000])
@pytest.mark.parametrize("name", EDGES)
def test_lengths(name: str, length: int) -> None:
    params, inputs, state = arrays(SCANS[name], length)
    outputs, final = module(name).apply(params, inputs, state)
    wanted = expected(SCANS[name], params, inputs, state, length)
    agree(outputs, wanted.outputs, TOLERANCE)
    agree(final, wanted.state, TOLERANCE)


@pytest.mark.parametrize("name", EDGES)
def test_pieces_composed_in_a_tree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs where there is no CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    check(name, loaded(name), 9)


@pytest.mark.parametrize("name", ["mingru", "mlstm"])
def test_a_start_at_minus_infinity_has_gradients(name: str) -> None:
    """From the states that the program says; no gradient is nan."""
    params, inputs, _ = arrays(SCANS[name], 5)
    smooth = {key: array for key, array in inputs.items() if array.dtype.kind == "f"}
    others = {key: array for key, array in inputs.items() if key not in smooth}

    @jax.jit
    @jax.grad
    def slope(own: Named) -> jax.Array:
        return jnp.sum(module(name).apply(params, {**others, **own})[0]["h"])

    gradients = slope(smooth)
    assert all(np.all(np.isfinite(array)) for array in gradients.values())


def test_second_derivatives() -> None:
    """By the gradient of a gradient against differences of gradients."""
    params, inputs, state = arrays(SCANS["log_sum"], 4)

    @jax.jit
    @jax.grad
    def slope(x: jax.Array) -> jax.Array:
        return jnp.sum(module("log_sum").apply(params, {**inputs, "x": x}, state)[0]["l"] ** 2)

    x = jnp.asarray(inputs["x"])
    direction = np.random.default_rng(0).normal(size=x.shape)
    found = jax.jit(jax.grad(lambda x: jnp.vdot(slope(x), direction)))(x)
    step = 1e-6
    np.testing.assert_allclose(
        found, (slope(x + step * direction) - slope(x - step * direction)) / (2 * step), rtol=1e-7, atol=1e-7
    )


def test_maps_over_an_axis_and_jacobians() -> None:
    """By `vmap` and `jacrev`, against one sequence after the other."""
    params, inputs, state = arrays(SCANS["rotation"], 5, batch=3)
    apply = module("rotation").apply

    def one(push: jax.Array, pull: jax.Array, damp: jax.Array, x: jax.Array, v: jax.Array) -> jax.Array:
        given = {"push": push[None], "pull": pull[None], "damp": damp[None]}
        return apply(params, given, {"x": x[None], "v": v[None]})[0]["x"][0]

    sequences = (*(jnp.asarray(inputs[name]) for name in ("push", "pull", "damp")), state["x"], state["v"])
    wanted = apply(params, inputs, state)[0]["x"]
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(*sequences), wanted, rtol=1e-12)
    slopes = jax.jit(jax.vmap(jax.jacrev(one)))(*sequences)  # [3, T, H, T, H]
    rows = jnp.einsum("btitj->btij", slopes)
    np.testing.assert_allclose(rows, jnp.broadcast_to(jnp.eye(3), rows.shape), rtol=1e-12)


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [("stressed", "float32", 1e-5), ("mlstm", "bfloat16", 1e-2)])
def test_other_precisions(name: str, dtype: str, tolerance: float) -> None:
    """Gates that are 0, exp(-40), exp(-8) and 1 among ordinary ones; data of 16 bits, rounded for the reference too."""
    emitted = load_module(emit_jax(scanned(name), dtype, name), f"scanned_{name}_{dtype}")
    params, inputs, state = (
        {key: np.asarray(jnp.asarray(a, dtype), float) if a.dtype.kind == "f" else a for key, a in group.items()}
        for group in arrays(SCANS[name], 200)
    )
    outputs, final = emitted.apply(params, inputs, state)
    wanted = expected(SCANS[name], params, inputs, state, 200)
    agree(outputs, wanted.outputs, tolerance)
    agree(final, wanted.state, tolerance)


def test_plans_of_library_programs_have_no_loop() -> None:
    for name in ("mingru", "rg_lru", "lru", "selective_ssm", "mlstm", "gated_delta"):
        assert not any(isinstance(stage, Loop) for stage in scanned(name).stages)
