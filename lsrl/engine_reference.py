"""The reference as an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.backends.initialise import init_params
from lsrl.backends.result import Gradients, Result
from lsrl.engine import Extent, Named
from lsrl.ir.cell import Cell


@dataclass(frozen=True)
class ReferenceEngine:
    """Runs the graph of a cell."""

    cell: Cell
    sizes: Mapping[str, int]
    dtype: str

    def init(self, seed: int) -> dict[str, Array]:
        return init_params(self.cell, self.sizes, seed)

    def run(self, params: Named, inputs: Named, state: Named, extent: Extent) -> Result:
        return reference.run(self.cell, self.sizes, params, inputs, state, dtype=self.dtype, extent=extent)

    def step(self, params: Named, inputs: Named, state: Named, extent: Extent) -> Result:
        sequence = {name: np.asarray(array)[:, None] for name, array in inputs.items()}
        result = self.run(params, sequence, state, extent)
        return Result({name: array[:, 0] for name, array in result.outputs.items()}, result.state)

    def gradients(
        self, params: Named, inputs: Named, state: Named, cotangents: Named | None, extent: Extent
    ) -> Gradients:
        return reference.gradients(
            self.cell, self.sizes, params, inputs, state, cotangents, dtype=self.dtype, extent=extent
        )

    def to_numpy(self, array: Array) -> Array:
        return array.astype(np.float32) if array.dtype == np.float16 else array
