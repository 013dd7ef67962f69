"""Stacks of one recurrent layer type with a linear read-out: shapes and the parts that all of them share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.architecture import Emitted, Json
from lsrl.backends.weights.encoding import Decoder, identity
from lsrl.backends.weights.network import Layer, Network, dense

Weights = dict[str, Array]
"""`weight_ih` [gates, units, below], `weight_hh` [gates, units, units], `bias` [gates, units]."""

LayerMaker = Callable[[Layer, Decoder], tuple[Weights, Decoder]]


def stacked(network: Network, cell: str, make: LayerMaker, options: dict[str, str] | None = None) -> Emitted:
    """The state dict of `torch.nn.<cell>` with as many layers as the network, and of `torch.nn.Linear` on top.

    All layers have the hidden size of the widest; the units that a layer has too many of have zero weights.
    """
    below = identity(sum(port.size for port in network.inputs))
    made: list[tuple[Weights, Decoder]] = []
    for layer in network.layers:
        made.append(make(layer, below))
        below = made[-1][1]
    hidden = max(decoder.width for _, decoder in made)
    tensors: dict[str, Array] = {}
    above = sum(port.size for port in network.inputs)
    for number, (weights, _) in enumerate(made):
        tensors |= _padded(weights, number, above, hidden)
        above = hidden
    decoders = [Decoder(_wide(decoder.matrix, hidden), decoder.offset) for _, decoder in made]
    matrix, bias = dense(network.readout, len(network.layers[-1]))
    tensors["readout.weight"] = matrix @ decoders[-1].matrix
    tensors["readout.bias"] = bias + matrix @ decoders[-1].offset
    config: dict[str, Json] = {
        "cell": cell,
        "inputs": sum(port.size for port in network.inputs),
        "hidden": hidden,
        "layers": network.depth,
        "outputs": len(network.readout),
        "options": {**(options or {})},
    }
    return Emitted(config, tensors, tuple(decoders))


def _padded(weights: Weights, number: int, above: int, hidden: int) -> dict[str, Array]:
    gates, units, below = weights["weight_ih"].shape
    into, back, bias = np.zeros((gates, hidden, above)), np.zeros((gates, hidden, hidden)), np.zeros((gates, hidden))
    into[:, :units, :below] = weights["weight_ih"]
    back[:, :units, :units] = weights["weight_hh"]
    bias[:, :units] = weights["bias"]
    return {
        f"rnn.weight_ih_l{number}": into.reshape(-1, above),
        f"rnn.weight_hh_l{number}": back.reshape(-1, hidden),
        f"rnn.bias_ih_l{number}": bias.reshape(-1),
        f"rnn.bias_hh_l{number}": np.zeros(gates * hidden),
    }


def _wide(matrix: Array, width: int) -> Array:
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))
