"""A family of programs to measure: its rows, their arrays, their peers, and the work that no way can avoid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from calibration import Rates
from ways import FORWARD, PASSES, TRAINING, Arrays, Layer, Way

CPU, CUDA = "cpu", "cuda"
DEVICES = (CPU, CUDA)
FLOAT = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""


@dataclass(frozen=True)
class Work:
    """What one call cannot do without.

    Attributes:
        bytes: every array that is given read once, every result written once, and for a backward pass what the forward
            pass must leave for it.
        operations: of floating point, those of matrix products.
        steps: that follow each other.
    """

    bytes: float
    operations: float
    steps: float

    def floor(self, rates: Rates) -> dict[str, float]:
        """Seconds for each of them at a machine's measured rates; no way takes less than the largest.

        What the caches hold need not come from memory.
        """
        return {
            "memory": self.bytes / (rates.near if self.bytes < rates.cache else rates.memory),
            "arithmetic": self.operations / rates.matrix,
            "steps": self.steps * rates.step,
        }


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        name: in words, as tables have it.
        program: a name of the library, or the text of a cell.
        batch, length, sizes: what it runs on.
        output: what is measured of what the program gives out.
        quick: whether `--quick` measures it.
        schedules: measured beside what `auto` takes.
        peers: names that choose among the family's peers; which, the family says.
        products: matrix products in a step, counting those of the inputs; 0 where nobody asks.
    """

    name: str
    program: str
    batch: int
    length: int
    sizes: Mapping[str, int]
    output: str = "y"
    dtype: str = "float32"
    device: str = CPU
    quick: bool = False
    schedules: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    products: int = 0


@dataclass(frozen=True)
class Missing:
    """A peer that cannot run here, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Family:
    """A benchmark.

    Attributes:
        about: a line for its help.
        draw: parameters and inputs of a row by name.
        peers: everything that a row is compared with.
        work: of each pass.
        packages: whose versions are recorded.
        passes: those that are measured.
        elsewhere: seconds by name of what runs in processes of its own.
    """

    name: str
    about: str
    rows: Sequence[Row]
    draw: Callable[[Row], tuple[Arrays, Arrays]]
    peers: Callable[[Row], Iterator[Way | Layer | Missing]]
    work: Callable[[Row], Mapping[str, Work]]
    packages: tuple[str, ...] = ()
    passes: tuple[str, ...] = PASSES
    elsewhere: Callable[[Row], Mapping[str, float]] = lambda row: {}


def both(forward: Work, training: Work) -> dict[str, Work]:
    """The work of each pass."""
    return {FORWARD: forward, TRAINING: training}
