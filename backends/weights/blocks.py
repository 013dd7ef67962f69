"""Recurrent layers with ReLU networks between (Petrov et al., 2024, equations 2 to 5).

A recurrent layer holds a layer of states; its output stands beside what it reads, so that nothing else has to pass
through it.  The other layers are `relu(W x + b)`, and in the gated classes products of two affine maps beside it.
The cells:

    LinearRNN   s_t = A s_{t-1} + B u + b, as it is
    RNN         h = tanh(A h + e (B u + b)) with signals scaled by a small power of two e (`gates`)
    GRU         r = sigmoid(K) = 1 and z = sigmoid(-K) = 0, which leaves n = tanh(A h + e (B u + b))
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
from lsrl.backends.weights.gates import centred, scale_for, tanh_error
from lsrl.backends.weights.network import Kind, Layer, Network, dense

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

    def obstacle(self, layer: Layer, slot: int) -> str | None:
        unit = layer[slot]
        if unit.kind is Kind.PRODUCT and not self.gated:
            return "a product of two numbers that are no truth values is not piecewise linear"
        if unit.kind is Kind.RELU and unit.back:
            return "a state reads its own last value through a ReLU, and the recurrent layers are linear"
        return None

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        unit = layer[slot]
        if unit.kind is not Kind.STATE or self.cell == "LinearRNN":
            return 0.0
        return tanh_error(unit.extent)

    def emit(self, network: Network, precision: Precision) -> Emitted:
        return staged(network, lambda layer, below, _: self._recurrent(layer, below, precision))

    def _recurrent(self, layer: Layer, below: Decoder, precision: Precision) -> Stage:
        """States go into the recurrent layer; what is carried is read from beside it."""
        slots = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.STATE]
        rows, bias = below.rows(layer)
        back, _ = transition(layer)
        scale = 1.0 if self.cell == "LinearRNN" else scale_for([centred(layer)[slot] for slot in slots], precision)
        weights = self._cell(scale * rows[slots], scale * bias[slots], back[np.ix_(slots, slots)], precision)
        decoder = beside(layer, below, slots, [scale] * len(slots))
        stage: Json = ["recurrent", self.cell, below.width, len(slots)]
        return stage, {f"rnn.{name}": tensor for name, tensor in weights.items()}, decoder

    def _cell(self, into: Array, bias: Array, back: Array, precision: Precision) -> Tensors:
        states = len(bias)
        match self.cell:
            case "LinearRNN":
                return {"A.weight": back, "B.weight": into, "B.bias": bias}
            case "RNN":
                gates = [(into, back, bias)]
            case _:
                shut = np.zeros_like(into), np.zeros_like(back)
                level = np.full(states, precision.saturation)
                gates = [(*shut, level), (*shut, -level), (into, back, bias)]
        return {
            "weight_ih_l0": np.concatenate([gate[0] for gate in gates]),
            "weight_hh_l0": np.concatenate([gate[1] for gate in gates]),
            "bias_ih_l0": np.concatenate([gate[2] for gate in gates]),
            "bias_hh_l0": np.zeros(states * len(gates)),
        }


def staged(network: Network, recurrent: StageMaker) -> Emitted:
    """Stage after stage; layers of states as `recurrent` makes them from what is known of the slots below."""
    below = identity(sum(port.size for port in network.inputs))
    extents: Sequence[Extent] = network.input_extents
    stages: list[Json] = []
    tensors: Tensors = {}
    decoders = []
    for number, layer in enumerate(network.layers):
        has_states = any(unit.kind is Kind.STATE for unit in layer)
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


def beside(layer: Layer, below: Decoder, slots: Sequence[int], scales: Sequence[float]) -> Decoder:
    """A recurrent layer's slots: states are new units, `scales` times their values; what is carried is read below."""
    rows, offset = below.rows(layer)
    matrix = np.zeros((len(layer), below.width + len(slots)))
    matrix[:, : below.width] = rows
    for unit, (slot, scale) in enumerate(zip(slots, scales)):
        matrix[slot] = 0
        matrix[slot, below.width + unit] = 1 / scale
        offset[slot] = layer[slot].start
    return Decoder(matrix, offset)


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
