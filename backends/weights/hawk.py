"""The recurrent block of Griffin and Hawk (De et al., 2024) in `transformers` as recurrent layer, its gates held open.

    x = conv(W u + b)    h_t = a h_{t-1} + sqrt(1 - a^2) i x_t    y = gelu(L) h_t

with a = exp(-8 r softplus(p)), r = i = 1, and gelu(L) = L.  A state that forgets nothing takes an a that rounds to 1
whereas a^2 does not: the root is then 2^-12 in float32 (2^-26 in float64), and x is scaled by its inverse, exactly.
The convolution reads x up to three steps late.  Transitions are real and diagonal, within [0, 1].

The block computes its states in float32, whatever its type.
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
from lsrl.backends.weights.diagonal import LEVEL, SINGLE, TAPS, Diagonal, is_single, taps
from lsrl.backends.weights.encoding import Decoder
from lsrl.backends.weights.network import Kind, Layer, Network

FORGOTTEN = 100.0
"""Of p, for a = 0."""


@dataclass(frozen=True)
class Hawk(Diagonal):
    """`--arch hawk`."""

    name: str = "hawk"
    title: str = "RecurrentGemma blocks of transformers with ReLU and product layers between"

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        unit = layer[slot]
        if unit.kind is not Kind.STATE:
            return 0.0
        most = max(unit.extent.high - unit.start, unit.start - unit.extent.low)
        return 0.0 if is_single(most, unit.extent.unit) else 16 * SINGLE * most

    def emit(self, network: Network, precision: Precision) -> Emitted:
        return staged(network, lambda layer, below, _: _block(layer, below, precision))


def _block(layer: Layer, below: Decoder, precision: Precision) -> Stage:
    slots, found = taps(layer)
    rows, bias = below.rows(layer)
    width, size = len(slots), max(below.width, len(slots))
    keep, root = _kept(precision)
    gains = np.array([root if each.decay == 1 else math.sqrt(1 - each.decay**2) for each in found])
    sources = [each.source for each in found]
    into, taken, out = np.zeros((width, size)), np.zeros((width, 1, TAPS)), np.zeros((size, width))
    into[:, : below.width] = rows[sources] / gains[:, None]
    for state, each in enumerate(found):
        taken[state, 0, TAPS - 1 - each.lag] = 1
        out[state, state] = 1 / LEVEL
    tensors: dict[str, Array] = {
        "linear_x.weight": into,
        "linear_x.bias": bias[sources] / gains,
        "linear_y.weight": np.zeros((width, size)),
        "linear_y.bias": np.full(width, LEVEL),
        "linear_out.weight": out,
        "linear_out.bias": np.zeros(size),
        "conv_1d.weight": taken,
        "conv_1d.bias": np.zeros(width),
        "rg_lru.recurrent_param": np.array([_param(each.decay, keep) for each in found]),
    }
    for gate in ("input_gate", "recurrent_gate"):
        tensors[f"rg_lru.{gate}_weight"] = np.zeros((1, width, width))
        tensors[f"rg_lru.{gate}_bias"] = np.full((1, width), precision.saturation)
    stage: Json = ["recurrent", "Hawk", below.width, width]
    named = {f"rnn.block.{name}": tensor for name, tensor in tensors.items()}
    return stage, named, beside(layer, below, np.eye(len(layer))[:, slots])


def _kept(precision: Precision) -> tuple[float, float]:
    """-log a for a state that forgets nothing, and the root of 1 - a^2 as it is computed.

    float32: a = 1 - 3/8 ulp rounds to 1, a^2 to 1 - 2^-24.  float64: a is rounded to float32, a^2 is 1 - 2^-52.
    """
    return (1.5 * 2.0**-26, 2.0**-12) if precision.digits == 24 else (2.0**-53, 2.0**-26)


def _param(decay: float, keep: float) -> float:
    """p with exp(-8 softplus(p)) = decay."""
    if decay == 0:
        return FORGOTTEN
    return math.log(math.expm1((keep if decay == 1 else -math.log(decay)) / 8))
