"""Recurrent layers with networks of ReLUs between: `load()` gives a module that maps [B, T, in] to [B, T, out]."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


class LinearRNN(torch.nn.Module):
    """s_t = A s_{t-1} + B x_t + b, with s_0 = 0."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.A = torch.nn.Linear(hidden, hidden, bias=False)
        self.B = torch.nn.Linear(inputs, hidden)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        added = self.B(x)
        state = torch.zeros_like(added[:, :1])
        states = []
        for t in range(x.shape[1]):
            state = self.A(state) + added[:, t : t + 1]
            states.append(state)
        return torch.cat([state[:, :0], *states], 1), state


class Mamba(torch.nn.Module):
    """The mixer of `transformers`, given a constant 1 as well; its first outputs are the states."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        from transformers import MambaConfig
        from transformers.models.mamba.modeling_mamba import MambaMixer

        size = 1 + max(inputs, hidden)
        config = MambaConfig(hidden_size=size, state_size=1, time_step_rank=1, num_hidden_layers=1)
        self.mixer = MambaMixer(config, layer_idx=0)
        self.padding, self.hidden = size - 1 - inputs, hidden

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        one = torch.ones_like(x[..., :1])
        mixed = self.mixer(torch.nn.functional.pad(torch.cat([x, one], -1), (0, self.padding)))
        return mixed[..., : self.hidden], None


class Hawk(torch.nn.Module):
    """The recurrent block of `transformers`; no position is 0, which would start a new segment there."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        from transformers import RecurrentGemmaConfig
        from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock

        size = max(inputs, hidden)
        config = RecurrentGemmaConfig(hidden_size=size, lru_width=hidden, num_attention_heads=1, num_hidden_layers=1)
        self.block = RecurrentGemmaRecurrentBlock(config, layer_idx=0)
        self.padding, self.hidden = size - inputs, hidden

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        positions = torch.arange(1, x.shape[1] + 1, device=x.device).expand(x.shape[0], -1)
        padded = torch.nn.functional.pad(x, (0, self.padding))
        mixed, _ = self.block(padded, position_ids=positions, attention_mask=None, use_cache=False)
        return mixed[..., : self.hidden], None


class Recurrent(torch.nn.Module):
    """What a recurrent layer puts out, beside what it reads."""

    def __init__(self, cell: str, inputs: int, hidden: int) -> None:
        super().__init__()
        own = {"LinearRNN": LinearRNN, "Mamba": Mamba, "Hawk": Hawk}
        options = {} if cell in own else {"batch_first": True}
        self.rnn = (own.get(cell) or getattr(torch.nn, cell))(inputs, hidden, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.rnn(x)
        return torch.cat([x, hidden], -1)


class Rectified(torch.nn.Module):
    """relu(W x + b), beside products (W' x + b') * (W'' x + b'') where there are any."""

    def __init__(self, inputs: int, hidden: int, products: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(inputs, hidden)
        self.factors = torch.nn.Linear(inputs, 2 * products) if products else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rectified = torch.relu(self.linear(x))
        if self.factors is None:
            return rectified
        left, right = self.factors(x).chunk(2, -1)
        return torch.cat([rectified, left * right], -1)


class Network(torch.nn.Module):
    """Stages one after the other, then a linear read-out."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        kinds = {"recurrent": Recurrent, "rectified": Rectified}
        self.stages = torch.nn.Sequential(*(kinds[kind](*sizes) for kind, *sizes in config["stages"]))
        self.readout = torch.nn.Linear(config["hidden"], config["outputs"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.readout(self.stages(x))
        return outputs


def load(directory: str | Path | None = None) -> torch.nn.Module:
    """The module with its weights, from a folder; by default from the one that this file is in."""
    folder = Path(directory or Path(__file__).parent)
    config = json.loads((folder / "config.json").read_text())
    module = Network(config).to(getattr(torch, config["dtype"]))
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval()
