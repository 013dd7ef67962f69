"""Compiled programs: functions of arrays, whatever runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lsrl.arguments import Named, at_one_position, checked, told_extent
from lsrl.backends.result import Gradients, Result
from lsrl.engine import Engine
from lsrl.explain import Setting, explain
from lsrl.explain_text import report_text
from lsrl.ir.cell import TIME, Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.rtrl import RtrlError
from lsrl.online import Online
from lsrl.schedule import Schedule
from lsrl.stages import DEFAULT_DTYPES, EXACT

METHODS = ("reverse", "rtrl")
"""Ways to compute gradients."""


class StreamError(Refusal):
    """A program that cannot run position by position."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program for fixed sizes, ready to run.

    Batch and length stay free.  Arrays are by name and batch first, of the target's framework; NumPy arrays are taken
    too.  With the target `jax` this is a function of JAX, with `triton` one of PyTorch: either differentiates it.

    Attributes:
        target, dtype: what it was compiled for.
        cell, sizes: the graph, and the number of every size.
        schedule: how its recurrences run.
        source: the emitted module; for the reference, which interprets it, the graph.
    """

    target: str
    dtype: str
    cell: Cell = field(repr=False)
    sizes: Mapping[str, int]
    schedule: Schedule
    source: str = field(repr=False)
    engine: Engine = field(repr=False)

    def __deepcopy__(self, _: dict[int, Any]) -> Compiled:
        """Nothing in it changes, so copies of what holds it can share it."""
        return self

    def init(self, seed: int = 0) -> dict[str, Any]:
        """Parameters by name, drawn as the program says."""
        return self.engine.init(seed)

    def initial_state(self, params: Named, batch: int, extents: Sequence[int] = ()) -> dict[str, Any]:
        """Every state before the first position, [B, *shape] by name.

        Args:
            extents: over a grid, the number of places along each axis; a state along `y` of a grid over `y, x` is
                [B, X, *shape].
        """
        lengths = {axis.upper(): number for axis, number in zip(self.cell.axes, extents)}
        return self.engine.initial_state(params, {"B": batch, **lengths})

    def __call__(
        self,
        params: Named,
        inputs: Named,
        state: Named | None = None,
        *,
        seed: int = 0,
        batch: int | None = None,
        length: int | Sequence[int] | None = None,
    ) -> Result:
        """Run whole sequences.

        Args:
            params: by name, [*shape].
            inputs: by name, [B, T, *shape] (grids and graphs: as `lsrl.backends.arrays.validate` says).
            state: initial states by name, [B, *shape]; missing ones start as the program says.
            seed: for noises that are not among the inputs; the same numbers on every target.
            batch, length: for programs without inputs; over a grid `length` has the places along each axis.

        Raises:
            ArrayError: an array is missing, superfluous or ill-shaped.
        """
        told = told_extent(self.cell, batch, length)
        return self.engine.run(checked(self.cell, self.sizes, params, inputs, state, seed, told))

    def step(
        self, params: Named, inputs: Named, state: Named | None = None, *, seed: int = 0, batch: int | None = None
    ) -> Result:
        """Run one position, as a run without the axis of time: inputs and outputs are [B, *shape].

        Raises:
            ArrayError: as for a run.
            StreamError: a state arrives from the end of the sequence, or the program runs over a grid or graph.
        """
        self.check_streams()
        told = {"B": batch, "T": 1}
        whole = checked(self.cell, self.sizes, params, at_one_position(inputs), state, seed, told)
        drawn = {name: array[:, 0] for name, array in whole.inputs.items() if name not in inputs}
        return self.engine.step(whole.with_inputs({**inputs, **drawn}))

    def check_streams(self) -> None:
        """Refuse a program that cannot run position by position.

        Raises:
            StreamError: it says why.
        """
        if not self.streams:
            raise StreamError(f"{self.cell.name} cannot run position by position: it needs what comes later")

    @cached_property
    def streams(self) -> bool:
        """Whether it can run position by position."""
        return self.cell.axes == (TIME,) and not any(state.reverse for state in self.cell.states)

    def gradients(
        self,
        params: Named,
        inputs: Named,
        state: Named | None = None,
        cotangents: Named | None = None,
        *,
        method: str = "reverse",
        seed: int = 0,
        batch: int | None = None,
        length: int | Sequence[int] | None = None,
    ) -> Gradients:
        """The derivative of outputs and final states, weighted by cotangents and summed up.

        Args:
            cotangents: by output, or `state.NAME`; missing ones are zero.  None stands for ones for every output.
            method: `reverse`, or `rtrl`: the same numbers, computed forward in memory that does not grow with the
                length, for element-wise recurrences.  It has no gradient by inputs, since it does not look ahead.
            The others are as for a run.

        Returns:
            By every param, input and initial state that is a float or complex number.  That of a complex number
            z = x + iy is dL/dx + i dL/dy, on every target.

        Raises:
            ArrayError: as for a run, and for a cotangent that fits nothing.
            RtrlError: `rtrl` is not for this program, or there is no such method.
        """
        given = checked(self.cell, self.sizes, params, inputs, state, seed, told_extent(self.cell, batch, length))
        match method:
            case "reverse":
                return self.engine.gradients(given, cotangents)
            case "rtrl":
                return self.online.gradients(given, cotangents)
            case _:
                raise RtrlError(f"there is no method `{method}` of gradients; there are {', '.join(METHODS)}")

    @cached_property
    def online(self) -> Online:
        """What computes gradients forward.

        Raises:
            RtrlError: that is not for this program, or not for its precision.
        """
        if self.dtype == EXACT:
            raise RtrlError("gradients are computed in floating point; there are no exact ones")
        return Online(self.cell, self.sizes, self.target, self.dtype)

    def explain(self, batch: int = 8, length: int = 1024, device: str | None = None) -> str:
        """How it runs, and why so: what `lsrl explain` prints."""
        target = "jax" if self.target == "reference" else self.target
        dtype = DEFAULT_DTYPES["reference"] if self.dtype == EXACT else self.dtype  # costs are those of floats
        setting = Setting(target, dtype, batch, length, device)
        return report_text(explain(self.cell, self.sizes, str(self.schedule), setting))
