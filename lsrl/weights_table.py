"""Which architectures hold a program, how exactly, and why the others do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.arrays import Array
from lsrl.backends.given_ranges import Given
from lsrl.backends.weights.architecture import PRECISIONS, Architecture
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.backends.weights.lower import Scalars
from lsrl.backends.weights.normal_form import layered, obstacles, prepared, taken_apart
from lsrl.backends.weights.predict import predict
from lsrl.ir.cell import Cell

HORIZON = 4096
"""How many positions the bounds of states that grow hold for, where nobody tells."""


@dataclass(frozen=True, slots=True)
class Row:
    """A program in one architecture.

    Attributes:
        architecture, module: its name, and what it is in words.
        obstacle: the first operation that it does not hold, and why; None where it holds the program.
        depth, width, parameters: of the network, 0 where there is none.
        errors: the largest error bound of an output by dtype; null where there is no bound.
    """

    architecture: str
    module: str
    obstacle: str | None
    depth: int
    width: int
    parameters: int
    errors: Mapping[str, float | None]

    @property
    def exact(self) -> bool:
        """Whether no output has an error, in any type."""
        return self.obstacle is None and all(error == 0 for error in self.errors.values())

    @property
    def exactness(self) -> str:
        """The bounds in words."""
        if self.exact:
            return "exact"
        if None in self.errors.values():
            return "up to rounding, without a bound (give the ranges of inputs)"
        return "within " + ", ".join(f"{error:.1e} in {dtype}" for dtype, error in self.errors.items())

    def text(self) -> str:
        """After the name of the architecture."""
        if self.obstacle is not None:
            return f"impossible: {self.obstacle}"
        return f"{self.exactness}; depth {self.depth}, width {self.width}, {self.parameters:,} parameters"


def weights_table(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Mapping[str, Array],
    given: Mapping[str, Given],
    horizon: int,
    names: Sequence[str],
) -> tuple[Row, ...]:
    """A row for each architecture of these names.

    Raises:
        NotExact: no architecture holds the program.
    """
    chosen = [ARCHITECTURES[name] for name in names]
    scalars = {
        diagonal: taken_apart(prepared(cell, sizes, diagonal=diagonal).cell, sizes, params, given, horizon)
        for diagonal in sorted({architecture.diagonal for architecture in chosen})
    }
    return tuple(_row(scalars[architecture.diagonal], architecture, horizon) for architecture in chosen)


def table_text(rows: Sequence[Row]) -> str:
    """The rows for people."""
    return "".join(f"{line}\n" for line in _lines(rows))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    width = max(len(row.architecture) for row in rows)
    yield from (f"{row.architecture:<{width}}  {row.text()}" for row in rows)


def _row(scalars: Scalars, architecture: Architecture, horizon: int) -> Row:
    network = layered(scalars, architecture)
    met = obstacles(network, architecture)
    if met:
        return Row(architecture.name, architecture.title, str(met[0]), 0, 0, 0, {})
    emitted = architecture.emit(network, PRECISIONS["float32"])
    parameters = sum(tensor.size for tensor in emitted.tensors.values())
    bounds = {
        dtype: float(predict(network, architecture, precision, horizon)[1].max(initial=0.0))
        for dtype, precision in PRECISIONS.items()
    }
    errors = {dtype: bound if math.isfinite(bound) else None for dtype, bound in bounds.items()}
    return Row(architecture.name, architecture.title, None, network.depth, network.width, parameters, errors)
