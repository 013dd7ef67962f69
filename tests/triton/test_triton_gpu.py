"""Compiled kernels on a GPU, at sizes one would use and many positions, against the plain form in double precision."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from lsrl import stages
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from support.programs import PROGRAMS, Case, bound
from support.running import random_arrays

pytestmark = pytest.mark.gpu
BATCH, LENGTH = 5, 200
SIZES = {
    "rnn": {"D": 32, "H": 128},
    "lstm": {"D": 32, "H": 100},
    "gru": {"D": 32, "H": 64},
    "mingru": {"D": 32, "H": 300},
    "lru": {"D": 32, "N": 130},
    "selective_ssm": {"E": 96, "N": 16, "R": 4},
    "gla": {"N": 4, "K": 64, "V": 48},
    "gated_delta": {"N": 4, "K": 128, "V": 128},
    "mlstm": {"N": 4, "K": 64, "V": 64},
    "slstm": {"N": 4, "P": 48},
    "resets": {"D": 64},
    "reversed": {"V": 256, "D": 32, "H": 64},
    "picture": {"C": 4, "Y": 16, "X": 16},
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", SIZES)
def test_compiled_kernels(name: str, dtype: str) -> None:
    """On the GPU by kernels; the same numbers in float64 on the CPU by the plain form, and its gradients."""
    case = Case(PROGRAMS[name].source, tuple(SIZES[name].items()))
    cell, sizes = bound(case)
    plan = stages.make(cell, sizes, "triton").plan
    module = load_module(emit_triton(plan, dtype), "emitted_gpu")
    exact = load_module(emit_triton(plan, "float64"), "emitted_exact")
    type_: torch.dtype = getattr(torch, dtype)
    groups = [
        {key: _moderate(torch.as_tensor(a), type_) for key, a in group.items()}
        for group in random_arrays(cell, sizes, BATCH, LENGTH)
    ]
    found = _results(module, [_leaves(group, "cuda") for group in groups])
    with pytest.warns(UserWarning, match="no GPU"):
        wanted = _results(exact, [_leaves(group, "cpu") for group in groups])
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        scale = tensor.abs().max().clamp(min=1e-6 if key.startswith("grad.") else 1).item()
        torch.testing.assert_close(
            found[key].cpu().to(tensor.dtype), tensor, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale
        )


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
