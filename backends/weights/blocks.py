"""Recurrent layers with ReLU networks between (Petrov et al., 2024, equations 2 to 5).

A recurrent layer holds a layer of states; its output stands beside what it reads, so that nothing else has to pass
through it.  The other layers are `relu(W x + b)`, and in the gated classes products of two affine maps beside it.
The cells:

    LinearRNN   s_t = A s_{t-1} + B u + b, as it is
    RNN         h = tanh(A h + B u + b): linear states and thresholds (`tanh_units`)
    GRU         r = sigmoid(K) = 1 and z = sigmoid(-K) = 0, which leaves n = tanh(A h + B u + b)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import Extent
from lsrl.backends.weights.architecture import Emitted, Json, Precision
from lsrl.backends.weights.encoding import Decoder, faces, faces_decoder, faces_rows, identity
from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.gates import centred, tanh_error
from lsrl.backends.weights.network import Kind, Layer, Network, dense, is_recurrent
from lsrl.backends.weights.tanh_units import MOST, TanhUnits, tanh_units, threshold_count

Tensors = dict[str, Array]
Stage = tuple[Json, Tensors, Decoder]
"""What `load.py` builds it from, its state dict, and its slots."""

StageMaker = Callable[[Layer, Decoder, Sequence[Extent]], Stage]


@dataclass(frozen=True)
class Blocks:
    """`--arch linear-rnn`, `gated-linear-rnn`, `rnn-tanh` and `gru`.

    Attributes:
        cell: of the recurrent layers.
        gated: whether layers without states may multiply.
    """

    name: str
    title: str
    cell: str
    gated: bool
    template: str = "load_blocks"
    apart: bool = True
    diagonal: bool = False

    @property
    def softens(self) -> bool:
        return self.cell != "LinearRNN"

    def obstacle(self, layer: Layer, slot: int) -> str | None:
        unit = layer[slot]
        if unit.kind is Kind.PRODUCT and not self.gated:
            return "a product of two numbers that are no truth values is not piecewise linear"
        if unit.kind is not Kind.RELU or not unit.back:
            return None
        if self.cell == "LinearRNN":
            return "a state reads its own last value through a ReLU, and the recurrent layers are linear"
        if threshold_count(unit) is None:
            return f"a state reads its own last value through a ReLU of reals, or of more than {MOST} steps"
        return None

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        """Of a tanh, and where gates leak: z keeps as much of what was there, r takes as much of what comes back.

        A threshold's tanh is off by 2 leak, and so is the shared one.
        """
        unit = layer[slot]
        if not is_recurrent(unit) or self.cell == "LinearRNN":
            return 0.0
        through_tanh = tanh_error(centred(layer)[slot], precision)
        if not precision.leak or self.cell == "RNN":
            return through_tanh if unit.kind is Kind.STATE else 4 * precision.leak * unit.extent.largest
        back = sum(abs(factor) * layer[other].extent.largest for other, factor in unit.back)
        return 6 * through_tanh + precision.leak * back * (unit.kind is Kind.STATE)

    def emit(self, network: Network, precision: Precision) -> Emitted:
        return staged(network, lambda layer, below, _: self._recurrent(layer, below, precision))

    def _recurrent(self, layer: Layer, below: Decoder, precision: Precision) -> Stage:
        """States go into the recurrent layer; what is carried is read from beside it."""
        if self.cell == "LinearRNN":
            weights, values = _linear(layer, below)
        else:
            units = tanh_units(layer, below, precision)
            weights, values = self._cell(units, precision), units.values
        stage: Json = ["recurrent", self.cell, below.width, values.shape[1]]
        return stage, {f"rnn.{name}": tensor for name, tensor in weights.items()}, beside(layer, below, values)

    def _cell(self, units: TanhUnits, precision: Precision) -> Tensors:
        gates = [(units.into, units.back, units.bias)]
        if self.cell == "GRU":
            shut = np.zeros_like(units.into), np.zeros_like(units.back)
            level = np.full_like(units.bias, precision.saturation)
            gates = [(*shut, level), (*shut, -level), *gates]
        return {
            "weight_ih_l0": np.concatenate([gate[0] for gate in gates]),
            "weight_hh_l0": np.concatenate([gate[1] for gate in gates]),
            "bias_ih_l0": np.concatenate([gate[2] for gate in gates]),
            "bias_hh_l0": np.zeros(len(units.bias) * len(gates)),
        }


def _linear(layer: Layer, below: Decoder) -> tuple[Tensors, Array]:
    """The weights, and which unit is which slot, [slots, hidden]."""
    slots = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.STATE]
    rows, bias = below.rows(layer)
    back, _ = transition(layer)
    weights = {"A.weight": back[np.ix_(slots, slots)], "B.weight": rows[slots], "B.bias": bias[slots]}
    return weights, np.eye(len(layer))[:, slots]


def staged(network: Network, recurrent: StageMaker) -> Emitted:
    """Stage after stage; layers of states as `recurrent` makes them from what is known of the slots below."""
    below = identity(sum(port.size for port in network.inputs))
    extents: Sequence[Extent] = network.input_extents
    stages: list[Json] = []
    tensors: Tensors = {}
    decoders = []
    for number, layer in enumerate(network.layers):
        has_states = any(map(is_recurrent, layer))
        stage, weights, below = recurrent(layer, below, extents) if has_states else rectified(layer, below)
        stages.append(stage)
        decoders.append(below)
        tensors |= {f"stages.{number}.{name}": tensor for name, tensor in weights.items()}
        extents = [unit.extent for unit in layer]
    matrix, bias = dense(network.readout, len(network.layers[-1]))
    tensors["readout.weight"] = matrix @ below.matrix
    tensors["readout.bias"] = bias + matrix @ below.offset
    config: dict[str, Json] = {"stages": stages, "hidden": below.width, "outputs": len(network.readout)}
    return Emitted(config, tensors, tuple(decoders))


def beside(layer: Layer, below: Decoder, values: Array) -> Decoder:
    """A layer's slots: `values` [slots, hidden] of recurrent units, in which states start at 0; the rest lies below."""
    rows, offset = below.rows(layer)
    recurrent = np.array([is_recurrent(unit) for unit in layer])
    starts = np.array([unit.start for unit in layer])
    matrix = np.concatenate([np.where(recurrent[:, None], 0, rows), values], 1)
    return Decoder(matrix, np.where(recurrent, starts, offset))


