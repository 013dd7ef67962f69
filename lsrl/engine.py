"""What runs a compiled program: the same few functions over NumPy, JAX and PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lsrl.arguments import Arguments, Named
from lsrl.backends.arrays import Array, state_names
from lsrl.backends.result import Gradients, Result
from lsrl.ir.cell import GRAPH, Cell, State
from lsrl.ir.lattice import is_grid
from lsrl.ir.value import Kind


class Engine(Protocol):
    """Arrays are those of the engine's framework, by name and batch first, or NumPy's, which it converts."""

    def init(self, seed: int) -> dict[str, Any]:
        """Parameters, drawn as the program says by the framework's own generator."""

    def initial_state(self, params: Named, extent: Mapping[str, int]) -> dict[str, Any]:
        """Every state before the first position, [B, *shape]; over a grid, where it enters, by `state_names`."""

    def run(self, given: Arguments) -> Result:
        """Whole sequences."""

    def step(self, given: Arguments) -> Result:
        """One position: inputs and outputs have no axis of time."""

    def last_states(self, given: Arguments) -> dict[str, Any]:
        """The states after whole sequences, one position after another: memory does not grow with the length."""

    def gradients(self, given: Arguments, cotangents: Named | None) -> Gradients:
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
        tuple(name for state in starting(cell) if state.kind in smooth for name in state_names(state)),
    )


def starting(cell: Cell) -> tuple[State, ...]:
    """The states that have a start: over a graph none."""
    return () if cell.axes == (GRAPH,) else cell.states


def whole_extent(cell: Cell, extent: Mapping[str, int]) -> dict[str, Any]:
    """What a module's `apply` is told where no input tells it."""
    if is_grid(cell):
        return {"extents": tuple(extent[axis.upper()] for axis in cell.axes), "batch": extent["B"]}
    return {"length": extent["T"], "batch": extent["B"]}


def initial_extent(cell: Cell, extent: Mapping[str, int]) -> tuple[Any, ...]:
    """What a module's `initial_state` is told: the batch, and over a grid the number of places along each axis."""
    if not is_grid(cell):
        return (extent["B"],)
    return extent["B"], tuple(extent[axis.upper()] for axis in cell.axes)
