"""Gradients computed forward, position after position: `gradients(..., method="rtrl")`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lsrl import stages
from lsrl.arguments import Arguments, Named, check_cotangents
from lsrl.backends.arrays import Array
from lsrl.backends.result import Gradients, Result
from lsrl.engine import Engine
from lsrl.engines import load_engine
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Shape
from lsrl.ir.rtrl import ending_cell, forward_cell
from lsrl.ir.value import Kind


@dataclass(frozen=True, eq=False)
class Online:
    """The engines of a cell's forward gradients.

    Raises:
        RtrlError: the cell has no such gradients, or not at a reasonable cost (`lsrl.ir.rtrl`).
    """

    cell: Cell
    sizes: Mapping[str, int]
    target: str
    dtype: str

    def gradients(self, given: Arguments, cotangents: Named | None) -> Gradients:
        """As those of an engine; there are none by inputs.

        Raises:
            ArrayError: a cotangent fits nothing.
        """
        zeros = self.zeros(given.extent)
        check_cotangents(zeros, cotangents)
        weights = self.weights(zeros, cotangents)
        watched = {name: array for name, array in weights.items() if not name.startswith("cotangent.state.")}
        last = self.forward.last_states(given.with_inputs({**given.inputs, **watched}))
        ending = ending_cell(self.cell, given.state)
        reached = {**weights, **last}
        here = {declared.name: reached[declared.name] for declared in ending.inputs}
        at_end = Arguments(given.params, here, {}, {**given.extent, "T": 1})
        found = self.engine(ending, self.wide).step(at_end).outputs
        states = {s.name: found[f"gradient.state.{s.name}"] for s in self.cell.states if s.kind is Kind.FLOAT}
        params = {p.name: found[f"gradient.{p.name}"].sum(0) for p in self.cell.params if p.kind is Kind.FLOAT}
        return Gradients({}, params, states)

    @cached_property
    def forward(self) -> Engine:
        """Runs the states with their derivatives."""
        return self.engine(forward_cell(self.cell), self.dtype)

    @property
    def wide(self) -> str:
        """The type of gradients: they are not rounded to 16 bits on the way."""
        return "float64" if self.dtype == "float64" else "float32"

    def engine(self, cell: Cell, dtype: str) -> Engine:
        """What runs one of the two cells, with loops that run step by step."""
        if self.target == "reference":
            return load_engine(self.target, dtype, cell, self.sizes, "")
        plan = stages.make(cell, self.sizes, self.target).plan
        source = stages.write(plan, self.target, dtype, "", "", gradients=False)
        return load_engine(self.target, dtype, cell, self.sizes, source)

    def zeros(self, extent: Mapping[str, int]) -> Result:
        """Arrays of the shapes of a run's result that hold nothing."""
        batch, length = extent["B"], extent["T"]
        outputs = {o.name: self.zero((batch, length), o.value.shape) for o in self.cell.outputs}
        return Result(outputs, {s.name: self.zero((batch,), s.shape) for s in self.cell.states})

    def zero(self, lead: tuple[int, ...], shape: Shape) -> Array:
        return np.broadcast_to(np.zeros(()), (*lead, *(dim.evaluate(self.sizes) for dim in shape)))

    def weights(self, zeros: Result, cotangents: Named | None) -> dict[str, Any]:
        """The cotangent of every output and final state that has a derivative, by the names of the forward cells."""
        plain = 1.0 if cotangents is None else 0.0
        outputs = [output.name for output in self.cell.outputs if output.value.kind is Kind.FLOAT]
        states = [state.name for state in self.cell.states if state.kind is Kind.FLOAT]
        told = cotangents or {}
        found = {f"cotangent.{name}": _or(told.get(name), zeros.outputs[name], plain) for name in outputs}
        ends = {f"cotangent.state.{name}": _or(told.get(f"state.{name}"), zeros.state[name], 0.0) for name in states}
        return {**found, **ends}


def _or(array: Any, like: Array, number: float) -> Any:
    """The array, or a number repeated in the shape of another."""
    return np.full(like.shape, number) if array is None else array
