"""The Elman network with ReLUs, `torch.nn.RNN(nonlinearity="relu")`, as a pure stack: everything it holds is exact.

h_t = relu(W_ih u_t + W_hh h_{t-1} + b).  A state of one sign is one unit, another the difference of two,
W_hh = [[A, -A], [-A, A]] (Petrov et al., 2024, equation 11); layers without states have W_hh = 0.  A ReLU between a
state's last value and its next is the cell's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl.backends.weights.affine import Extent
from lsrl.backends.weights.architecture import Emitted, Precision
from lsrl.backends.weights.encoding import Decoder, faces, faces_decoder, faces_rows
from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.network import Kind, Layer, Network
from lsrl.backends.weights.stack import Weights, stacked


@dataclass(frozen=True)
class Rnn:
    """`--arch rnn`."""

    name: str = "rnn"
    title: str = 'torch.nn.RNN(nonlinearity="relu"), stacked, with a linear read-out'
    template: str = "load_stack"
    apart: bool = False
    diagonal: bool = False
    softens: bool = False

    def obstacle(self, layer: Layer, slot: int) -> str | None:
        unit = layer[slot]
        if unit.kind is Kind.PRODUCT:
            return "a product of two numbers that are no truth values is not piecewise linear"
        return None

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        return 0.0

    def emit(self, network: Network, precision: Precision) -> Emitted:
        return stacked(network, "RNN", _layer, {"nonlinearity": "relu"})


def _layer(layer: Layer, below: Decoder) -> tuple[Weights, Decoder]:
    units = faces(layer)
    decoder = faces_decoder(layer, units)
    matrix, bias = faces_rows(layer, below, units)
    back, _ = transition(layer)
    recurrent = decoder.matrix.T @ back @ decoder.matrix  # a unit's sign stands in the decoder
    return {"weight_ih": matrix[None], "weight_hh": recurrent[None], "bias": bias[None]}, decoder
