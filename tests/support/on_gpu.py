"""Compiled kernels on a GPU against the plain form in double precision on the CPU."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from lsrl import stages
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from support.programs import Case, bound
from support.running import random_arrays


def check_on_gpu(case: Case, dtype: str, batch: int, length: int, tolerance: float) -> ModuleType:
    """Outputs, last states and gradients, to a fraction of the largest element; the module that ran."""
    cell, sizes = bound(case)
    plan = stages.make(cell, sizes, "triton").plan
    module = load_module(emit_triton(plan, dtype), "emitted_gpu")
    exact = load_module(emit_triton(plan, "float64"), "emitted_exact")
    type_: torch.dtype = getattr(torch, dtype)
    groups = [
        {key: _moderate(torch.as_tensor(a), type_) for key, a in group.items()}
        for group in random_arrays(cell, sizes, batch, length)
    ]
    found = _results(module, [_leaves(group, "cuda") for group in groups])
    with pytest.warns(UserWarning, match="no GPU"):
        wanted = _results(exact, [_leaves(group, "cpu") for group in groups])
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        scale = tensor.abs().max().clamp(min=1e-6 if key.startswith("grad.") else 1).item()
        torch.testing.assert_close(
            found[key].cpu().to(tensor.dtype), tensor, rtol=tolerance, atol=tolerance * scale, msg=key
        )
    return module


def _leaves(group: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    moved = {key: tensor.detach().to(device, copy=True) for key, tensor in group.items()}
    return {key: t.requires_grad_(t.is_floating_point() or t.is_complex()) for key, t in moved.items()}


def _results(module: ModuleType, groups: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Outputs, last states, and the gradients of the mean of all their squares."""
    outputs, final = module.apply(*groups)
    results = {**outputs, **{f"state.{key}": tensor for key, tensor in final.items()}}
    smooth = [y for y in results.values() if y.requires_grad]
    torch.stack([y.abs().square().float().mean() for y in smooth]).sum().backward()
    leaves = {f"grad.{place}.{key}": t for place, group in enumerate(groups) for key, t in group.items()}
    return {**results, **{key: t.grad for key, t in leaves.items() if t.grad is not None}}


def _moderate(tensor: torch.Tensor, type_: torch.dtype) -> torch.Tensor:
    """Numbers that 16 bits hold, small enough that 200 positions do not explode."""
    if not tensor.is_floating_point():
        return tensor * 0.05 if tensor.is_complex() else tensor
    return (0.2 * tensor).to(type_).double()
