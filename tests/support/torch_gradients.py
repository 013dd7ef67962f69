"""Gradients of emitted PyTorch modules for random weights of all results, held to the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import numpy as np
import torch

from lsrl.backends import reference
from lsrl.ir.cell import Cell
from support.comparing import BATCH, LENGTH, Named, agree, arrays, cotangents_of
from support.programs import Case, bound
from support.torch_modules import numpy


def check_gradients(
    case: Case, module: ModuleType, tolerance: float, length: int = LENGTH, dtype: torch.dtype = torch.float64
) -> None:
    """To params, inputs and initial states, from outputs and last states, on arrays as the type holds them."""
    params, inputs, state = (_rounded(group, dtype) for group in arrays(case, length))
    check_cell(*bound(case), module, (params, inputs, state), length, tolerance, dtype)


def check_cell(
    cell: Cell,
    sizes: Mapping[str, int],
    module: ModuleType,
    given: tuple[Named, Named, Named],
    length: int,
    tolerance: float,
    dtype: torch.dtype = torch.float64,
) -> None:
    """As `check_gradients`, on given params, inputs and initial states."""
    numbers = None if cell.inputs else {"B": BATCH, "T": length}
    wanted = reference.run(cell, sizes, *given, extent=numbers)
    weights = cotangents_of({**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}})
    weights = _rounded(weights, dtype)
    truth = reference.gradients(cell, sizes, *given, weights, extent=numbers)
    wide = dtype if dtype.itemsize > 2 else torch.float32
    groups = [_leaves(group, of) for group, of in zip(given, (dtype, dtype, wide), strict=True)]
    with np.errstate(all="ignore"):  # the interpreter computes in NumPy
        outputs, final = module.apply(*groups, **({} if cell.inputs else {"length": length, "batch": BATCH}))
        _pull_back({**outputs, **{f"state.{key}": tensor for key, tensor in final.items()}}, weights)
    for group, theirs in zip(groups, (truth.params, truth.inputs, truth.state), strict=True):
        smooth = {key: tensor for key, tensor in group.items() if tensor.requires_grad}
        found = {key: torch.zeros_like(t) if t.grad is None else t.grad for key, t in smooth.items()}
        assert {key: t.dtype for key, t in found.items()} == {key: t.dtype for key, t in smooth.items()}
        agree(numpy(found), {key: theirs[key] for key in found}, tolerance)


def _pull_back(results: Mapping[str, torch.Tensor], weights: Named) -> None:
    pairs = [(results[key], torch.tensor(weight)) for key, weight in weights.items() if results[key].requires_grad]
    if pairs:
        torch.autograd.backward([y for y, _ in pairs], [weight.to(y) for y, weight in pairs])


def _rounded(group: Named, dtype: torch.dtype) -> Named:
    """Floats as the type holds them."""
    floats = {key: torch.as_tensor(a).to(dtype).double().numpy() for key, a in group.items() if a.dtype.kind == "f"}
    return {**group, **floats}


def _leaves(group: Named, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    tensors = {key: torch.tensor(array) for key, array in group.items()}
    typed = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    return {key: t.requires_grad_(t.is_floating_point() or t.is_complex()) for key, t in typed.items()}
