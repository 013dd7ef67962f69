"""Associative scans in PyTorch: `h' = a * h + b` for numbers and small matrices, and over max, min and log-sum-exp.

Sequences are [B, T, *shape].  Positions are cut into tiles: the maps of all tiles are composed side by side, the state
is carried over these maps (which is a scan again), and then all tiles run side by side from the states that arrive at
them.  Derivatives are scans that run the other way, and so on.
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
    return AffineStates.apply(a, b, start.to(b.dtype), reverse, axis, False)


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
    return JoinedStates.apply(repeated_in_time(shift, rest), rest, start.to(rest.dtype), join, reverse)


def repeated_in_time(a, b, more=0):
    """A coefficient as a tensor with all axes of b, and `more`, those of the positions in full."""
    a = torch.as_tensor(a, dtype=b.dtype, device=b.device)
    a = a.reshape((1,) * (b.ndim + more - a.ndim) + a.shape)
    return a.expand(-1, b.shape[1], *a.shape[2:])


class AffineStates(torch.autograd.Function):
    """h' = a h + b at every position, and the last; `late`: h + b at every position, of which h' is a times that.

    The adjoint of a step that acts late acts early, and the other way round.
    """

    @staticmethod
    def forward(a, b, start, reverse, axis, late):
        if axis is None:
            advance, product = advance_number, torch.mul
        else:
            advance, product = functools.partial(advance_matrix, axis), functools.partial(matrices_composed, axis)
        following, last = scanned(advance, product, a, act(a, b, axis) if late else b, start, reverse)
        return arriving_states(start, following, reverse) + b if late else following, last

    @staticmethod
    def setup_context(ctx, inputs, output):
        a, _, start, *ctx.options = inputs
        ctx.save_for_backward(a, start, output[0])

    @staticmethod
    def backward(ctx, d_following, d_last):
        a, start, following = ctx.saved_tensors
        reverse, axis, late = ctx.options
        adjoint = a.conj() if axis is None else a.conj().transpose(axis - 1, axis)
        db, d_start = AffineStates.apply(adjoint, d_following, d_last, not reverse, axis, not late)
        left, right = db, following
        if late:
            left = arriving_states(d_last, db, not reverse)
        else:
            right = arriving_states(start, following, reverse)
        right = right.conj()
        da = left * right if axis is None else left.unsqueeze(axis) * right.unsqueeze(axis - 1)
        return da.sum_to_size(a.shape), db, d_start, None, None, None

    @staticmethod
    def vmap(info, in_dims, *given):
        return with_batch(AffineStates, info.batch_size, in_dims[:3], given[:3], given[3:])


class JoinedStates(torch.autograd.Function):
    """join(h + shift, rest) at every position, and the last."""

    @staticmethod
    def forward(shift, rest, start, join, reverse):
        return scanned(functools.partial(advance_joined, join), torch.add, shift, rest, start, reverse)

    @staticmethod
    def setup_context(ctx, inputs, output):
        shift, rest, start, *ctx.options = inputs
        ctx.save_for_backward(shift, rest, start, output[0])

    @staticmethod
    def backward(ctx, d_following, d_last):
        shift, rest, start, following = ctx.saved_tensors
        join, reverse = ctx.options
        share = share_of_first(join, arriving_states(start, following, reverse) + shift, rest)
        g, d_start = AffineStates.apply(share, d_following, d_last, not reverse, None, True)
        return (share * g).sum_to_size(shift.shape), (1 - share) * g, d_start, None, None

    @staticmethod
    def vmap(info, in_dims, *given):
        return with_batch(JoinedStates, info.batch_size, in_dims[:3], given[:3], given[3:])


def share_of_first(join, x, y):
    """The derivative of join(x, y) by x, where that by y is the rest of 1: equal operands share evenly."""
    alike = (x == y) & x.isinf()
    difference = (x - y.masked_fill(alike, 0)).masked_fill(alike, 0)
    if join is torch.logaddexp:
        return difference.sigmoid()
    larger = difference > 0 if join is torch.maximum else difference < 0
    return torch.where(difference == 0, 0.5, larger.to(x.dtype))


class LogAdd(torch.autograd.Function):
    """log(e^x + e^y), with a derivative where both are infinite as well."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, y):
        return torch.logaddexp(x, y)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        share = share_of_first(torch.logaddexp, x, y)
        return (share * gradient).sum_to_size(x.shape), ((1 - share) * gradient).sum_to_size(y.shape)


def with_batch(function, size, in_dims, tensors, options):
    """The rule of `torch.vmap`: what is mapped over joins the batch."""
    moved = [x[None] if dim is None else x.movedim(dim, 0) for x, dim in zip(tensors, in_dims)]
    batch = moved[1].shape[1]
    flat = [x.expand(size, batch, *x.shape[2:]).flatten(0, 1) for x in moved]
    found = function.apply(*flat, *options)
    return tuple(x.unflatten(0, (size, batch)) for x in found), (0, 0)


def scanned(advance, product, a, b, start, reverse):
    """The states that follow each position, and the last."""
    following = torch.empty_like(b, memory_format=torch.contiguous_format)
    return following, fill(advance, product, a, b, start, following, reverse).clone()


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
    return place.copy_(act(a, h, axis).add_(b))


def advance_joined(join, shift, h, rest, place):
    return join(h + shift, rest, out=place)


def act(a, h, axis):
    """a * h, element by element, or a matrix times h along an axis."""
    return a * h if axis is None else (a * h.unsqueeze(axis - 1)).sum(axis)


def matrices_composed(axis, left, right):
    """Matrices with rows and columns at `axis - 1` and `axis`."""
    return (left.unsqueeze(axis) * right.unsqueeze(axis - 2)).sum(axis - 1)
