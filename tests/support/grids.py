"""A program over a grid on arrays drawn for it, by a target and by the float64 reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import lsrl
from lsrl.backends.arrays import Array
from lsrl.backends.result import Result
from lsrl.compiled import Compiled
from lsrl.random_arrays import random_arrays, random_weights
from lsrl.verify import relative_errors
from support.grid_programs import Grid

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Drawn:
    """A program with arrays for it.

    Attributes:
        sizes: the number of every size.
        given: params, inputs and states at the borders by name.
        told: batch and extents, where there is no input to tell them.
    """

    program: lsrl.Program
    sizes: Mapping[str, int]
    given: tuple[Arrays, Arrays, Arrays]
    told: Mapping[str, Any]

    @classmethod
    def of(cls, grid: Grid, extents: tuple[int, ...], *, started: bool = True, batch: int = 2) -> Drawn:
        """Arrays of a fixed seed; with `started`, states at the borders as well."""
        program = lsrl.parse(grid.text)
        cell, sizes = program.bind(grid.numbers)
        params, inputs, state = random_arrays(cell, sizes, batch, extents)
        params, inputs = ({name: array / 2 for name, array in group.items()} for group in (params, inputs))
        told = {} if cell.inputs else {"batch": batch, "length": extents}
        return cls(program, sizes, (params, inputs, state if started else {}), told)

    def compiled(self, target: str, dtype: str, schedule: str) -> Compiled:
        return lsrl.compile(self.program, target=target, sizes=self.sizes, dtype=dtype, schedule=schedule)

    def errors(self, ours: Compiled) -> Iterator[tuple[str, float]]:
        """The relative error of each output, border state and gradient."""
        truth = lsrl.compile(self.program, target="reference", sizes=self.sizes)
        found, wanted = (arrays(each(*self.given, **self.told)) for each in (ours, truth))
        yield from relative_errors(numbers(ours, found), wanted).items()
        weights = random_weights(wanted)
        mine, theirs = (each.gradients(*self.given, weights, **self.told) for each in (ours, truth))
        for group in ("params", "inputs", "state"):
            yield from relative_errors(numbers(ours, getattr(mine, group)), getattr(theirs, group)).items()


def arrays(result: Result) -> dict[str, Any]:
    """Outputs and states of a run by name."""
    return {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}


def numbers(compiled: Compiled, found: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays of a framework in NumPy."""
    return {name: np.asarray(compiled.engine.to_numpy(array)) for name, array in found.items()}
