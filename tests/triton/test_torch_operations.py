"""Every operation as PyTorch code and, inside of a loop, as a kernel or a plain loop, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.machine_code import LIMITS, resources_of
from lsrl.backends.module_loader import load_module
from lsrl.backends.reference import run
from lsrl.backends.torch_ops import PRINTERS
from lsrl.ir import ops
from lsrl.ir.cell import Cell
from lsrl.ir.plan import Loop, make_plan
from lsrl.ir.value import Kind, postorder
from support.operations import NAMES, SIZES, cell_of, grown, renamed, with_recurrence
from support.running import random_arrays

CASES = 4


def compare(cell: Cell, seed: int) -> None:
    params, inputs, state = random_arrays(cell, SIZES, batch=2, length=3, seed=seed)
    with np.errstate(all="ignore"):
        expected = run(cell, SIZES, params, inputs, state)
    module = load_module(emit_triton(make_plan(cell, SIZES, hoist_elementwise=False), "float64"), "emitted_operations")
    given = [{name: torch.tensor(array) for name, array in arrays.items()} for arrays in (params, inputs, state)]
    with np.errstate(all="ignore"):  # the interpreter computes in NumPy
        outputs, final = module.apply(*given)
    for name, array in [*expected.outputs.items(), *expected.state.items()]:
        found = outputs[name] if name in outputs else final[name]
        np.testing.assert_allclose(found.numpy(), array, rtol=1e-10, atol=1e-12, err_msg=name)
        assert found.numpy().dtype == array.dtype


def test_every_operation_has_a_row() -> None:
    assert set(PRINTERS) == set(NAMES)


@pytest.mark.parametrize("op", NAMES)
def test_at_all_positions(op: str) -> None:
    seed = NAMES.index(op)
    made = [renamed(grown(op, 100 * seed + case), case) for case in range(CASES)]
    has_input = any(v.op == "input" for v in postorder(made))
    extra = [] if has_input else [ops.leaf("input", "x", (), Kind.FLOAT)]
    compare(cell_of([*made, *extra]), seed)


@pytest.mark.parametrize("op", NAMES)
def test_inside_a_loop(op: str) -> None:
    seed = NAMES.index(op)
    for case in range(2):
        value, state = with_recurrence(grown(op, 100 * seed + case))
        cell = cell_of([value, ops.leaf("input", "x", (), Kind.FLOAT)], (state,))
        (loop,) = (stage for stage in make_plan(cell, SIZES).stages if isinstance(stage, Loop))
        assert value in loop.body
        compare(cell, seed)


@pytest.mark.slow
def test_every_kernel_compiles() -> None:
    """Machine code of every operation inside of a loop, which the interpreter says nothing about."""
    sources = []
    for seed, op in enumerate(NAMES):
        for case in range(2):
            value, state = with_recurrence(grown(op, 100 * seed + case))
            cell = cell_of([value, ops.leaf("input", "x", (), Kind.FLOAT)], (state,))
            sources.append(emit_triton(make_plan(cell, SIZES, hoist_elementwise=False), "float32"))
    found = resources_of(sources, ["sm_90"])
    assert sum(bool(kernels) for kernels in found) > 100
    assert all(kernel.shared <= LIMITS["sm_90"] for kernels in found for kernel in kernels)
