"""Recurrent layers with a real diagonal transition behind a short convolution: which states they hold, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl.backends.weights.affine import Extent, point
from lsrl.backends.weights.network import Kind, Layer, Unit

TAPS = 4
"""Of the convolution, in Mamba and in Griffin."""

LATEST = TAPS - 1
"""How many steps late it reads; longer chains of last values take several layers (`levels`)."""

LEVEL = 64.0
"""Of constants in a layer: silu, gelu and softplus of it are it."""

SINGLE = 2.0**-24
"""Half a unit in the last place of float32, in which both compute their states whatever their type."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A state as `s_t = decay s_{t-1} + v_{t - lag}`, where v is what slot `source` of its layer adds."""

    source: int
    decay: float
    lag: int


@dataclass(frozen=True)
class Diagonal:
    """What the architectures with such layers have in common."""

    template: str = "load_blocks"
    apart: bool = True
    diagonal: bool = True
    softens: bool = False

    def obstacle(self, layer: Layer, slot: int) -> str | None:
        unit = layer[slot]
        if unit.kind is Kind.RELU and unit.back:
            return "a state reads its own last value through a ReLU, and the recurrent layers are linear"
        found = tap(layer, slot) if unit.kind is Kind.STATE else None
        return found if isinstance(found, str) else None


def is_single(largest: float, unit: float) -> bool:
    """Whether float32 has every multiple of a unit up to the largest."""
    return unit > 0 and largest <= unit / SINGLE


def parts(layer: Layer, slot: int, below: Sequence[Extent], horizon: int) -> Extent:
    """What the negative and what the positive numbers that a state adds come to, each by itself, at most."""
    found = tap(layer, slot)
    assert isinstance(found, Tap)
    each = added(layer[found.source], found.decay, below)
    count = horizon if found.decay == 1 else min(horizon, 1 / (1 - found.decay))
    return Extent(min(each.low, 0.0) * count, max(each.high, 0.0) * count, each.unit)


def taps(layer: Layer) -> tuple[list[int], list[Tap]]:
    """The states of a layer that holds them all: their slots, and how."""
    slots = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.STATE]
    return slots, [found for slot in slots if isinstance(found := tap(layer, slot), Tap)]


def tap(layer: Layer, slot: int) -> Tap | str:
    """How the mixer holds a state, or why it does not."""
    lag = 0
    while True:
        unit = layer[slot]
        others = [(other, factor) for other, factor in unit.back if other != slot]
        if not others:
            break
        (other, factor), *more = others
        shift = unit.rows[0].bias + layer[other].start - unit.start
        if more or factor != 1 or len(unit.back) > 1 or unit.rows[0].terms or shift != 0:
            return "a state reads another's last value, and the mixer's transition is diagonal"
        slot, lag = other, lag + 1
        if lag >= TAPS:
            return f"a value is read more than {LATEST} steps late, or states turn in a circle; taps are {TAPS}"
    decay = dict(layer[slot].back).get(slot, 0.0)
    if not 0 <= decay <= 1:
        return f"a state keeps {decay:g} of itself, and the mixer's decay lies between 0 and 1"
    return Tap(slot, decay, lag)


def added(unit: Unit, decay: float, extents: Sequence[Extent]) -> Extent:
    """What a state without its start adds at a step, beside what it keeps."""
    row = unit.rows[0]
    total = point(row.bias + (decay - 1) * unit.start)
    for slot, factor in row.terms:
        total = total + extents[slot].scaled(factor)
    return total
