"""Emitted JAX modules of whole programs: the reference's numbers and gradients, and what JAX can do with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsrl import stages
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from lsrl.ir.cell import Cell
from lsrl.ir.value import Kind
from support.programs import PROGRAMS, Case, bound
from support.running import random_arrays

BATCH, LENGTH = 2, 6
SOME = ("lstm", "mlstm", "lru", "lags", "resets")
MORE = (*SOME, "stack", "noisy", "autonomous", "pointwise", "table")
DERIVED = (*MORE, "reversed", "learner", "picture", "selective_ssm")
NARROW = [("lstm", "bfloat16"), ("lstm", "float16"), ("gated_delta", "bfloat16"), ("selective_ssm", "bfloat16")]
NARROW += [("lru", "float16"), ("stack", "bfloat16"), ("noisy", "float16")]
Named = Mapping[str, Any]


@cache
def module(name: str, dtype: str) -> ModuleType:
    cell, sizes = bound(PROGRAMS[name])
    source = emit_jax(stages.make(cell, sizes, "jax").plan, dtype, name)
    return load_module(source, f"emitted_{name}_{dtype}")


def arrays(case: Case, length: int = LENGTH, batch: int = BATCH) -> tuple[Any, Any, Any]:
    """Params, inputs and initial states of a moderate size, so that gates are open and nothing explodes."""
    cell, sizes = bound(case)
    params, inputs, state = random_arrays(cell, sizes, batch, length)
    soft = {name: 0.5 * array if array.dtype.kind in "fc" else array for name, array in params.items()}
    return soft, inputs, state


def extent(cell: Cell, length: int = LENGTH, batch: int = BATCH) -> dict[str, int]:
    """What a program without inputs must be told."""
    return {} if cell.inputs else {"length": length, "batch": batch}


def expected(case: Case, params: Named, inputs: Named, state: Named | None, length: int = LENGTH) -> Any:
    cell, sizes = bound(case)
    numbers = None if cell.inputs else {"B": BATCH, "T": length}
    return reference.run(cell, sizes, params, inputs, state, extent=numbers)


def agree(found: Named, wanted: Named, tolerance: float) -> None:
    """Equal up to a fraction of the largest element."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        scale = np.max(np.abs(array), initial=1.0, where=np.isfinite(array))
        np.testing.assert_allclose(
            np.asarray(found[name]).astype(array.dtype), array, rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


@pytest.fixture
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", PROGRAMS)
def test_float64(name: str, double: None) -> None:
    case = PROGRAMS[name]
    params, inputs, state = arrays(case)
    run = jax.jit(partial(module(name, "float64").apply, **extent(bound(case)[0])))
    for given in (state, None):
        wanted = expected(case, params, inputs, given)
        outputs, final = run(params, inputs, given)
        agree(outputs, wanted.outputs, 1e-10)
        agree(final, wanted.state, 1e-10)


@pytest.mark.parametrize("name", PROGRAMS)
def test_float32(name: str) -> None:
    case = PROGRAMS[name]
    params, inputs, state = arrays(case)
    outputs, final = module(name, "float32").apply(params, inputs, state, **extent(bound(case)[0]))
    wanted = expected(case, params, inputs, state)
    agree(outputs, wanted.outputs, 1e-5)
    agree(final, wanted.state, 1e-5)
    assert all(array.dtype in (jnp.float32, jnp.complex64, jnp.int32, bool) for array in outputs.values())


@pytest.mark.parametrize(("name", "dtype"), NARROW)
def test_16_bits(name: str, dtype: str) -> None:
    """Data of 16 bits: the reference runs on the rounded arrays."""
    case = PROGRAMS[name]
    params, inputs, state = (
        {key: np.asarray(jnp.asarray(a, dtype), float) if a.dtype.kind == "f" else a for key, a in group.items()}
        for group in arrays(case)
    )
    outputs, final = module(name, dtype).apply(params, inputs, state)
    wanted = expected(case, params, inputs, state)
    agree(outputs, wanted.outputs, 1e-2)
    agree(final, wanted.state, 1e-2)
    assert {str(array.dtype) for array in outputs.values()} == {dtype}
    assert {str(array.dtype) for array in final.values()} <= {"float32", "complex64"}
    drawn = module(name, dtype).init(0)
    assert all(str(a.dtype) in (dtype, "complex64") for a in drawn.values())


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("name", [*MORE, "reversed"])
def test_short_sequences(name: str, length: int, double: None) -> None:
    case = PROGRAMS[name]
    params, inputs, state = arrays(case, length)
    outputs, final = module(name, "float64").apply(params, inputs, state, **extent(bound(case)[0], length))
    wanted = expected(case, params, inputs, state, length)
    agree(outputs, wanted.outputs, 1e-10)
    agree(final, wanted.state if length else state, 1e-10)


@pytest.mark.parametrize("name", MORE)
def test_step_by_step(name: str, double: None) -> None:
    """`step` over positions gives what `apply` gives, and a sequence may be cut where one likes."""
    case = PROGRAMS[name]
    cell = bound(case)[0]
    emitted = module(name, "float64")
    params, inputs, state = arrays(case)
    outputs, final = emitted.apply(params, inputs, state, **extent(cell))
    step = jax.jit(partial(emitted.step, **({} if cell.inputs else {"batch": BATCH})))
    now, kept = state, []
    for position in range(LENGTH):
        here, now = step(params, {key: array[:, position] for key, array in inputs.items()}, now)
        kept.append(here)
    agree({key: np.stack([each[key] for each in kept], axis=1) for key in outputs}, outputs, 1e-12)
    agree(now, final, 1e-12)
    front, middle = emitted.apply(params, _cut(inputs, 0, 4), state, **extent(cell, 4))
    back, end = emitted.apply(params, _cut(inputs, 4, LENGTH), middle, **extent(cell, LENGTH - 4))
    agree({key: np.concatenate([front[key], back[key]], axis=1) for key in outputs}, outputs, 1e-12)
    agree(end, final, 1e-12)


def _cut(inputs: Named, start: int, stop: int) -> dict[str, Array]:
    return {name: array[:, start:stop] for name, array in inputs.items()}


@pytest.mark.parametrize("name", DERIVED)
def test_gradients(name: str, double: None) -> None:
    """Reverse mode by JAX against the reference's own, for random weights of outputs and final states."""
    case = PROGRAMS[name]
    cell, sizes = bound(case)
    params, inputs, state = arrays(case)
    generator = np.random.default_rng(1)
    wanted = expected(case, params, inputs, state)
    results = {**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}}
    cotangents = {
        key: generator.normal(size=array.shape) + (1j * generator.normal(size=array.shape) if _complex(array) else 0)
        for key, array in results.items()
        if array.dtype.kind in "fc"
    }
    numbers = None if cell.inputs else {"B": BATCH, "T": LENGTH}
    truth = reference.gradients(cell, sizes, params, inputs, state, cotangents, extent=numbers)

    def weighted(own_params: Named, own_inputs: Named, own_state: Named) -> jax.Array:
        outputs, final = module(name, "float64").apply(
            {**params, **own_params}, {**inputs, **own_inputs}, {**state, **own_state}, **extent(cell)
        )
        found = {**outputs, **{f"state.{key}": array for key, array in final.items()}}
        return sum(jnp.sum(jnp.real(jnp.conj(weight) * found[key])) for key, weight in cotangents.items())  # type: ignore[return-value]

    smooth = [{key: a for key, a in group.items() if a.dtype.kind in "fc"} for group in (params, inputs, state)]
    found = jax.tree.map(jnp.conj, jax.jit(jax.grad(weighted, argnums=(0, 1, 2)))(*smooth))
    for mine, theirs in zip(found, (truth.params, truth.inputs, truth.state), strict=True):
        agree(mine, {key: theirs[key] for key in mine}, 1e-10)


