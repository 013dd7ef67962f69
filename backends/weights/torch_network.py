"""Emitted networks as modules of PyTorch, and what their layers put out."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch

from lsrl.backends.weights import load_blocks, load_stack
from lsrl.backends.weights.architecture import Emitted

TEMPLATES: Mapping[str, ModuleType] = {"load_blocks": load_blocks, "load_stack": load_stack}


def built(emitted: Emitted, template: str, dtype: str) -> torch.nn.Module:
    """The module with its weights, as `load.py` makes it."""
    precision = getattr(torch, dtype)
    module: torch.nn.Module = TEMPLATES[template].Network(dict(emitted.config)).to(precision)
    module.load_state_dict({name: torch.tensor(array, dtype=precision) for name, array in emitted.tensors.items()})
    return module.eval()


def layer_outputs(module: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """What every layer of the network in normal form puts out, [B, T, hidden]."""
    with torch.no_grad():
        if isinstance(module, load_blocks.Network):
            return _by_stage(module, x)
        if isinstance(module, load_stack.Network):
            return _by_layer(module.rnn, x)
    raise TypeError(f"{type(module).__name__} is no module of these")


def _by_stage(module: load_blocks.Network, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for stage in module.stages:
        x = stage(x)
        found.append(x)
    return found


def _by_layer(rnn: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """A stack of torch puts out its last layer only: its layers one by one."""
    options = {"nonlinearity": rnn.nonlinearity} if isinstance(rnn, torch.nn.RNN) else {}
    found = []
    for number in range(rnn.num_layers):
        layer = type(rnn)(x.shape[-1], rnn.hidden_size, batch_first=True, dtype=x.dtype, **options)
        layer.load_state_dict({name: getattr(rnn, f"{name[:-1]}{number}") for name in layer.state_dict()})
        x, _ = layer(x)
        found.append(x)
    return found
