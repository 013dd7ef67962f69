"""`S' = A S + B` over a grid, in PyTorch, in any of four algebras: every place has an A of its own.

The places of a wave run at once; or places are merged in pairs, in logarithmic depth (`grid_tree`).  A place has E
edges by which states enter it, and by which they leave it; those of the first state first.  The places of a tile are
such a grid, with an edge for each state, and so are the tiles of a grid, with an edge for each place at their borders:
see `torch_tiles` and `torch_elements`.
"""

import torch

from lsrl.backends.runtime.torch_carry_kernels import carry_waves
from lsrl.backends.runtime.torch_carry_plain import carried_out, carry_by_tree, carry_room
from lsrl.backends.runtime.torch_grid_algebra import algebra_of
from lsrl.backends.runtime.torch_operators import Operator


@Operator
def grid_carry(
    maps: torch.Tensor,
    added: torch.Tensor,
    border: torch.Tensor,
    counts: list[int],
    axes: list[int],
    widths: list[int],
    reverse: bool,
    join: str,
    tree: bool,
) -> list[torch.Tensor]:
    """`S' = A S + B` at every place of a grid: the states that arrive everywhere, and those that leave the grid.

    Args:
        maps: A, [P, L, E, E] with the places by wave.
        added: B, [P, L, E, X].
        border: what arrives at the grid, [edges of its border, L, X]: those of the first state first, by place.
        counts: places along each axis.
        axes, widths: the axis that each state travels along, and its edges at a place.
        reverse: from the last place to the first, on every axis.
        join: the sum, "add", "max", "min" or "logaddexp"; for all but the first, products are sums of numbers.
        tree: places are merged in pairs, and do not run by waves.

    Returns:
        [P, L, E, X], and what leaves as `border`.
    """
    grid = ((*counts,), (*axes,), (*widths,), reverse)
    if tree:
        merged: list[torch.Tensor] = carry_by_tree(algebra_of(join), maps, added, border, *grid)
        return merged
    states, parts = carry_room(border, *grid)
    carry_waves(join, maps, added, states, *grid)
    return [states[: len(added)], carried_out(len(added), parts)]


@grid_carry.register_fake
def _(maps, added, border, counts, axes, widths, reverse, join, tree):
    return [torch.empty_like(added), torch.empty_like(border)]


@grid_carry.register_vmap
def _(info, in_dims, maps, added, border, *options):
    """What is mapped over joins the lanes."""
    given = zip((maps, added, border), in_dims)
    moved = (x.unsqueeze(1) if dim is None else x.movedim(dim, 1) for x, dim in given)
    wide = (x.expand(-1, info.batch_size, *x.shape[2:]).flatten(1, 2) for x in moved)
    return [x.unflatten(1, (info.batch_size, -1)) for x in grid_carry(*wide, *options)], [1, 1]


class GridCarry(torch.autograd.Function):
    """`grid_carry` over (+, x); its adjoint is the same the other way round, so it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(maps, added, border, counts, axes, widths, reverse, tree):
        return tuple(grid_carry(maps, added, border, counts, axes, widths, reverse, "add", tree))

    @staticmethod
    def setup_context(ctx, inputs, output):
        maps, _, _, *ctx.options = inputs
        ctx.save_for_backward(maps, output[0])

    @staticmethod
    def backward(ctx, d_arriving, d_last):
        maps, arriving = ctx.saved_tensors
        *grid, reverse, tree = ctx.options
        passed, d_border = GridCarry.apply(maps.mT, d_arriving, d_last, *grid, not reverse, tree)
        return passed @ arriving.mT, passed, d_border, None, None, None, None, None