def _complex(array: Array) -> bool:
    return array.dtype.kind == "c"


@pytest.mark.parametrize("name", SOME)
def test_vmap(name: str, double: None) -> None:
    """Mapped over sets of parameters and inputs, as ensembles are."""
    case = PROGRAMS[name]
    params, inputs, state = arrays(case)
    several = jax.tree.map(lambda array: np.stack([array, array[::-1] if array.ndim else -array]), (params, inputs))
    mapped = jax.vmap(lambda p, i: module(name, "float64").apply(p, i, state))(*several)
    for place in range(2):
        one_params, one_inputs = jax.tree.map(lambda array, at=place: array[at], several)
        one = module(name, "float64").apply(one_params, one_inputs, state)
        for found, wanted in zip(jax.tree.map(lambda array, at=place: array[at], mapped), one, strict=True):
            agree(found, jax.tree.map(np.asarray, wanted), 1e-12)


@pytest.mark.parametrize("name", SOME)
def test_single_precision_where_double_is_allowed(name: str, double: None) -> None:
    """A float32 module stays float32 in a process that allows float64."""
    case = PROGRAMS[name]
    cell, _ = bound(case)
    outputs, final = module(name, "float32").apply(*arrays(case), **extent(cell))
    narrow = {Kind.FLOAT: "float32", Kind.COMPLEX: "complex64", Kind.INT: "int32", Kind.BOOL: "bool"}
    assert {o.name: str(outputs[o.name].dtype) for o in cell.outputs} == {
        o.name: narrow[o.value.kind] for o in cell.outputs
    }
    assert {s.name: str(final[s.name].dtype) for s in cell.states} == {s.name: narrow[s.kind] for s in cell.states}
