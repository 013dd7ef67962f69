"""An emitted JAX module as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.result import Gradients, Result
from lsrl.engine import Extent, Named, moving
from lsrl.ir.cell import Cell

# A `Result` can be returned from `jax.jit`, mapped and differentiated.
jax.tree_util.register_dataclass(Result, data_fields=["outputs", "state"], meta_fields=[])

Arrays = dict[str, jax.Array]


@dataclass(frozen=True)
class JaxEngine:
    """Runs a module that `lsrl.backends.emit_jax` wrote."""

    cell: Cell
    dtype: str
    module: ModuleType

    def init(self, seed: int) -> Arrays:
        params: Arrays = self.module.init(seed)
        return params

    def run(self, params: Named, inputs: Named, state: Named, extent: Extent) -> Result:
        length = {} if self.cell.inputs else {"length": extent["T"], "batch": extent["B"]}
        return Result(*self.module.apply(params, inputs, state, **length))

    def step(self, params: Named, inputs: Named, state: Named, extent: Extent) -> Result:
        batch = {} if self.cell.inputs else {"batch": extent["B"]}
        return Result(*self.module.step(params, inputs, state, **batch))

    def gradients(
        self, params: Named, inputs: Named, state: Named, cotangents: Named | None, extent: Extent
    ) -> Gradients:
        names = moving(self.cell, inputs)
        initial = self.module.initial_state(params, extent["B"]) if self.cell.states else {}
        # An initial state that is not given still has a gradient: that of a zero added to what the program says.
        given = {name: state[name] if name in state else jnp.zeros_like(initial[name]) for name in names.states}
        own = (self.floats(params, names.params), self.floats(inputs, names.inputs), self.floats(given, names.states))

        def whole(own_params: Arrays, own_inputs: Arrays, own_state: Arrays) -> Result:
            every = {**params, **own_params}
            start = self.module.initial_state(every, extent["B"]) if self.cell.states else {}
            moved = {name: array if name in state else start[name] + array for name, array in own_state.items()}
            return self.run(every, {**inputs, **own_inputs}, {**state, **moved}, extent)

        result, pull = jax.vjp(whole, *own)
        by_param, by_input, by_state = map(_conjugated, pull(_cotangents(result, cotangents)))
        return Gradients(by_input, by_param, by_state)

    def floats(self, arrays: Named, names: Sequence[str]) -> Arrays:
        """These arrays as floats, or complex numbers, of the module's precision."""
        found = {name: jnp.asarray(arrays[name]) for name in names}
        return {name: a if jnp.iscomplexobj(a) else a.astype(self.dtype) for name, a in found.items()}

    def to_numpy(self, array: Any) -> Array:
        wide = array.astype(jnp.float32) if array.dtype in (jnp.bfloat16, jnp.float16) else array
        return np.asarray(wide)


def _cotangents(result: Result, given: Named | None) -> Result:
    """What JAX pulls back: of the type of the result, for integers of a type without elements, else conjugated."""

    def cotangent(name: str, array: jax.Array, missing: float) -> Any:
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            return np.zeros(array.shape, jax.dtypes.float0)
        if given is None or name not in given:
            return jnp.full_like(array, missing)
        return jnp.conj(jnp.asarray(given[name], array.dtype))

    ones = 1.0 if given is None else 0.0
    outputs = {name: cotangent(name, array, ones) for name, array in result.outputs.items()}
    return Result(outputs, {name: cotangent(f"state.{name}", array, 0.0) for name, array in result.state.items()})


def _conjugated(arrays: Mapping[str, jax.Array]) -> Arrays:
    """JAX's gradient by a complex number is the conjugate of ours, dL/dx + i dL/dy."""
    return {name: jnp.conj(array) for name, array in arrays.items()}