def rectified(layer: Layer, below: Decoder) -> Stage:
    """A layer without states."""
    products = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.PRODUCT]
    units = tuple(face for face in faces(layer) if face.slot not in products)
    matrix, bias = faces_rows(layer, below, units)
    tensors = {"linear.weight": matrix, "linear.bias": bias}
    decoder = faces_decoder(layer, units)
    decode = np.pad(decoder.matrix, ((0, 0), (0, len(products))))
    for number, slot in enumerate(products):
        decode[slot, len(units) + number] = 1
    if products:
        factors = [below.rows(layer, which) for which in (0, 1)]
        tensors["factors.weight"] = np.concatenate([rows[products] for rows, _ in factors])
        tensors["factors.bias"] = np.concatenate([shift[products] for _, shift in factors])
    stage: Json = ["rectified", below.width, len(units), len(products)]
    return stage, tensors, Decoder(decode, decoder.offset)


LINEAR = Blocks("linear-rnn", "linear recurrent layers with ReLU layers between, in plain torch", "LinearRNN", False)
GATED = Blocks(
    "gated-linear-rnn",
    "linear recurrent layers with ReLU and product layers between, in plain torch",
    "LinearRNN",
    True,
)
TANH = Blocks("rnn-tanh", "torch.nn.RNN with ReLU and product layers between", "RNN", True)
GRU = Blocks("gru", "torch.nn.GRU with ReLU and product layers between", "GRU", True)
