"""What runs a compiled program: the same few functions over NumPy, JAX and PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lsrl.backends.arrays import Array
from lsrl.backends.result import Gradients, Result
from lsrl.ir.cell import Cell
from lsrl.ir.value import Kind

Named = Mapping[str, Any]
Extent = Mapping[str, int]


class Engine(Protocol):
    """Arrays are those of the engine's framework, by name and batch first, or NumPy's, which it converts.

    Whoever calls has checked names and shapes.  `extent` has batch and length (`B`, `T`) for programs without inputs.
    """

    def init(self, seed: int) -> dict[str, Any]:
        """Parameters, drawn as the program says by the framework's own generator."""

    def run(self, params: Named, inputs: Named, state: Named, extent: Extent) -> Result:
        """Whole sequences."""

    def step(self, params: Named, inputs: Named, state: Named, extent: Extent) -> Result:
        """One position: inputs and outputs have no time axis."""

    def gradients(
        self, params: Named, inputs: Named, state: Named, cotangents: Named | None, extent: Extent
    ) -> Gradients:
        """As `lsrl.backends.reference.gradients`."""

    def to_numpy(self, array: Any) -> Array:
        """An array of the framework in NumPy; 16-bit floats as float32, which holds them exactly."""


@dataclass(frozen=True, slots=True)
class Moving:
    """The names of what has a gradient: floats and complex numbers."""

    params: tuple[str, ...]
    inputs: tuple[str, ...]
    states: tuple[str, ...]


def moving(cell: Cell, inputs: Named) -> Moving:
    """What has a gradient in a run with these inputs; noise counts where it is given."""
    smooth = (Kind.FLOAT, Kind.COMPLEX)
    return Moving(
        tuple(param.name for param in cell.params if param.kind in smooth),
        (
            *(declared.name for declared in cell.inputs if declared.kind in smooth),
            *(noise.name for noise in cell.noises if noise.name in inputs),
        ),
        tuple(state.name for state in cell.states if state.kind in smooth),
    )
