"""What people write by hand in PyTorch: a loop over positions, plain or compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch._higher_order_ops import associative_scan

Tensors = dict[str, torch.Tensor]


def diagonal_loop(inputs: Tensors) -> torch.Tensor:
    """`h' = a h + x`, position by position; [T, B, D], which is the faster layout for it."""
    h = torch.zeros_like(inputs["x"][0])
    kept = []
    for a, x in zip(inputs["a"].unbind(), inputs["x"].unbind()):
        h = a * h + x
        kept.append(h)
    return torch.stack(kept)


def diagonal_tree(inputs: Tensors) -> torch.Tensor:
    """The same by PyTorch's own associative scan, a prototype; [T, B, D]."""

    def compose(first: tuple[torch.Tensor, ...], then: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        return first[0] * then[0], then[0] * first[1] + then[1]

    return associative_scan(compose, (inputs["a"], inputs["x"]), 0, combine_mode="generic")[1]


def accelerated(device: str) -> dict[str, Callable[[Tensors], torch.Tensor]]:
    """What accelerated-scan has for a device, by the names of its modules; [B, D, T]."""
    modules = ("ref",) if device == "cpu" else ("scalar", "warp")
    scans = {name: importlib.import_module(f"accelerated_scan.{name}").scan for name in modules}
    return {name: lambda inputs, scan=scan: scan(inputs["a"], inputs["x"]) for name, scan in scans.items()}


def gated_delta_loop(inputs: Tensors) -> torch.Tensor:
    """The gated delta rule (Yang et al., 2025, equation 10), position by position."""
    batch, _, heads, width = inputs["k"].shape
    S = inputs["v"].new_zeros(batch, heads, width, inputs["v"].shape[-1])
    kept = []
    for q, k, v, a, b in zip(*(inputs[name].unbind(1) for name in ("q", "k", "v", "a", "b"))):
        S = a[..., None, None] * S
        error = b[..., None] * (v - (k[..., None, :] @ S)[..., 0, :])
        S = S + k[..., :, None] * error[..., None, :]
        kept.append((q[..., None, :] @ S)[..., 0, :])
    return torch.stack(kept, 1)


def gru_loop(inputs: Tensors) -> torch.Tensor:
    """A GRU without coupling between units (Danieli et al., 2025, ParaGRU), its input parts given; [T, B, D]."""
    h = torch.zeros_like(inputs["uz"][0])
    kept = []
    for uz, ur, uh in zip(*(inputs[name].unbind() for name in ("uz", "ur", "uh"))):
        z = torch.sigmoid(inputs["az"] * h + uz)
        r = torch.sigmoid(inputs["ar"] * h + ur)
        h = z * torch.tanh(inputs["ah"] * (h * r) + uh) + (1 - z) * h
        kept.append(h)
    return torch.stack(kept)


def lstm_loop(inputs: Tensors) -> torch.Tensor:
    """The LSTM of std/lstm, the product with its inputs over all positions at once; x [T, B, D]."""
    drive = inputs["x"] @ inputs["W_ih"].mT + (inputs["b_ih"] + inputs["b_hh"])
    h = c = drive.new_zeros(drive.shape[1], inputs["W_hh"].shape[1])
    kept = []
    for each in drive.unbind():
        i, f, g, o = (each + h @ inputs["W_hh"].mT).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        kept.append(h)
    return torch.stack(kept)


def compiled(loop: Callable[[Tensors], torch.Tensor]) -> Callable[[Tensors], torch.Tensor]:
    """`torch.compile` of a loop; it unrolls the loop, so long sequences take minutes to compile."""
    return torch.compile(loop, fullgraph=True, dynamic=False)

