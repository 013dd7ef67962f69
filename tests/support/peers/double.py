"""Published code that casts to float32, run in float64, so that agreement can be asked to 1e-10."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import torch


class _Torch:
    """The torch module, with float32 meaning float64."""

    float = torch.float64
    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def in_double(*modules: ModuleType) -> Iterator[None]:
    """Meanwhile, casts to float32 inside these modules go to float64 instead, as do new arrays."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with mock.patch.object(torch.Tensor, "float", lambda tensor: tensor.double()):
        patches = [mock.patch.object(module, "torch", _Torch()) for module in modules]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            torch.set_default_dtype(usual)
            for patch in patches:
                patch.stop()
