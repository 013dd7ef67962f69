"""Networks that are trained to withstand noise: a program gives their numbers at the start, and which of them are 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lsrl.icl_draws import Copies
from lsrl.icl_tasks import DERIVED, Task

FIRST = 1 << 20
"""Prompts of seeds from here on are trained on: those below are for measuring."""


@dataclass(frozen=True, slots=True)
class Training:
    """Adam on noisy copies of a network, with a rate that falls to 0 along a cosine.

    Attributes:
        noise: its standard deviation, drawn anew for every copy and step.
        copies: of the network in each step, each with prompts of its own.
        rate: at the start.
        norm: to which the gradient is cut.
    """

    noise: float
    steps: int = 400
    copies: int = 16
    rate: float = 1e-3
    norm: float = 1.0


def train(task: Task, network: Copies, training: Training, seed: int = 0) -> Copies:
    """A copy of the derived form of a task, trained in float32; numbers that are 0 stay so, without teacher forcing."""
    generator, prompts = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    start = network.to(torch.float32)
    numbers = [tensor.clone().requires_grad_() for tensor in start.numbers()]
    stored = [tensor.detach() != 0 for tensor in numbers]
    optimiser = torch.optim.Adam(numbers, lr=training.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    for _ in range(training.steps):
        seeds = prompts.integers(FIRST, 1 << 31, training.copies).tolist()
        noisy = start.with_numbers(numbers).noisy(training.noise, training.copies, generator)
        optimiser.zero_grad()
        _loss(task, noisy, seeds).backward()  # type: ignore[no-untyped-call]
        for tensor, mask in zip(numbers, stored):
            tensor.grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad * mask
        torch.nn.utils.clip_grad_norm_(numbers, training.norm)
        optimiser.step()
        schedule.step()
    return start.with_numbers([tensor.detach() for tensor in numbers]).to(torch.float64)


def _loss(task: Task, noisy: Copies, seeds: list[int]) -> torch.Tensor:
    """How far each copy is from what it is to answer to the prompts of its seed."""
    inputs = np.stack([task.inputs(DERIVED, seed) for seed in seeds])
    wanted = np.stack([task.wanted(seed) for seed in seeds])
    outputs, _ = noisy.run(torch.tensor(inputs, dtype=torch.float32))
    last = outputs[:, :, -wanted.shape[2] :]
    return torch.nn.functional.smooth_l1_loss(last, torch.tensor(wanted, dtype=torch.float32))
