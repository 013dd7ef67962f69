"""Random inputs within the ranges that a network was compiled for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import Extent
from lsrl.backends.weights.network import Network


def sampled(
    network: Network, batch: int, length: int, one_hot: Collection[str] = (), seed: int = 0
) -> dict[str, Array]:
    """Inputs [B, T, *shape] by name, on the grid of each element; normal where there are no bounds.

    Those that `one_hot` names have one 1 along their last axis, and else zeros.
    """
    generator = np.random.default_rng(seed)
    columns = [_element(generator, extent, (batch, length)) for extent in network.input_extents]
    found: dict[str, Array] = {}
    begin = 0
    for port in network.inputs:
        elements = columns[begin : begin + port.size]
        stacked = np.stack(elements, -1) if elements else np.zeros((batch, length, 0))
        found[port.name] = stacked.reshape(batch, length, *port.shape)
        if port.name in one_hot:
            ones = generator.integers(0, port.shape[-1], (batch, length, *port.shape[:-1]))
            found[port.name] = np.eye(port.shape[-1])[ones]
        begin += port.size
    return found


def _element(generator: np.random.Generator, extent: Extent, shape: tuple[int, ...]) -> Array:
    if not extent.bounded:
        drawn = generator.normal(size=shape)
        return np.clip(np.round(drawn / extent.unit) * extent.unit if extent.unit else drawn, extent.low, extent.high)
    if 0 < extent.unit < np.inf:
        steps = int((extent.high - extent.low) / extent.unit)
        return extent.low + extent.unit * generator.integers(0, steps + 1, shape)
    return generator.uniform(extent.low, extent.high, shape)
