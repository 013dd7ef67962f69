"""Programs run on random arrays of a moderate size, and compared with the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.ir.cell import Cell
from support.programs import Case, bound
from support.running import random_arrays

BATCH, LENGTH = 2, 6
Named = Mapping[str, Any]


def arrays(case: Case, length: int = LENGTH, batch: int = BATCH) -> tuple[Any, Any, Any]:
    """Params, inputs and initial states such that gates are open and nothing explodes."""
    cell, sizes = bound(case)
    params, inputs, state = random_arrays(cell, sizes, batch, length)
    soft = {name: 0.5 * array if array.dtype.kind in "fc" else array for name, array in params.items()}
    return soft, inputs, state


def extent(cell: Cell, length: int = LENGTH, batch: int = BATCH) -> dict[str, int]:
    """What a program without inputs must be told."""
    return {} if cell.inputs else {"length": length, "batch": batch}


def expected(
    case: Case, params: Named, inputs: Named, state: Named | None, length: int = LENGTH, batch: int = BATCH
) -> Any:
    """The reference's result."""
    cell, sizes = bound(case)
    numbers = None if cell.inputs else {"B": batch, "T": length}
    return reference.run(cell, sizes, params, inputs, state, extent=numbers)


def agree(found: Named, wanted: Named, tolerance: float) -> None:
    """Equal up to a fraction of the largest element."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        scale = np.max(np.abs(array), initial=1.0, where=np.isfinite(array))
        np.testing.assert_allclose(
            np.asarray(found[name]).astype(array.dtype), array, rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


def cotangents_of(results: Mapping[str, Array], seed: int = 1) -> dict[str, Array]:
    """Random weights of everything that is a float or complex number."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=array.shape)
        + (1j * generator.normal(size=array.shape) if array.dtype.kind == "c" else 0)
        for name, array in results.items()
        if array.dtype.kind in "fc"
    }
