"""What people write by hand in PyTorch: a loop over positions, plain or compiled, and fla's plain chunk forms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fla.ops.gated_delta_rule.naive import naive_chunk_gated_delta_rule

Tensors = dict[str, torch.Tensor]


def diagonal_loop(inputs: Tensors) -> torch.Tensor:
    """`h' = a h + x`, position by position; [B, T, D]."""
    h = torch.zeros_like(inputs["x"][:, 0])
    kept = []
    for a, x in zip(inputs["a"].unbind(1), inputs["x"].unbind(1)):
        h = a * h + x
        kept.append(h)
    return torch.stack(kept, 1)


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


def gated_delta_chunks(inputs: Tensors) -> torch.Tensor:
    """fla's reference for its chunk kernels, in plain PyTorch, chunks of 64."""
    q, k, v, a, b = (inputs[name] for name in ("q", "k", "v", "a", "b"))
    return naive_chunk_gated_delta_rule(q, k, v, a.log(), b, chunk_size=64, scale=1.0)[0]


def gru_loop(inputs: Tensors) -> torch.Tensor:
    """A GRU without coupling between units (Danieli et al., 2025, ParaGRU), its input parts computed before."""
    h = torch.zeros_like(inputs["uz"][:, 0])
    kept = []
    for uz, ur, uh in zip(*(inputs[name].unbind(1) for name in ("uz", "ur", "uh"))):
        z = torch.sigmoid(inputs["az"] * h + uz)
        r = torch.sigmoid(inputs["ar"] * h + ur)
        h = z * torch.tanh(inputs["ah"] * (h * r) + uh) + (1 - z) * h
        kept.append(h)
    return torch.stack(kept, 1)


def compiled(loop: Callable[[Tensors], torch.Tensor]) -> Callable[[Tensors], torch.Tensor]:
    """`torch.compile` of a loop; it unrolls the loop, so long sequences take minutes to compile."""
    return torch.compile(loop, fullgraph=True, dynamic=False)


PEERS: dict[str, dict[str, Callable[[Tensors], torch.Tensor]]] = {
    "diagonal": {"PyTorch loop": diagonal_loop},
    "gated_delta": {"PyTorch loop": gated_delta_loop, "fla, plain chunks": gated_delta_chunks},
    "diagonal_gru": {"PyTorch loop": gru_loop},
}
