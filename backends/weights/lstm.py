"""The LSTM, `torch.nn.LSTM`, as a pure stack with its real sigmoids and tanhs.

    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)        h_t = sigmoid(o) tanh(c_t)

Every unit has o = K, so that h = tanh(c), and signals are scaled by a small power of two (`gates`), e:

    state     i = K, f = -K, g = A h_{t-1} + e (B u + b); a state that reads only a in [0, 1] times itself keeps it in
              the cell, f = logit(a), and never passes tanh on its way
    carry     i = K, f = -K, g = e (w u + b)
    relu      i = k v, f = -K, g = e v: the soft ReLU v sigmoid(k v), off by at most 0.2785 / k, and by nothing where
              v is a multiple of 110 / k; v may have to do with h_{t-1}
    gate      c t for a truth value c: i = K (2 c - 1), f = -K, g = e t, exact
    product   x y: two units with g = e y and i = 4 d x, -4 d x; sigmoid(u) - sigmoid(-u) = tanh(u / 2), so their
              difference is 2 d e x y up to a relative error of (2 d x)^2 / 3
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import Extent, power_above
from lsrl.backends.weights.architecture import Emitted, Precision
from lsrl.backends.weights.encoding import Decoder
from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.gates import centred, scale_for, tanh_error
from lsrl.backends.weights.network import Kind, Layer, Network, Unit
from lsrl.backends.weights.stack import Weights, stacked

SOFT_RELU = 0.2785
"""The largest of relu(z) - z sigmoid(z), at z = 1.278."""

SHARP = 16.0
"""A soft ReLU that leaks does so within a sixteenth of a step of 0."""

INPUT, FORGET, CELL, OUTPUT = range(4)


@dataclass(frozen=True)
class Lstm:
    """`--arch lstm`."""

    name: str = "lstm"
    title: str = "torch.nn.LSTM, stacked, with a linear read-out"
    template: str = "load_stack"
    apart: bool = False
    diagonal: bool = False
    softens: bool = True

    def obstacle(self, layer: Layer, slot: int) -> str | None:
        unit = layer[slot]
        if unit.kind is Kind.PRODUCT and not all(extent.bounded for extent in unit.operands):
            return "a product in sigmoid gates needs bounds of both factors"
        return None

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        """Of a tanh; where gates leak, three of them too, by a share of what they pass; and of what stands in one."""
        unit = layer[slot]
        most = max(each.largest for each in (centred(layer)[slot], *unit.operands))
        passed = tanh_error(unit.extent, precision) + 4 * precision.leak * most
        match unit.kind:
            case Kind.RELU:
                return passed + _relu_error(unit, precision)
            case Kind.PRODUCT if not any(extent.boolean for extent in unit.operands):
                left, right = (extent.largest for extent in unit.operands)
                return passed + left * right * (4 / 3 * precision.tilt**2 + 2.0**-precision.digits / precision.tilt)
        return passed

    def emit(self, network: Network, precision: Precision) -> Emitted:
        return stacked(network, "LSTM", lambda layer, below: _layer(layer, below, precision))


def slope(unit: Unit, precision: Precision) -> float:
    """The sigmoid's slope in a soft ReLU: so steep that it is exact on the multiples of the unit."""
    step = unit.extent.unit
    on_grid = step > 0 and math.isfinite(step)
    if precision.leak:
        return SHARP * precision.saturation / step if on_grid else SOFT_RELU / (precision.leak * unit.extent.largest)
    exact = 2.0 ** math.ceil(math.log2(precision.saturation / step)) if on_grid else 0.0
    return max(precision.slope, exact)


def _relu_error(unit: Unit, precision: Precision) -> float:
    """Of v sigmoid(k v) for v on its grid; next to it, it makes no error of v larger."""
    step = unit.extent.unit
    if slope(unit, precision) * step >= precision.saturation:
        return precision.leak * step if math.isfinite(step) else 0.0
    return SOFT_RELU / slope(unit, precision)


def is_kept(slot: int, unit: Unit) -> bool:
    """Whether a state reads only itself, times a number in [0, 1]: the cell can keep it."""
    return unit.kind is Kind.STATE and all(other == slot and 0 <= factor <= 1 for other, factor in unit.back)


def is_general(unit: Unit) -> bool:
    """Whether a unit is a product of two numbers that are no truth values: it takes two hidden units."""
    return unit.kind is Kind.PRODUCT and not any(extent.boolean for extent in unit.operands)


def _layer(layer: Layer, below: Decoder, precision: Precision) -> tuple[Weights, Decoder]:
    owners = [slot for slot, unit in enumerate(layer) for _ in range(2 if is_general(unit) else 1)]
    first, first_bias = below.rows(layer, 0)
    second, second_bias = below.rows(layer, 1)
    back, start = transition(layer)
    scale = scale_for([*centred(layer), *(extent for unit in layer for extent in unit.operands)], precision)
    into = np.zeros((4, len(owners), below.width))
    bias = np.zeros((4, len(owners)))
    recurrent = np.zeros((4, len(owners), len(owners)))
    matrix = np.zeros((len(layer), len(owners)))
    bias[OUTPUT] = bias[INPUT] = precision.saturation
    bias[FORGET] = -precision.saturation
    for number, slot in enumerate(owners):
        unit = layer[slot]
        signal, shift = (second, second_bias) if unit.kind is Kind.PRODUCT else (first, first_bias)
        gate = first[slot], first_bias[slot]
        if unit.kind is Kind.PRODUCT and not is_general(unit) and not unit.operands[0].boolean:
            signal, shift, gate = first, first_bias, (second[slot], second_bias[slot])
        into[CELL, number], bias[CELL, number] = scale * signal[slot], scale * shift[slot]
        matrix[slot, number] = 1 / scale
        if unit.kind is Kind.RELU:
            _gate(into, bias, number, gate, slope(unit, precision), 0.0)
        elif is_general(unit):
            tilt = precision.tilt / power_above(max(unit.operands[0].largest, 1e-30))
            side = 1 if owners.index(slot) == number else -1
            _gate(into, bias, number, gate, side * 4 * tilt, 0.0)
            matrix[slot, number] = side / (2 * tilt * scale)
        elif unit.kind is Kind.PRODUCT:
            _gate(into, bias, number, gate, 2 * precision.saturation, -precision.saturation)
        elif is_kept(slot, unit):
            bias[FORGET, number] = _logit(dict(unit.back).get(slot, 0.0), precision)
    for number, slot in enumerate(owners):
        if not is_kept(slot, layer[slot]):
            recurrent[CELL, number] = scale * (back[slot] @ matrix)
        if layer[slot].kind is Kind.RELU:
            recurrent[INPUT, number] = slope(layer[slot], precision) * (back[slot] @ matrix)
    return {"weight_ih": into, "weight_hh": recurrent, "bias": bias}, Decoder(matrix, start)


def _gate(into: Array, bias: Array, number: int, row: tuple[Array, Array], factor: float, shift: float) -> None:
    into[INPUT, number] = factor * row[0]
    bias[INPUT, number] = factor * row[1] + shift


def _logit(kept: float, precision: Precision) -> float:
    if kept in (0.0, 1.0):
        return precision.saturation * (2 * kept - 1)
    return math.log(kept / (1 - kept))
