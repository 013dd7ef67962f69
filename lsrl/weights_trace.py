"""The values of a program, decoded from the network that it was compiled to, beside the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.files import write_text
from lsrl.weights_trace_page import Row, heat_map


@dataclass(frozen=True, eq=False)
class Traced:
    """A named value of the program: as the compiled network has it and as the reference has it, [B, T, *shape]."""

    compiled: Array
    reference: Array

    @property
    def error(self) -> float:
        """The largest difference."""
        return float(np.abs(self.compiled - self.reference).max(initial=0.0))

    @property
    def rounding(self) -> float:
        """How far the reference itself may be off, which rounds in float64."""
        return 2.0**-44 * float(np.abs(self.reference).max(initial=1.0))


@dataclass(frozen=True, eq=False)
class Trace(Mapping[str, Traced]):
    """All values that have a name and are in the network, by name.

    Attributes:
        title: the program and the network, in words.
        named: the values.
    """

    title: str
    named: Mapping[str, Traced]

    def __getitem__(self, name: str) -> Traced:
        return self.named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)

    def html(self, sequence: int = 0) -> str:
        """A page with one of the sequences as an aligned heat map: a row for each element, a column per position."""
        rows = [row for name, value in self.named.items() for row in _rows(name, value, sequence)]
        return heat_map(f"{self.title}, sequence {sequence}", rows)

    def save_html(self, path: str | Path, sequence: int = 0) -> None:
        """Write that page; it needs no other file."""
        write_text(Path(path), self.html(sequence))


def _rows(name: str, value: Traced, sequence: int) -> Iterator[Row]:
    """The elements of a value share their colours."""
    compiled, reference = value.compiled[sequence], value.reference[sequence]
    full = float(np.abs(reference).max(initial=0.0))
    for index in np.ndindex(compiled.shape[1:]):
        label = f"{name}[{', '.join(map(str, index))}]" if index else name
        yield Row(label, compiled[:, *index], reference[:, *index], full)
