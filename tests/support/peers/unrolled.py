"""Recurrences written without recurrence: sums over all earlier positions, and iteration of whole sequences."""

from __future__ import annotations

from collections.abc import Callable

import torch


def products(a: torch.Tensor) -> torch.Tensor:
    """[B, T, *shape] to [B, T, T, *shape]: the product of a over the positions after s up to t, 0 for s > t."""
    length = a.shape[1]
    sums = a.log().cumsum(1)
    after = sums[:, :, None] - sums[:, None]
    kept = torch.ones(length, length, dtype=torch.bool).tril().reshape(length, length, *[1] * (a.ndim - 2))
    return torch.where(kept, torch.where(kept, after, 0).exp(), 0)


def linear(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """h' = a h + b for a without zeros, [B, T, *shape], from h = start [B, *shape], as a sum over what was written."""
    return (products(a) * b[:, None]).sum(2) + a.cumprod(1) * start[:, None]


def iterated(step: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, length: int) -> torch.Tensor:
    """h' = step(h) at every position, [B, T, *shape], for a step that takes all positions at once.

    Each of T sweeps makes one position more exact, whatever the sequence was before.
    """
    h = start[:, None].expand(-1, length, *[-1] * (start.ndim - 1))
    for _ in range(length):
        h = step(torch.cat([start[:, None], h[:, :-1]], 1))
    return h
