"""Emitted networks as modules of PyTorch, and what their layers put out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from lsrl.backends.weights.architecture import Emitted
from lsrl.backends.weights.faults import needed

with needed("the target weights", "lsrl[torch]"):
    import torch


def template_text(template: str) -> str:
    """The text of `load.py`."""
    return Path(__file__).with_name(f"{template}.py").read_text(encoding="utf-8")


def built(emitted: Emitted, template: str, dtype: str) -> torch.nn.Module:
    """The module with its weights, as `load.py` makes it; only the library that it needs is loaded.

    Raises:
        MissingLibrary: it needs transformers, which is not installed.
    """
    precision = getattr(torch, dtype)
    library: Any = import_module(f"lsrl.backends.weights.{template}")
    with needed("the mixer of this architecture", "transformers>=5"):
        module: torch.nn.Module = library.Network(dict(emitted.config)).to(precision)
    module.load_state_dict({name: torch.tensor(array, dtype=precision) for name, array in emitted.tensors.items()})
    return module.eval()


def layer_outputs(module: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """What every layer of the network in normal form puts out, [B, T, hidden]."""
    with torch.no_grad():
        return _by_stage(module.stages, x) if hasattr(module, "stages") else _by_layer(module.rnn, x)


def _by_stage(stages: torch.nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for stage in stages:
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
