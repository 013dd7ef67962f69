"""Random graphs of every operation as kernels: what is cut out, rewritten and tiled changes no number."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from lsrl import stages
from lsrl.backends import reference
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from lsrl.ir.plan import make_plan
from lsrl.ir.value import Kind, postorder
from support.graphs import random_cell
from support.running import random_arrays

SIZES = {"H": 2, "D": 10}


@pytest.mark.parametrize("seed", range(25))
def test_random_cell(seed: int) -> None:
    cell = random_cell(Random(seed), operations=15)
    divides = [v for v in postorder(cell.all_roots()) if v.op in ("mod", "floordiv") and v.kind is Kind.INT]
    params, inputs, state = random_arrays(cell, SIZES, batch=2, length=3, seed=seed)
    with np.errstate(all="ignore"):
        wanted = reference.run(cell, SIZES, params, inputs, state)
    given = [{name: torch.as_tensor(array) for name, array in group.items()} for group in (params, inputs, state)]
    for plan in (make_plan(cell, SIZES), stages.make(cell, SIZES, "triton").plan):
        module = load_module(emit_triton(plan, "float64"), "emitted_random_cell")
        if divides:
            continue  # whole numbers divided by 0 are undefined, and an error in PyTorch
        with np.errstate(all="ignore"):
            outputs, final = module.apply(*given)
        for found, truth in ((outputs, wanted.outputs), (final, wanted.state)):
            assert found.keys() == truth.keys()
            for name, array in truth.items():
                np.testing.assert_allclose(found[name].numpy(), array, rtol=1e-10, atol=1e-10, err_msg=name)
                assert found[name].numpy().dtype == array.dtype
