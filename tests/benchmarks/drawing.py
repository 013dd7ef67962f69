"""Arrays to measure on: float32, with gates as a trained network has them."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


class Source:
    """Draws one array after the other; the same ones each time."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return (scale * self._rng.normal(size=shape)).astype(np.float32)

    def gate(self, *shape: int) -> Array:
        """Between 0 and 1, most of them above 0.8."""
        return (1 / (1 + np.exp(-2 - self._rng.normal(size=shape)))).astype(np.float32)

    def key(self, *shape: int) -> Array:
        """Of length 1 along the last axis."""
        found = self._rng.normal(size=shape)
        return (found / np.linalg.norm(found, axis=-1, keepdims=True)).astype(np.float32)


def time_major(array: Array) -> Array:
    """[B, T, ...] as [T, B, ...], laid out so; what has no time, which has fewer axes, stays."""
    return np.ascontiguousarray(np.swapaxes(array, 0, 1)) if array.ndim > 2 else array


def batch_major(array: Array) -> Array:
    """The inverse."""
    return np.swapaxes(array, 0, 1) if array.ndim > 2 else array


def time_last(array: Array) -> Array:
    """[B, T, D] as [B, D, T], laid out so; what has no time stays."""
    return np.ascontiguousarray(np.swapaxes(array, 1, 2)) if array.ndim > 2 else array


def time_second(array: Array) -> Array:
    """The inverse."""
    return np.swapaxes(array, 1, 2) if array.ndim > 2 else array
