"""Central differences of a whole run, as a check of its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.ir.cell import Cell

Array = np.ndarray[Any, np.dtype[Any]]
Given = Mapping[str, Mapping[str, Array]]


def check_gradients(cell: Cell, sizes: Mapping[str, int], given: Given, seed: int = 0, step: float = 1e-6) -> None:
    """Compare `reference.gradients` with differences along a random direction, for every array on its own.

    Args:
        given: the arrays of a run: "params", "inputs" and, where it is to be given, "state".
    """
    rng = np.random.default_rng(seed)
    arguments = {"state": None, **given}
    result = reference.run(cell, sizes, **arguments)
    weights = {name: normal(rng, array) for name, array in result.outputs.items() if array.dtype.kind in "fc"}
    weights |= {f"state.{name}": normal(rng, a) for name, a in result.state.items() if a.dtype.kind in "fc"}
    found = reference.gradients(cell, sizes, **arguments, cotangents=weights)
    for group, gradients in (("params", found.params), ("inputs", found.inputs), ("state", found.state)):
        arrays = given.get(group, {})
        assert set(gradients) >= {name for name, array in arrays.items() if array.dtype.kind in "fc"}
        for name, array in arrays.items():
            if array.dtype.kind not in "fc":
                continue
            assert gradients[name].shape == array.shape
            direction = normal(rng, array)
            ahead, behind = (
                _loss(cell, sizes, {**given, group: {**arrays, name: array + sign * step * direction}}, weights)
                for sign in (1, -1)
            )
            along = float(np.sum(np.conj(gradients[name]) * direction).real)
            assert along == pytest.approx((ahead - behind) / (2 * step), rel=2e-6, abs=2e-6), f"{group} {name}"


def normal(rng: np.random.Generator, like: Array) -> Array:
    """Normal numbers of the shape and kind of another array."""
    real = rng.normal(size=like.shape)
    return np.asarray(real + 1j * rng.normal(size=like.shape) if like.dtype.kind == "c" else real)


def _loss(cell: Cell, sizes: Mapping[str, int], given: Given, weights: Mapping[str, Array]) -> float:
    result = reference.run(cell, sizes, **{"state": None, **given})
    arrays = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
    return float(sum(np.sum(np.conj(weight) * arrays[name]).real for name, weight in weights.items()))
