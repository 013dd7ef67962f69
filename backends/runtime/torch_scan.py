"""Associative scans in PyTorch: `h' = a * h + b` for numbers and small matrices, and over max, min and log-sum-exp.

Sequences are [B, T, *shape].  Positions are cut into tiles: the maps of all tiles are composed side by side, the state
is carried over these maps (which is a scan again), and then all tiles run side by side from the states that arrive at
them.  The functions fill tensors in place: they run inside of operators that have derivatives of their own, and only
the derivatives of those are recorded.
"""

import functools

import torch

# Numbers side by side from which on an operation takes longer than its call, while they still fit in a cache.
WIDE = 2**14
# Positions of a tile, at least.
SHORT = 8


def affine_scan(a, b, start, reverse=False, axis=None):
    """`h' = a * h + b` along time, from `start` [B, *shape]: (h', the last h').

    b is [B, T, *shape]; a is a number, or a tensor whose axes are those of b or of length one (leading ones may be
    missing).  With `axis`, counted from the end, matrices mix that axis of the shape: a has it twice, rows first.
    """
    a = repeated_in_time(a, b, 0 if axis is None else 1)
    if axis is None:
        return scanned(advance_number, torch.mul, a, b, start, reverse)
    return scanned(
        functools.partial(advance_matrix, axis), functools.partial(matrices_composed, axis), a, b, start, reverse
    )


def coupled_scan(matrix, rest, starts, reverse=False):
    """Several states of one shape that need each other: `h[i]' = sum_j matrix[i][j] * h[j] + rest[i]`.

    An entry that is None is zero; one of the rests is there.  Returns (h', the last h'), each for all states.
    """
    like = next(each for each in rest if each is not None)
    entries = [repeated_in_time(0 if each is None else each, like) for row in matrix for each in row]
    a = torch.stack(torch.broadcast_tensors(*entries), 2).unflatten(2, (len(rest), len(rest)))
    b = torch.stack([torch.zeros_like(like) if each is None else each for each in rest], 2)
    axis = 1 - like.ndim
    return [each.unbind(axis) for each in affine_scan(a, b, torch.stack(starts, 1), reverse, axis)]


def joined_scan(join, shift, rest, start, reverse=False):
    """`h' = join(h + shift, rest)` along time: (h', the last h'); shapes as in `affine_scan`.

    `join` is torch.maximum, torch.minimum or torch.logaddexp: addition distributes over each.
    """
    return scanned(
        functools.partial(advance_joined, join), torch.add, repeated_in_time(shift, rest), rest, start, reverse
    )


def repeated_in_time(a, b, more=0):
    """A coefficient as a tensor with all axes of b, and `more`, those of the positions in full."""
    a = torch.as_tensor(a, dtype=b.dtype, device=b.device)
    a = a.reshape((1,) * (b.ndim + more - a.ndim) + a.shape)
    return a.expand(-1, b.shape[1], *a.shape[2:])


def scanned(advance, product, a, b, start, reverse):
    """The states that follow each position, and the last."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (a, b, start)):
        return recorded(advance, a, b, start, reverse)
    following = torch.empty_like(b, memory_format=torch.contiguous_format)
    return following, fill(advance, product, a, b, start.to(b.dtype), following, reverse)


def recorded(advance, a, b, state, reverse):
    """`scanned` as PyTorch can derive it, one position after the other: for derivatives of derivatives."""
    following = []
    for a_t, b_t in ordered(zip(a.unbind(1), b.unbind(1)), reverse):
        state = advance(a_t, state.to(b.dtype), b_t, None)
        following.append(state)
    return (torch.stack(ordered(following, reverse), 1) if following else torch.zeros_like(b)), state


def arriving_states(start, following, reverse=False):
    """What arrives at each position, when `following` is what leaves it."""
    if reverse:
        return torch.cat([following, start[:, None]], 1)[:, 1:]
    return torch.cat([start[:, None], following], 1)[:, :-1]


def every_so_many(arriving, every, reverse=False):
    """Of the states that arrive at each position those of every `every` positions, as the loop goes; of none for 0."""
    if not every:
        return arriving[:, :0]
    return arriving[:, (arriving.shape[1] - 1) % every if reverse else 0 :: every]


def fill(advance, product, a, b, state, following, reverse):
    """Compute the states that follow each position; returns the last."""
    length = b.shape[1]
    size = max(SHORT, length * state.numel() // WIDE)
    if length < 4 * size:
        return fill_each(advance, a.unbind(1), b.unbind(1), state, following.unbind(1), reverse)
    left = length % size
    tiled, rest = slice(length - left), slice(length - left, None)
    if reverse:
        tiled, rest = slice(left, None), slice(left)
    maps, added, places = (x[:, tiled].unflatten(1, (-1, size)).unbind(2) for x in (a, b, following))
    ends = torch.empty_like(added[0], memory_format=torch.contiguous_format)
    map_of_tile, added_by_tile = composed(advance, product, maps, added, reverse)
    last = fill(advance, product, map_of_tile, added_by_tile, state, ends, reverse)
    fill_each(advance, maps, added, arriving_states(state, ends, reverse), places, reverse)
    maps, added, places = (x[:, rest].unbind(1) for x in (a, b, following))
    return fill_each(advance, maps, added, last, places, reverse)


def fill_each(advance, maps, added, state, places, reverse):
    """`fill` one position after the other, each a tensor."""
    for a, b, place in ordered(zip(maps, added, places), reverse):
        state = advance(a, state, b, place)
    return state


def composed(advance, product, maps, added, reverse):
    """The map of many positions one after the other, each a tensor: what multiplies the state, what is added."""
    (a, b), *others = ordered(zip(maps, added), reverse)
    b = b.clone(memory_format=torch.contiguous_format)
    for next_a, next_b in others:
        a, b = product(next_a, a), advance(next_a, b, next_b, b)
    return a, b


def ordered(positions, reverse):
    """In the order in which a state goes through them."""
    return list(positions)[:: -1 if reverse else 1]


def advance_number(a, h, b, place):
    return torch.addcmul(b, a, h, out=place)


def advance_matrix(axis, a, h, b, place):
    found = (a * h.unsqueeze(axis - 1)).sum(axis).add(b)
    return found if place is None else place.copy_(found)


def advance_joined(join, shift, h, rest, place):
    return join(h + shift, rest, out=place)


def matrices_composed(axis, left, right):
    """Matrices with rows and columns at `axis - 1` and `axis`."""
    return (left.unsqueeze(axis) * right.unsqueeze(axis - 2)).sum(axis - 1)
