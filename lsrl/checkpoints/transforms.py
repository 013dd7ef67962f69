"""What turns a checkpoint's tensors into parameters, beside taking them as they are."""

from __future__ import annotations

from collections.abc import Callable

from lsrl.backends.arrays import Array


def reshaped(*shape: int) -> Callable[[Array], Array]:
    """In another shape, -1 standing for one length."""
    return lambda array: array.reshape(shape)
