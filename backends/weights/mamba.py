"""The Mamba mixer of `transformers` (Gu and Dao, 2023) as recurrent layer, with its selectivity switched off.

    u = silu(conv(W x))    h_t = exp(-D e^A_log) h_{t-1} + D B u_t    y = C h_t silu(z)

A channel whose convolution is zero but for its bias L holds silu(L) = L, from which B = C = 1 are read; the constant 1
beside the input gives silu(z) = L, and softplus gives D = L: for L = 64 all of that is exact in float32.  A state takes
two channels, silu(k v) and silu(-k v) for what it adds, v; with k v at least 128, or 0, these are the ReLUs of k v and
-k v, and otherwise their difference is k v up to rounding.  The convolution reads v up to three steps late: chains of
last values are its taps.  Transitions are real and diagonal, within [0, 1]: a rotation is not held.

The mixer computes its states in float32, whatever its type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import Extent
from lsrl.backends.weights.architecture import Emitted, Json, Precision
from lsrl.backends.weights.blocks import Stage, beside, staged
from lsrl.backends.weights.diagonal import LEVEL, SINGLE, TAPS, Diagonal, added, is_single, parts, taps
from lsrl.backends.weights.encoding import Decoder
from lsrl.backends.weights.network import Kind, Layer, Network

SATURATED = 128.0
KEPT, FORGOTTEN = -800.0, 7.0
"""A_log for exp(-L e^A_log) = 1 and = 0, in float32."""


@dataclass(frozen=True)
class Mamba(Diagonal):
    """`--arch mamba`."""

    name: str = "mamba"
    title: str = "Mamba mixers of transformers with ReLU and product layers between"

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        """The two channels of a state are what was added with one sign and with the other: they grow for themselves."""
        unit = layer[slot]
        if unit.kind is not Kind.STATE:
            return 0.0
        channels = parts(layer, slot, below, horizon)
        exact = is_single(channels.largest, min(channels.unit, unit.extent.unit))
        return 0.0 if exact else 8 * SINGLE * channels.largest

    def emit(self, network: Network, precision: Precision) -> Emitted:
        return staged(network, _mixer)


def _mixer(layer: Layer, below: Decoder, extents: Sequence[Extent]) -> Stage:
    slots, found = taps(layer)
    rows, bias = below.rows(layer)
    size = 1 + max(below.width, len(slots))  # the width of the mixer, which has twice as many channels
    channels = 2 * size
    scales = [_gain(added(layer[each.source], each.decay, extents)) for each in found]
    into, gate = np.zeros((channels, size)), np.zeros((channels, size))
    taken, decays, out = np.zeros((channels, 1, TAPS)), np.full((channels, 1), FORGOTTEN), np.zeros((size, channels))
    gate[:, below.width] = LEVEL
    for state, (each, scale) in enumerate(zip(found, scales)):
        for sign, channel in ((1, 2 * state), (-1, 2 * state + 1)):
            into[channel, : below.width] = sign * scale * rows[each.source]
            into[channel, below.width] = sign * scale * bias[each.source]
            taken[channel, 0, TAPS - 1 - each.lag] = 1
            decays[channel, 0] = _log_decay(each.decay)
            out[state, channel] = sign / (LEVEL * LEVEL * scale)
    constant = np.zeros(channels)
    constant[-1] = LEVEL
    reads = np.zeros((3, channels))
    reads[1:, -1] = 1 / LEVEL
    tensors: dict[str, Array] = {
        "A_log": decays,
        "D": np.zeros(channels),
        "conv1d.weight": taken,
        "conv1d.bias": constant,
        "in_proj.weight": np.concatenate([into, gate]),
        "x_proj.weight": reads,
        "dt_proj.weight": np.zeros((channels, 1)),
        "dt_proj.bias": np.full(channels, LEVEL),
        "out_proj.weight": out,
    }
    stage: Json = ["recurrent", "Mamba", below.width, len(slots)]
    decoder = beside(layer, below, np.eye(len(layer))[:, slots])
    return stage, {f"rnn.mixer.{name}": tensor for name, tensor in tensors.items()}, decoder


def _gain(step: Extent) -> float:
    """So that silu is a ReLU on the grid of what is added."""
    if step.unit == 0 or not math.isfinite(step.unit):
        return 1.0
    return 2.0 ** math.ceil(math.log2(SATURATED / step.unit))


def _log_decay(decay: float) -> float:
    if decay in (0.0, 1.0):
        return KEPT if decay else FORGOTTEN
    return math.log(-math.log(decay) / LEVEL)
