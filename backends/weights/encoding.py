"""How hidden units of a real network carry the slots of a layer.

A slot's value is `offset + sum(factor * hidden unit)`.  Rows over slots become rows over hidden units by substitution,
so an architecture only says, slot by slot, which units carry it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.network import Kind, Layer, Unit, dense


@dataclass(frozen=True, eq=False)
class Decoder:
    """The slots of a layer from its hidden units: `matrix @ hidden + offset`."""

    matrix: Array
    offset: Array

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])

    def rows(self, layer: Layer, which: int = 0) -> tuple[Array, Array]:
        """What a layer's units read, [units, hidden] and [units]; `which` of a product's two factors.

        States are centred: they start at 0, so what is read lacks `start`, and what the states of the layer had more
        than their centred values is put back.
        """
        matrix, bias = dense([unit.rows[min(which, len(unit.rows) - 1)] for unit in layer], self.matrix.shape[0])
        back, start = transition(layer)
        return matrix @ self.matrix, bias + matrix @ self.offset + back @ start - start


def identity(width: int) -> Decoder:
    """Of the inputs, which are their own slots."""
    return Decoder(np.eye(width), np.zeros(width))


@dataclass(frozen=True, slots=True)
class Face:
    """A rectified unit of a slot: relu(sign * value + shift)."""

    slot: int
    sign: float
    shift: float


def faces(layer: Layer) -> tuple[Face, ...]:
    """ReLUs that carry every slot of a layer exactly.

    What has one sign takes one unit; a bounded multiple of a power of two takes one, shifted by a power of two, which
    rounds nothing; anything else takes two, for its positive and its negative part.  At every step one of those is 0,
    so they do not grow together.
    """
    return tuple(face for slot, unit in enumerate(layer) for face in _faces(slot, unit))


def _faces(slot: int, unit: Unit) -> tuple[Face, ...]:
    low, high = unit.extent.low - unit.start, unit.extent.high - unit.start
    if unit.kind is Kind.RELU or low >= 0:
        return (Face(slot, 1, 0),)
    if high <= 0:
        return (Face(slot, -1, 0),)
    if unit.kind is Kind.CARRY and unit.extent.unit > 0 and math.isfinite(low):
        return (Face(slot, 1, 2.0 ** math.ceil(math.log2(-low))),)
    return Face(slot, 1, 0), Face(slot, -1, 0)


def faces_decoder(layer: Layer, units: Sequence[Face]) -> Decoder:
    """Slots from the rectified units."""
    matrix = np.zeros((len(layer), len(units)))
    offset = np.array([unit.start for unit in layer])
    for number, face in enumerate(units):
        matrix[face.slot, number] = face.sign
        offset[face.slot] -= face.shift
    return Decoder(matrix, offset)


def faces_rows(layer: Layer, below: Decoder, units: Sequence[Face]) -> tuple[Array, Array]:
    """What rectified units read from the hidden units below: matrix and bias."""
    matrix, bias = below.rows(layer)
    slots = [face.slot for face in units]
    signs = np.array([face.sign for face in units])
    shifts = np.array([face.shift for face in units])
    return signs[:, None] * matrix[slots], signs * bias[slots] + shifts
