"""Random graphs of every operation as JAX modules: what is hoisted, inlined, split and shifted changes no number."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import jax
import numpy as np
import pytest

from lsrl import stages
from lsrl.backends import reference
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from lsrl.ir.plan import make_plan
from lsrl.ir.value import Kind, postorder
from support.graphs import random_cell
from support.running import random_arrays

SIZES = {"H": 2, "D": 10}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True), np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("seed", range(25))
def test_random_cell(seed: int) -> None:
    cell = random_cell(Random(seed), operations=15)
    divides = [v for v in postorder(cell.all_roots()) if v.op in ("mod", "floordiv") and v.kind is Kind.INT]
    params, inputs, state = random_arrays(cell, SIZES, batch=2, length=3, seed=seed)
    wanted = reference.run(cell, SIZES, params, inputs, state)
    for plan in (make_plan(cell, SIZES), stages.make(cell, SIZES, "jax").plan):
        module = load_module(emit_jax(plan, "float64"), "emitted_random_cell")
        outputs, final = jax.jit(module.apply)(params, inputs, state)
        if divides:
            continue  # whole numbers divided by 0 are undefined: it is enough that the module runs
        for found, truth in ((outputs, wanted.outputs), (final, wanted.state)):
            assert found.keys() == truth.keys()
            for name, array in truth.items():
                np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-10, err_msg=name)
                assert found[name].dtype == array.dtype
