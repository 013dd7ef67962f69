"""Running a network in normal form, in float64 NumPy: what every architecture is compared with."""

from __future__ import annotations

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.network import Kind, Layer, Network, dense, is_recurrent


def execute(network: Network, inputs: Array) -> tuple[Array, list[Array]]:
    """Outputs [B, T, out] for inputs [B, T, in], and the slots [B, T, n] of every layer, inputs first."""
    slots = [np.asarray(inputs, np.float64)]
    for layer in network.layers:
        slots.append(_layer(layer, slots[-1]))
    matrix, bias = dense(network.readout, slots[-1].shape[-1])
    return slots[-1] @ matrix.T + bias, slots


def probed(network: Network, slots: list[Array]) -> dict[str, Array]:
    """The named values of the program, [B, T, *shape]."""
    found: dict[str, dict[tuple[int, ...], Array]] = {}
    for probe in network.probes:
        value = sum((factor * slots[layer][..., slot] for layer, slot, factor in probe.terms), probe.bias)
        found.setdefault(probe.name, {})[probe.index] = np.broadcast_to(value, slots[0].shape[:2])
    return {name: _stacked(elements) for name, elements in found.items()}


def _stacked(elements: dict[tuple[int, ...], Array]) -> Array:
    """Elements [B, T] by index as one array."""
    shape = tuple(n + 1 for n in max(elements))
    stacked = np.stack([elements[index] for index in np.ndindex(shape)], axis=-1)
    return stacked.reshape(*stacked.shape[:2], *shape)


def _layer(layer: Layer, below: Array) -> Array:
    width = below.shape[-1]
    matrix, bias = dense([unit.rows[0] for unit in layer], width)
    found = np.asarray(below @ matrix.T + bias)
    for slot, unit in enumerate(layer):
        if unit.kind is Kind.PRODUCT:
            other, shift = dense([unit.rows[1]], width)
            found[..., slot] *= (below @ other.T + shift)[..., 0]
    rectified = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.RELU]
    if any(map(is_recurrent, layer)):
        _recur(layer, found, rectified)
    found[..., rectified] = np.maximum(found[..., rectified], 0)
    return found


def _recur(layer: Layer, found: Array, rectified: list[int]) -> None:
    back, start = transition(layer)
    arriving = np.broadcast_to(start, (found.shape[0], len(layer)))
    for t in range(found.shape[1]):
        found[:, t] += arriving @ back.T
        found[:, t, rectified] = np.maximum(found[:, t, rectified], 0)
        arriving = found[:, t]


def transition(layer: Layer) -> tuple[Array, Array]:
    """The matrix [n, n] by which a layer's last values act on it, and where states start, [n]."""
    matrix = np.zeros((len(layer), len(layer)))
    for slot, unit in enumerate(layer):
        for other, factor in unit.back:
            matrix[slot, other] = factor
    return matrix, np.array([unit.start for unit in layer])
