"""The reference as an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsrl.arguments import Arguments, Named
from lsrl.backends import reference
from lsrl.backends.arrays import Array, state_names
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.initialise import init_params
from lsrl.backends.result import Gradients, Result
from lsrl.ir import ops
from lsrl.ir.cell import Cell


@dataclass(frozen=True)
class ReferenceEngine:
    """Runs the graph of a cell."""

    cell: Cell
    sizes: Mapping[str, int]
    dtype: str

    def init(self, seed: int) -> dict[str, Array]:
        return init_params(self.cell, self.sizes, seed)

    def initial_state(self, params: Named, extent: Mapping[str, int]) -> dict[str, Array]:
        roots = [state.init for state in self.cell.states]
        scope = Scope(self.sizes, self.dtype)
        env = {
            ops.leaf("param", p.name, p.shape, p.kind): scope.held(np.asarray(params[p.name]), p.kind)
            for p in self.cell.params
        }
        arrays = evaluate(roots, env, scope)
        found = {}
        for state, array in zip(self.cell.states, arrays):
            for name, along in zip(state_names(state), state.axes):
                others = (extent[axis.upper()] for axis in self.cell.axes if axis != along)
                whole = np.broadcast_to(array, (extent["B"], *others, *scope.shape(state.shape)))
                found[name] = np.array(scope.held(whole, state.kind))
        return found

    def run(self, given: Arguments) -> Result:
        return reference.run(
            self.cell, self.sizes, given.params, given.inputs, given.state, dtype=self.dtype, extent=given.extent
        )

    def step(self, given: Arguments) -> Result:
        result = self.run(given.with_inputs({name: np.asarray(array)[:, None] for name, array in given.inputs.items()}))
        return Result({name: array[:, 0] for name, array in result.outputs.items()}, result.state)

    def last_states(self, given: Arguments) -> dict[str, Array]:
        state = {**self.initial_state(given.params, given.extent), **given.state}
        for t in range(given.extent["T"]):
            here = {name: np.asarray(array)[:, t : t + 1] for name, array in given.inputs.items()}
            state = dict(self.run(Arguments(given.params, here, state, {**given.extent, "T": 1})).state)
        return state

    def gradients(self, given: Arguments, cotangents: Named | None) -> Gradients:
        params, inputs, state = given.params, given.inputs, given.state
        return reference.gradients(
            self.cell, self.sizes, params, inputs, state, cotangents, dtype=self.dtype, extent=given.extent
        )

    def to_numpy(self, array: Array) -> Array:
        match array.dtype.kind:
            case "O":
                return array.astype(np.float64)
            case "f" if array.dtype == np.float16:
                return array.astype(np.float32)
            case _:
                return array
