"""An emitted JAX module as an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsrl.arguments import Arguments, Named, check_cotangents
from lsrl.backends.arrays import Array
from lsrl.backends.result import Gradients, Result
from lsrl.engine import initial_extent, moving, starting, whole_extent
from lsrl.graph_runs import is_over_graph, prepared, without_graph
from lsrl.ir.cell import Cell

# A `Result` can be returned from `jax.jit`, mapped and differentiated.
jax.tree_util.register_dataclass(Result, data_fields=["outputs", "state", "statistics"], meta_fields=[])

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

    def initial_state(self, params: Named, extent: Mapping[str, int]) -> Arrays:
        if not starting(self.cell):
            return {}
        states: Arrays = self.module.initial_state(params, *initial_extent(self.cell, extent))
        return states

    @property
    def apply(self) -> Callable[..., tuple[Any, ...]]:
        """The module's `apply`, which tells how recurrences ran where there is anything to tell."""
        found: Callable[..., tuple[Any, ...]] = getattr(self.module, "apply_statistics", self.module.apply)
        return found

    @cached_property
    def apply_graph(self) -> Callable[..., tuple[Any, ...]]:
        """The module's `apply`, compiled once for each shape of a graph: its loops would be at every call."""
        return jax.jit(self.module.apply)

    def run(self, given: Arguments, key: jax.Array | None = None) -> Result:
        """`key` draws noises that are not among the inputs."""
        if is_over_graph(self.cell):
            graph = prepared(self.module, given.inputs, given.extent["nodes"])
            return Result(*self.apply_graph(given.params, without_graph(given.inputs), graph))
        drawing = {"key": key} if self.cell.noises else {}
        told = {} if self.cell.inputs else whole_extent(self.cell, given.extent)
        return Result(*self.apply(given.params, given.inputs, given.state, **told, **drawing))

    def step(self, given: Arguments, key: jax.Array | None = None) -> Result:
        drawing = {"key": key} if self.cell.noises else {}
        batch = {} if self.cell.inputs else {"batch": given.extent["B"]}
        return Result(*self.module.step(given.params, given.inputs, given.state, **batch, **drawing))

    def last_states(self, given: Arguments) -> Arrays:
        batch = {} if self.cell.inputs else {"batch": given.extent["B"]}
        first = self.initial_state(given.params, given.extent)
        start = {name: jnp.asarray(given.state.get(name, array), array.dtype) for name, array in first.items()}

        inputs = {name: jnp.asarray(array) for name, array in given.inputs.items()}

        def advance(t: int, state: Arrays) -> Arrays:
            at = {name: jax.lax.dynamic_index_in_dim(array, t, 1, keepdims=False) for name, array in inputs.items()}
            following: Arrays = self.module.step(given.params, at, state, **batch)[1]
            return following

        length = given.extent["T"]  # a loop without turns would still be traced, and there is nothing to look at
        return jax.lax.fori_loop(0, length, advance, start) if length else start

    def gradients(self, given: Arguments, cotangents: Named | None) -> Gradients:
        names = moving(self.cell, given.inputs)
        # An initial state that is not given still has a gradient: that of a zero added to what the program says.
        zeros = {name: jnp.zeros_like(array) for name, array in self.initial_state(given.params, given.extent).items()}
        starts = {**zeros, **given.state}
        own = (
            self.floats(given.params, names.params),
            self.floats(given.inputs, names.inputs),
            {name: jnp.asarray(starts[name], zeros[name].dtype) for name in names.states},
        )

        def whole(own_params: Arrays, own_inputs: Arrays, own_state: Arrays) -> Result:
            params = {**given.params, **own_params}
            start = self.initial_state(params, given.extent)
            moved = {name: array if name in given.state else start[name] + array for name, array in own_state.items()}
            return self.run(Arguments(params, {**given.inputs, **own_inputs}, {**given.state, **moved}, given.extent))

        result, pull = jax.vjp(whole, *own)
        check_cotangents(result, cotangents)
        by_param, by_input, by_state = pull(_cotangents(result, cotangents))
        return Gradients(
            _conjugated(by_input, names.inputs),
            _conjugated(by_param, names.params),
            _conjugated(by_state, names.states),
        )

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
    states = {name: cotangent(f"state.{name}", array, 0.0) for name, array in result.state.items()}
    told = {
        names: {word: cotangent("", array, 0.0) for word, array in each.items()}
        for names, each in result.statistics.items()
    }
    return Result(outputs, states, told)


def _conjugated(arrays: Mapping[str, jax.Array], names: Sequence[str]) -> Arrays:
    """JAX's gradient by a complex number is the conjugate of ours, dL/dx + i dL/dy."""
    return {name: jnp.conj(arrays[name]) for name in names}
