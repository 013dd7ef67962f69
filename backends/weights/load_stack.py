"""A stack of recurrent layers with a linear read-out: `load()` gives a module that maps [B, T, in] to [B, T, out]."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


class Network(torch.nn.Module):
    """`torch.nn.RNN` or `torch.nn.LSTM`, then `torch.nn.Linear`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        sizes = config["inputs"], config["hidden"], config["layers"]
        self.rnn = getattr(torch.nn, config["cell"])(*sizes, batch_first=True, **config["options"])
        self.readout = torch.nn.Linear(config["hidden"], config["outputs"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.rnn(x)
        outputs: torch.Tensor = self.readout(hidden)
        return outputs


def load(directory: str | Path | None = None) -> torch.nn.Module:
    """The module with its weights, from a folder; by default from the one that this file is in."""
    folder = Path(directory or Path(__file__).parent)
    config = json.loads((folder / "config.json").read_text())
    module = Network(config).to(getattr(torch, config["dtype"]))
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval()
