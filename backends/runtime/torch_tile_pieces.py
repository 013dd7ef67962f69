"""What a tile of a grid makes of what arrives, by operations of PyTorch; `torch_tiles` says what for."""

import functools
import math

import torch

from lsrl.backends.runtime.torch_grid_carry import GridCarry
from lsrl.backends.runtime.torch_waves import wave_order

# Intermediate results of more numbers do not stay near the arithmetic of a CPU.
NUMBERS_AT_ONCE = 2**21


def tile_coefficients(transition, gates, marks, sides, axes):
    """What a tile makes of the states that arrive and of the outer products of its places.

    Args:
        transition, gates, marks: T [p, N, n, n], g [p, N, n, m] and w [p, N, r, n] for N tiles.

    Returns:
        [N, E, E + p m], of every state that leaves the shares of those that arrive, then of outer products; [N, p r,
        E + p m], those of every read.
    """
    places, tiles, states, products = gates.shape
    cut = sum(tile_edges(axes, sides))
    unit = torch.eye(cut, cut + places * products, dtype=gates.dtype, device=gates.device)
    here = torch.eye(places, dtype=gates.dtype, device=gates.device)[:, None, None, :, None]
    own = (here * gates[:, :, :, None]).flatten(3)
    added = torch.cat([own.new_zeros(*own.shape[:3], cut), own], 3)
    border = unit[:, None].expand(-1, tiles, -1)
    arriving, last = GridCarry.apply(transition, added, border, sides, axes, [1] * states, False, False)
    return last.transpose(0, 1), (marks @ arriving).transpose(0, 1).flatten(1, 2)


def tile_edges(axes, sides):
    """By how many edges each state enters a tile, and leaves it."""
    return [math.prod(sides) // sides[axis] for axis in axes]


def tile_outer(numbers, vectors):
    """Each row's outer product of its numbers [N, x, E] and its vector [N, x, K], as a row: [N, x, E K]."""
    return (numbers.contiguous()[..., None] * vectors[:, :, None]).flatten(2)


def tile_read(queries, keys, values, shares, gate, states):
    """What is read in tiles, [N, p r, V], of the outer products of their places and of states [N, E K, V]."""
    return (torch.baddbmm((queries @ keys.mT * gate) @ values, tile_outer(shares, queries), states),)


def tile_read_pull(d_found, queries, keys, values, shares, gate, states):
    """The gradients of what `tile_read` takes."""
    d_far = (d_found @ states.mT).unflatten(2, (shares.shape[2], -1))
    products, d_scores = queries @ keys.mT, d_found @ values.mT
    d_products = d_scores * gate
    d_queries = torch.baddbmm((shares[:, :, None] @ d_far)[:, :, 0], d_products, keys)
    d_values = (products * gate).mT @ d_found
    d_states = tile_outer(shares, queries).mT @ d_found
    d_shares = (d_far @ queries[..., None])[..., 0]
    return d_queries, d_products.mT @ queries, d_values, d_shares, d_scores * products, d_states


def tile_write(keys, values, spread):
    """What the outer products of tiles add to the states that leave, [N, E K, V]."""
    return (tile_outer(spread.mT, keys).mT @ values,)


def tile_write_pull(d_states, keys, values, spread):
    """The gradients of what `tile_write` takes."""
    d_far = (values @ d_states.mT).unflatten(2, (spread.shape[1], -1))
    d_values = tile_outer(spread.mT, keys) @ d_states
    return (spread.mT[:, :, None] @ d_far)[:, :, 0], d_values, (d_far @ keys[..., None])[..., 0].mT


def in_parts(function, each, *tensors):
    """A function of tensors [N, ...] that makes `each` numbers for a tile on its way: on a CPU some tiles at a time."""
    most = max(1, NUMBERS_AT_ONCE // each)
    if tensors[0].shape[0] <= most or tensors[0].device.type != "cpu":
        return function(*tensors)
    parts = zip(*(tensor.split(most) for tensor in tensors))
    return [torch.cat(same) for same in zip(*(function(*part) for part in parts))]


@functools.lru_cache(maxsize=64)
def tile_slots(sides, axes, device):
    """[p, n] for each place of a tile, by wave, the edge of the tile's border on whose way each state passes it."""
    numbers, first = [], 0
    for axis, edges in zip(axes, tile_edges(axes, sides)):
        others = (*sides[:axis], *sides[axis + 1 :])
        numbers.append(torch.arange(first, first + edges).reshape(others).unsqueeze(axis).expand(sides).flatten())
        first += edges
    return torch.stack(numbers, 1)[wave_order(sides)].to(device, torch.int32)
