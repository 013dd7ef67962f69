"""Emitted PyTorch and Triton modules run on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lsrl.backends.arrays import Array
from support.comparing import Named


def run(module: ModuleType, params: Named, inputs: Named, state: Named | None, **options: Any) -> Any:
    """Outputs and final states as NumPy arrays."""
    with np.errstate(all="ignore"):  # the interpreter computes in NumPy
        outputs, final = module.apply(tensors(params), tensors(inputs), tensors(state), **options)
    return numpy(outputs), numpy(final)


def tensors(arrays: Named | None) -> dict[str, torch.Tensor] | None:
    return None if arrays is None else {name: torch.as_tensor(array) for name, array in arrays.items()}


def numpy(found: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """NumPy arrays; 16-bit floats as float32, which holds them."""
    narrow = (torch.bfloat16, torch.float16)
    wide = {name: tensor.float() if tensor.dtype in narrow else tensor for name, tensor in found.items()}
    return {name: tensor.detach().resolve_conj().numpy() for name, tensor in wide.items()}
