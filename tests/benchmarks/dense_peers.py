"""Dense recurrent layers of other libraries, with the parameters of our programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from dense_names import FLASH, LAX, NN, RECURRENT, YARDSTICK
from drawing import batch_major, time_major
from families import CPU, Missing, Row
from ways import Arrays, Layer, Way

LAYERS = {"std/lstm": torch.nn.LSTM, "std/gru": torch.nn.GRU, "std/rnn": torch.nn.RNN}
OWN = {"weight_ih_l0": "W_ih", "weight_hh_l0": "W_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}


@dataclass(frozen=True)
class Cell:
    """A layer of torchrecurrent: its class, and which of our parameters, stacked, each of its own is."""

    layer: str
    params: Mapping[str, str]


RECURRENT_CELLS = {
    "std/peephole_lstm": Cell(
        "PeepholeLSTM",
        {"weight_ih": "Wi Wf Wc Wo", "weight_hh": "Ui Uf Uc Uo", "weight_ph": "wi wf wo", "bias_ih": "bi bf bc bo"},
    ),
    "std/janet": Cell("JANET", {"weight_ih": "Wf Wc", "weight_hh": "Uf Uc", "bias_ih": "bf bc"}),
}


def torch_nn(program: str) -> Layer:
    """`torch.nn.LSTM`, `GRU` or `RNN`; in 16-bit numbers on a GPU it is cuDNN."""

    def make(arrays: Arrays) -> torch.nn.Module:
        inputs, width = arrays["W_ih"].shape[1], arrays["W_hh"].shape[1]
        return _filled(LAYERS[program](inputs, width, batch_first=True), {own: arrays[n] for own, n in OWN.items()})

    return Layer(NN, make, _first)


def yardstick() -> Layer:
    """An LSTM of the same size, with weights of its own: what it computes is not compared."""

    def make(arrays: Arrays) -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.LSTM(arrays["x"].shape[-1], arrays["x"].shape[-1], batch_first=True)

    return Layer(YARDSTICK, make, _first, same=False)


def lax(program: str) -> Way:
    """`lax.scan` over time, what does not depend on the state computed before; the time is the first axis."""
    import peers_jax

    return Way(LAX, "jax", {"std/lstm": peers_jax.lstm, "std/gru": peers_jax.gru}[program], time_major, batch_major)


def torchrecurrent(program: str) -> Layer:
    """The layer of torchrecurrent."""
    import torchrecurrent as library

    cell = RECURRENT_CELLS[program]

    def make(arrays: Arrays) -> torch.nn.Module:
        stacked = {own: np.concatenate([arrays[n] for n in names.split()]) for own, names in cell.params.items()}
        width = arrays["x"].shape[-1]
        found = getattr(library, cell.layer)(width, width, batch_first=True)
        return _filled(found, {f"cells.0.{name}": array for name, array in stacked.items()})

    return Layer(RECURRENT, make, _first)


def _filled(module: torch.nn.Module, arrays: Mapping[str, np.ndarray]) -> torch.nn.Module:
    """A module with these parameters; biases that are not among them are zero."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in arrays:
                parameter.copy_(torch.as_tensor(arrays[name]))
            elif "bias" in name:
                parameter.zero_()
    return module


def _first(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = module(x)[0]
    return found


def flashrnn(row: Row) -> Iterator[Way | Missing]:
    """FlashRNN: its plain loop on a CPU, on a GPU its kernels of Triton, which hold small heads alone, and of CUDA."""
    if find_spec("flashrnn") is None:
        yield Missing(FLASH, "flashrnn is not installed")
        return
    if row.device == CPU:
        yield Way(f"{FLASH}, vanilla", "torch", partial(_flash, row, "vanilla"))
        return
    kinds: Sequence[str] = ("triton_fused", "cuda_fused") if row.sizes["P"] <= 64 else ("cuda_fused",)
    for kind in kinds:
        yield Way(f"{FLASH}, {kind}", "torch", partial(_flash, row, kind))


def _flash(row: Row, kind: str, arrays: dict[str, Any]) -> torch.Tensor:
    """Gates [B, T, 4, N, P], matrices [4, N, P, P], biases [4, N, P]; it gives [states, B, T, N, P]."""
    import flashrnn as library

    gates = torch.stack([arrays[name] for name in "ifzo"], 2)
    matrices = torch.stack([arrays[f"R{name}"] for name in "ifzo"])
    biases = torch.stack([arrays[f"b{name}"] for name in "ifzo"])
    function = {"std/headwise_lstm": "lstm", "std/slstm": "slstm"}[row.program]
    states, _ = library.flashrnn(gates, matrices, biases, function=function, backend=kind, dtype=row.dtype)
    found: torch.Tensor = states[0]
    return found
