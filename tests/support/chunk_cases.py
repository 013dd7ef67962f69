"""Recurrences in the normal form of chunks: random ones, and one position after the other in PyTorch as the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

BATCH, LANES, ROWS, COLUMNS = 2, (2,), 6, 5
Tensors = Any
"""Tensors in nested lists, with None where there is none."""


@dataclass(frozen=True)
class ChunkCase:
    """What kind of recurrence.

    Attributes:
        length: positions.
        decay, columns: of rows and of columns: "none", "shared" (one number in each lane) or "each".
        readers, keys: how many.
        reads: for each, which side is summed over, and whether the state that is passed on is meant.
        reverse: from the last position to the first.
    """

    length: int
    decay: str = "each"
    columns: str = "none"
    readers: int = 1
    keys: int = 1
    reads: tuple[tuple[str, bool], ...] = (("rows", True),)
    reverse: bool = False

    def __str__(self) -> str:
        reads = "+".join(f"{side}{'' if after else ' before'}" for side, after in self.reads)
        way = " reversed" if self.reverse else ""
        return f"T{self.length} {self.decay}-{self.columns} {self.readers}x{self.keys} {reads}{way}"


def random_arguments(
    case: ChunkCase,
    seed: int = 0,
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
    lanes: tuple[int, ...] = LANES,
    dtype: torch.dtype = torch.float64,
) -> list[Tensors]:
    """State, decays of rows and columns, readers, keys, values, mix and reads; decays change sign, many are zero."""
    generator = torch.Generator().manual_seed(seed)
    lead = (BATCH, case.length, *lanes)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(shape, generator=generator, dtype=dtype)

    def decays(kind: str, width: int) -> torch.Tensor | None:
        shape = (*lead, 1 if kind == "shared" else width)
        found = 1.3 * torch.rand(shape, generator=generator, dtype=dtype) - 0.2
        hard = torch.rand(shape, generator=generator) < 0.1
        return None if kind == "none" else found.masked_fill(hard, 0)

    unit = rows**-0.5
    readers = [normal(*lead, rows, scale=unit) for _ in range(case.readers)]
    keys = [normal(*lead, rows, scale=unit) for _ in range(case.keys)]
    # With readers, a key may write nothing of its own; the first does, and that which follows is only mixed.
    values = [None if place and readers else normal(*lead, columns) for place in range(case.keys)]
    pairs = [[(j, m) for m in range(case.readers)] for j in range(case.keys)]
    mix = [[None if pair == (0, 1) else normal(*lead, scale=0.5) for pair in row] for row in pairs]
    reads = [(normal(*lead, rows if side == "rows" else columns), side, after) for side, after in case.reads]
    start = normal(BATCH, *lanes, rows, columns)
    return [start, decays(case.decay, rows), decays(case.columns, columns), readers, keys, values, mix, reads]


def step_by_step(
    state: torch.Tensor,
    decay: torch.Tensor | None,
    columns: torch.Tensor | None,
    readers: Tensors,
    keys: Tensors,
    values: Tensors,
    mix: Tensors,
    reads: Tensors,
    reverse: bool = False,
) -> list[torch.Tensor]:
    """The reads [B, T, *lanes, X] and the last state, straight from the definition."""
    length = keys[0].shape[1]
    found: list[list[torch.Tensor]] = [[] for _ in reads]
    for t in reversed(range(length)) if reverse else range(length):
        z = [torch.einsum("...k,...kv->...v", a[:, t], state) for a in readers]
        after = state if decay is None else decay[:, t, ..., :, None] * state
        after = after if columns is None else after * columns[:, t, ..., None, :]
        for key, value, row in zip(keys, values, mix):
            terms = [c[:, t, ..., None] * each for c, each in zip(row, z) if c is not None]
            terms += [] if value is None else [value[:, t]]
            after = after + key[:, t, ..., :, None] * torch.stack(terms).sum(0)[..., None, :]
        for place, (q, side, is_after) in enumerate(reads):
            spec = "...k,...kv->...v" if side == "rows" else "...v,...kv->...k"
            found[place].append(torch.einsum(spec, q[:, t], after if is_after else state))
        state = after
    return [*(torch.stack(each[::-1] if reverse else each, 1) for each in found), state]


def tensors_in(arguments: Tensors) -> list[torch.Tensor]:
    """The tensors of nested lists."""
    if isinstance(arguments, torch.Tensor):
        return [arguments]
    return [t for each in arguments for t in tensors_in(each)] if isinstance(arguments, list | tuple) else []


def converted(arguments: Tensors, dtype: torch.dtype) -> Tensors:
    """The same nested lists with their tensors in another type."""
    if isinstance(arguments, torch.Tensor):
        return arguments.to(dtype)
    if isinstance(arguments, list | tuple):
        return type(arguments)(converted(each, dtype) for each in arguments)
    return arguments


def deviation(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The root mean square of the difference, relative to that of what is wanted."""
    exact = wanted.detach().double()
    return float((found.detach().double() - exact).pow(2).mean().sqrt() / (exact.pow(2).mean().sqrt() + 1e-30))
