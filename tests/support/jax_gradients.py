"""Gradients of emitted JAX modules, and of the reference, for random weights of all results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from lsrl import stages
from lsrl.arguments import Arguments
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from lsrl.backends.result import Gradients
from lsrl.engine_jax import JaxEngine
from lsrl.ir.cell import Cell
from support.comparing import agree, arrays, cotangents_of
from support.programs import Case, bound

Named = Mapping[str, Any]


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


def weighted(text: ModuleType, given: Arguments, cotangents: Named) -> Callable[[Named], jax.Array]:
    """The weighted sum of all results, as a function of inputs."""

    def value(inputs: Named) -> jax.Array:
        outputs, state = text.apply(given.params, inputs, given.state)
        results = {**outputs, **{f"state.{name}": array for name, array in state.items()}}
        return jnp.asarray(sum(jnp.sum(jnp.real(jnp.conj(w) * results[name])) for name, w in cotangents.items()))

    return value
