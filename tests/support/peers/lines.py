"""Affine recurrences over grids and graphs as one system of equations.

What arrives along each edge is linear in what arrives along the edges before it and in what is written, so the edges'
values are the solution of (I - T) C = S.  No order of computation is chosen, and no position is visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch


def arriving(
    transition: torch.Tensor, written: torch.Tensor, border: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What arrives at each place of a grid, and what leaves at the end of each axis.

    Args:
        transition: [..., *sides, A, A, J, J], to what leaves along an axis from what arrives along one.
        written: [..., *sides, A, J, F], added to what leaves.
        border: for each axis what arrives at its first places, [..., *sides without it, J, F].

    Returns:
        [..., *sides, A, J, F], and for each axis [..., *sides without it, J, F].
    """
    axes, inner, features = written.shape[-3:]
    lead = written.dim() - 3 - axes
    sides = written.shape[lead:-3]
    unknown = (*written.shape[:lead], *sides, axes, inner)
    size = axes * inner * sides.numel()
    before = torch.zeros((*unknown, *sides, axes, inner), dtype=written.dtype)
    given = torch.zeros((*unknown, features), dtype=written.dtype)
    rest = (slice(None),) * lead
    for place in product(*map(range, sides)):
        for axis in range(axes):
            others = (*place[:axis], *place[axis + 1 :])
            if place[axis] == 0:
                given[(*rest, *place, axis)] = border[axis][(*rest, *others)]
                continue
            earlier = (*place[:axis], place[axis] - 1, *place[axis + 1 :])
            given[(*rest, *place, axis)] = written[(*rest, *earlier, axis)]
            coming = transition[(*rest, *earlier, axis)].movedim(-3, -2)  # [..., J out, A, J in]
            before[(*rest, *place, axis, slice(None), *earlier)] = coming
    system = torch.eye(size, dtype=written.dtype) - before.reshape(*unknown[:lead], size, size)
    found = torch.linalg.solve(system, given.reshape(*unknown[:lead], size, features)).reshape(*unknown, features)
    leaving = torch.einsum("...abij,...bjf->...aif", transition, found) + written
    ends = [leaving.select(-3, axis).select(lead + axis, -1) for axis in range(axes)]
    return found, ends


def along_edges(transition: torch.Tensor, written: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """What each edge of a graph passes on.

    Args:
        transition: [n, N] of each turn and head.
        written: [E, N, F].
        turns: [n, 2] ints, the edge before and the edge after.

    Returns:
        [E, N, F].
    """
    edges, heads, _ = written.shape
    before = torch.zeros((heads, edges, edges), dtype=written.dtype)
    before[:, turns[:, 1], turns[:, 0]] = transition.T
    system = torch.eye(edges, dtype=written.dtype) - before
    return torch.linalg.solve(system, written.movedim(1, 0)).movedim(0, 1)
