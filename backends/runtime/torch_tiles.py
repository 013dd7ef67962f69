"""Tiles of an affine recurrence over a grid, in PyTorch: what each makes of what arrives, and the derivative.

At every place of a grid states S_i, each travelling along one axis, become

    S_i' = sum_j T[i, j] S_j + sum_m g[i, m] k_m v_m^T,      read:  sum_j w[j] q^T S_j

with numbers T, g and w.  Within a tile of a few places along each axis everything that is read or leaves is linear in
the states that arrive at the near borders and in the outer products of the places.  Its coefficients are what the
recurrence itself makes of unit vectors.  With them all is products of matrices, for all tiles at once, but for the
states at the borders of tiles, which run over the grid of tiles as the coefficients over the places of one, or with
`tree` in logarithmic depth: `GridCarry` does all of that.  This is the chunkwise form of Poeppel et al., 2025, "pLSTM:
parallelizable Linear Source Transition Mark networks", section 3, for tiles with any sides and states along any axes.

What is kept for derivatives: what went in, and the states between tiles; coefficients are computed again.

Axes within: G tiles by wave, L sequences and lanes, p places of a tile by wave, n states, m outer products, r reads;
E edges by which states enter a tile and leave it, those of the first state first.
"""

import functools
import math

import torch

from lsrl.backends.runtime.torch_grid_carry import GridCarry
from lsrl.backends.runtime.torch_loop import filled
from lsrl.backends.runtime.torch_operators import Operator
from lsrl.backends.runtime.torch_tile_pieces import (
    in_parts,
    tile_coefficients,
    tile_edges,
    tile_read_pull,
    tile_write_pull,
)
from lsrl.backends.runtime.torch_tiles_kernels import run_tiles


@Operator
def grid_tiles(
    numbers: list[torch.Tensor],
    vectors: list[torch.Tensor],
    border: torch.Tensor,
    counts: list[int],
    sides: list[int],
    axes: list[int],
    tree: bool,
) -> list[torch.Tensor]:
    """What is read at every place, the states that arrive at tiles, and those that leave at the far borders.

    Args:
        numbers: T [p, G L, n, n], g [p, G L, n, m], w [p, G L, r, n].
        vectors: q [G L, p r, K], k [G L, p m, K], v [G L, p m, V].
        border: what arrives at the grid, [edges of its border, L, K V]: those of the first state first, by tile.
        counts: tiles along each axis.
        sides: places of a tile along each axis.
        axes: the axis that each state travels along.
        tree: tiles are merged in pairs, and do not run by waves.

    Returns:
        [G L, p r, V], [G, L, E, K V], and what leaves as `border`.
    """
    sized = ((*counts,), (*sides,), (*axes,))
    found: list[torch.Tensor] = run_tiles(numbers, vectors, border, *sized, tree)
    return found


@grid_tiles.register_fake
def _(numbers, vectors, border, counts, sides, axes, tree):
    queries, _, values = vectors
    arriving = border.new_empty(math.prod(counts), border.shape[1], sum(tile_edges(axes, sides)), border.shape[2])
    return [values.new_empty(*queries.shape[:2], values.shape[2]), arriving, torch.empty_like(border)]


@grid_tiles.register_vmap
def _(info, in_dims, numbers, vectors, border, counts, *options):
    """What is mapped over joins the lanes."""
    size, tiles = info.batch_size, math.prod(counts)

    def joined(tensor, dim, lanes):
        """Lanes with what is mapped over in front of them, where they are the axis `lanes` behind tiles."""
        whole = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        apart = whole.unflatten(1 + lanes, (tiles, -1))
        return apart.movedim(0, 1 + lanes).flatten(lanes, lanes + 2)

    own_numbers = [joined(x, dim, 1) for x, dim in zip(numbers, in_dims[0])]
    own_vectors = [joined(x, dim, 0) for x, dim in zip(vectors, in_dims[1])]
    wide = border.unsqueeze(1) if in_dims[2] is None else border.movedim(in_dims[2], 1)
    own_border = wide.expand(-1, size, *wide.shape[2:]).flatten(1, 2)
    found, *states = grid_tiles(own_numbers, own_vectors, own_border, counts, *options)
    mapped = found.unflatten(0, (tiles, size, -1)).movedim(1, 0).flatten(1, 2)
    return [mapped, *(x.unflatten(1, (size, -1)) for x in states)], [0, 1, 1]


class GridTiles(torch.autograd.Function):
    """`grid_tiles` of tensors one by one, with its derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(transition, gates, marks, queries, keys, values, border, *options):
        return tuple(grid_tiles([transition, gates, marks], [queries, keys, values], border, *options))

    @staticmethod
    def setup_context(ctx, inputs, output):
        *given, border, counts, sides, axes, tree = inputs
        ctx.options, ctx.border = (counts, sides, axes, tree), border.shape
        ctx.save_for_backward(*given, output[1])
        ctx.set_materialize_grads(False)  # one by the states between tiles, which nothing else sees, is large

    @staticmethod
    def backward(ctx, d_found, d_arriving, d_last):
        counts, sides, axes, tree = ctx.options
        *numbers, queries, keys, values, arriving = ctx.saved_tensors
        d_found = filled(d_found, values, (*queries.shape[:2], values.shape[2]), values.dtype)
        d_last = filled(d_last, values, ctx.border, values.dtype)
        coefficients = functools.partial(tile_coefficients, sides=sides, axes=axes)
        (leaving, reading), pull = torch.func.vjp(coefficients, *numbers)[:2]
        edges, states = leaving.shape[1], arriving.reshape(queries.shape[0], -1, values.shape[-1])
        (through, spread), (shares, gate) = (each.tensor_split([edges], 2) for each in (leaving, reading))
        read = (d_found, queries, keys, values, shares, gate, states)
        d_queries, *of_read, d_shares, d_gate, d_states = in_parts(tile_read_pull, edges * queries[0].numel(), *read)
        d_states = d_states.reshape(arriving.shape)
        d_arriving = d_states if d_arriving is None else d_arriving + d_states
        maps, options = through.unflatten(0, arriving.shape[:2]), (counts, axes, tile_edges(axes, sides), True, tree)
        d_passed, d_border = GridCarry.apply(maps.mT, d_arriving, d_last, *options)
        d_through = (d_passed @ arriving.mT).flatten(0, 1)
        written = (d_passed.reshape(states.shape), keys, values, spread)
        *of_written, d_spread = in_parts(tile_write_pull, edges * keys[0].numel(), *written)
        d_keys, d_values = (one + other for one, other in zip(of_read, of_written))
        d_numbers = pull((torch.cat([d_through, d_spread], 2), torch.cat([d_shares, d_gate], 2)))
        return *d_numbers, d_queries, d_keys, d_values, d_border, None, None, None, None
