"""Blocks in programs of their users."""

from __future__ import annotations

import numpy as np
import pytest

import lsrl

SIZES = {
    "griffin": "8, 2, 4, 5, 1, 3, 100",
    "hawk": "8, 2, 4, 5",
    "mamba": "8, 6, 2, 3",
    "mamba2": "8, 2, 3, 1, 4",
}


@pytest.mark.parametrize("block", SIZES)
def test_packed_documents_are_those_apart(block: str) -> None:
    """What a block remembers begins anew with each: windows, positions, and that it is the first."""
    rng = np.random.default_rng(0)
    program = lsrl.parse(
        f"from std.blocks import {block}\n\n"
        "cell packed():\n"
        "    input x: [8], first: [] bool\n"
        "    reset when first\n"
        f"    output y = {block}({SIZES[block]})(x)\n"
    )
    run = lsrl.compile(program, target="reference")
    params = {name: array + 0.3 * rng.normal(size=array.shape) for name, array in run.init(seed=0).items()}
    x = rng.normal(size=(1, 9, 8))
    first = np.isin(np.arange(9), [0, 5])[None]
    together = run(params, {"x": x, "first": first}).outputs["y"]
    apart = [run(params, {"x": x[:, part], "first": first[:, part]}).outputs["y"] for part in (slice(5), slice(5, 9))]
    np.testing.assert_allclose(together, np.concatenate(apart, axis=1), rtol=1e-12, atol=1e-12)
