"""Published code that casts to float32, run in float64, so that agreement can be asked to 1e-10."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch


class _Torch:
    """The torch module, with float32 meaning float64."""

    float = torch.float64
    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def run_in_double(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """For one test: casts to float32 inside `module` go to float64 instead."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor.double())
    monkeypatch.setattr(module, "torch", _Torch())
