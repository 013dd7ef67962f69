"""The normal form of an exact program: a levelled network of four kinds of units.

Layer after layer, each unit computes one slot from the slots of the layer before (layer 0 are the inputs):

    carry     v_t = w · u_t + b                       a value that later layers need, or a sum of such
    relu      v_t = max(a · v_{t-1} + w · u_t + b, 0)
    product   v_t = (w · u_t + b) (w' · u_t + b')
    state     v_t = a · v_{t-1} + w · u_t + b         a over the states and ReLUs of the same layer; v_0 = start

and the outputs are affine in the slots of the last layer.  The depth is the number of layers, the width the largest
number of slots of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import UNKNOWN, Extent

Shape = tuple[int, ...]


class Kind(StrEnum):
    """What a unit computes; see the module's docstring."""

    CARRY = "carry"
    RELU = "relu"
    PRODUCT = "product"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Row:
    """An affine form of the slots of a layer: `sum(factor * slot number) + bias`."""

    terms: tuple[tuple[int, float], ...]
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class Unit:
    """One slot.

    Attributes:
        rows: over the layer before; two for a product, else one.
        back: over states and ReLUs of its own layer, one step ago.
        start: the value of a state before the first step.
        extent: what is known of its values.
        name: the program's value it carries.
        place: that value and its line, for people.
        operands: of a product, what is known of its two factors.
        snaps: a ReLU that is exact as long as the error of what it reads is smaller than this.
    """

    kind: Kind
    rows: tuple[Row, ...]
    back: tuple[tuple[int, float], ...] = ()
    start: float = 0.0
    extent: Extent = UNKNOWN
    name: str = ""
    place: str = ""
    operands: tuple[Extent, ...] = ()
    snaps: float = 0.0


Layer = tuple[Unit, ...]


def is_recurrent(unit: Unit) -> bool:
    """Whether a unit is a state, or reads last values."""
    return unit.kind is Kind.STATE or bool(unit.back)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its elements follow each other, row-major."""

    name: str
    shape: Shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Probe:
    """Where an element of a named value is found: an affine form over slots (layer, slot) of several layers."""

    name: str
    index: Shape
    terms: tuple[tuple[int, int, float], ...]
    bias: float


@dataclass(frozen=True)
class Network:
    """A program in normal form; `probes` find its values again in the slots."""

    name: str
    inputs: tuple[Port, ...]
    input_extents: tuple[Extent, ...]
    layers: tuple[Layer, ...]
    readout: tuple[Row, ...]
    readout_extents: tuple[Extent, ...]
    outputs: tuple[Port, ...]
    probes: tuple[Probe, ...] = ()

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def width(self) -> int:
        return max((len(layer) for layer in self.layers), default=0)

    def count(self, kind: Kind) -> int:
        return sum(unit.kind is kind for layer in self.layers for unit in layer)

    @property
    def nonzeros(self) -> int:
        """Coefficients of all units and of the read-out."""
        units = [unit for layer in self.layers for unit in layer]
        rows = [*(row for unit in units for row in unit.rows), *self.readout]
        return sum(len(row.terms) for row in rows) + sum(len(unit.back) for unit in units)


def dense(rows: tuple[Row, ...] | list[Row], width: int) -> tuple[Array, Array]:
    """Rows as a matrix [rows, width] and a bias [rows]."""
    matrix = np.zeros((len(rows), width))
    for number, row in enumerate(rows):
        for slot, factor in row.terms:
            matrix[number, slot] = factor
    return matrix, np.array([row.bias for row in rows])
