"""A layer of recurrent tanh units, h_t = tanh(A h_{t-1} + B u_t + b): linear states and thresholds.

A linear state is one unit that carries it scaled by a small power of two (`gates`).  A ReLU on the way from a state's
last value to its next, whose values are 0, d, 2 d, ..., n d, is a sum of n thresholds (McCulloch and Pitts, 1943),

    relu(v) = sum over j = 1 ... n of d/2 (tanh(k (v - (j - 1/2) d)) + tanh(k d)),    k = 128 / d,

in which every tanh is -1 or 1 exactly: it is from 9.1 on in float32, from 19.1 on in float64.  The last one is a unit
that all share: so a ReLU is 0 before the first step, where all units are.  What is decided anew at every step does not
drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.architecture import Precision
from lsrl.backends.weights.encoding import Decoder
from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.gates import centred, scale_for
from lsrl.backends.weights.network import Kind, Layer, Unit

MOST = 256
"""Thresholds of one ReLU."""


@dataclass(frozen=True, eq=False)
class TanhUnits:
    """Weights [hidden, below], [hidden, hidden] and [hidden], and the layer's slots from them, [slots, hidden]."""

    into: Array
    back: Array
    bias: Array
    values: Array


def threshold_count(unit: Unit) -> int | None:
    """How many thresholds a ReLU takes; None where it has too many values, or they lie on no grid."""
    step, high = unit.extent.unit, unit.extent.high
    return round(high / step) if step > 0 and high <= MOST * step else None


def tanh_units(layer: Layer, below: Decoder, precision: Precision) -> TanhUnits:
    """The recurrent units of a layer: its states, then its ReLUs, then the shared one."""
    states = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.STATE]
    counts = {slot: threshold_count(unit) or 0 for slot, unit in enumerate(layer) if unit.kind is Kind.RELU}
    owners = np.array([*states, *(slot for slot, count in counts.items() for _ in range(count))], int)
    steps = np.array([layer[slot].extent.unit for slot in owners[len(states) :]])
    places = np.array([place + 0.5 for count in counts.values() for place in range(count)])
    scale = scale_for([centred(layer)[slot] for slot in states], precision)
    gains = np.concatenate([np.full(len(states), scale), precision.steep / steps])
    shifts = np.concatenate([np.zeros(len(states)), places * steps])

    shared = bool(counts)
    values = np.zeros((len(layer), len(owners) + shared))
    values[owners, np.arange(len(owners))] = np.concatenate([np.full(len(states), 1 / scale), steps / 2])
    for slot, count in counts.items():
        values[slot, -1] = count * layer[slot].extent.unit / 2

    rows, bias = below.rows(layer)
    back, _ = transition(layer)
    more = ((0, int(shared)), (0, 0))
    return TanhUnits(
        np.pad(gains[:, None] * rows[owners], more),
        np.pad(gains[:, None] * (back[owners] @ values), more),
        np.append(gains * (bias[owners] - shifts), [precision.steep] * shared),
        values,
    )
