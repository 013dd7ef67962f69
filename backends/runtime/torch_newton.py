"""Newton's method for nonlinear recurrences in PyTorch: windows of positions, all states of each solved at once.

Sequences are [B, T, *shape].  A lane is a recurrence that meets no other: a sequence of the batch and an index along
the axes `lanes` of the states; in lanes, states are one tensor [B, T, m, *lanes].  A lane whose steps have become small
is done.  Sequences with others run step by step after some iterations, so that the result is always that of the
recurrence.  It runs inside of operators that have derivatives of their own.
"""

import math

import torch

from lsrl.backends.runtime.torch_scan import affine_scan, arriving_states


def newton(step, derive, reads, starts, length, lanes, bounds, meeting=0, window=None, iterations=8, reverse=False):
    """The states of `length` positions from `starts` [B, *shape]: (arriving, following, last ones, statistics).

    Args:
        step: (reads, arriving states) at some positions to the following states.
        derive: likewise to their Jacobian, a list, row by row: for each pair of states the axes of the first that are
            no lanes, then all axes of the second.
        lanes: for each state the axes of its shape that tell its lanes apart.
        bounds: for each state an interval that it never leaves once it is inside, or None.
        meeting: how many of the axes of lanes, the last ones, have elements that meet, so that the Jacobian is not all
            of it: convergence is then linear, and only what never meets is done by itself.
        window: the most positions of a window; None is by the number of states.
        iterations: after so many a lane that is not done runs step by step.

    Statistics tell for each sequence [B] the most iterations of a window, the share of lanes that ran step by step, and
    the largest residual |f(h) - h'| / (1 + |h'|) of the others.
    """
    shapes = [start.shape[1:] for start in starts]
    state = first = into_lanes([start[:, None] for start in starts], lanes)[:, 0]
    low, high = lane_limits(state, bounds, shapes, lanes)
    count = math.ceil(length / (window or newton_window_size(state.numel())))
    turned = [read.flip(1) if reverse else read for read in reads]

    def step_in_lanes(reads, arriving):
        return into_lanes(step(reads, out_of_lanes(arriving, shapes, lanes)), lanes)

    def derive_in_lanes(reads, arriving):
        return matrices_of_lanes(derive(reads, out_of_lanes(arriving, shapes, lanes)), shapes, lanes)

    kept, told = [state[:, None][:, :0]], [state.new_zeros(state.shape[0]) for _ in range(3)]
    for n in range(count):
        place = slice(length * n // count, length * (n + 1) // count)
        here = [read[:, place] for read in turned]
        size = place.stop - place.start
        found, turns, done, residual = newton_window(
            step_in_lanes, derive_in_lanes, here, state, size, low, high, meeting, iterations
        )
        share = (~done).flatten(1).to(state.dtype).mean(1) / count
        told = [torch.maximum(told[0], turns), told[1] + share, torch.maximum(told[2], residual)]
        kept.append(found)
        state = found[:, -1]
    following = torch.cat(kept, 1)
    arriving = arriving_states(first, following)
    if reverse:
        arriving, following = arriving.flip(1), following.flip(1)
    arriving, following = out_of_lanes(arriving, shapes, lanes), out_of_lanes(following, shapes, lanes)
    lasts = [each[:, 0] for each in out_of_lanes(state[:, None], shapes, lanes)]
    return arriving, following, lasts, [told[0].to(torch.int64), *told[1:]]


def newton_window(step, derive, reads, start, size, low, high, meeting, iterations):
    """One window from `start` [B, m, *lanes]: following states, iterations, lanes done, residuals [B].

    After k iterations the first k positions are exact, whatever iterates are projected to; so nothing is lost where
    one that is not finite is replaced by the value of the step.
    """
    eps = torch.finfo(start.dtype).eps
    tolerance = 8 * eps if meeting else eps**0.5  # what is left is about as much; its square where it is quadratic
    together = (1, *range(start.ndim - meeting, start.ndim))  # axes along which elements meet
    axis = None if start.shape[1] == 1 else 1 - start.ndim
    found = step(reads, start[:, None].expand(-1, size, *start.shape[1:]))
    done = torch.zeros_like(start, dtype=torch.bool).any(together, keepdim=True)
    turns = start.new_zeros(start.shape[0])
    for _ in range(iterations):
        if done.all():
            break
        turns += (~done).flatten(1).any(1)
        arriving = arriving_states(start, found)
        value, matrices = step(reads, arriving), derive(reads, arriving)
        numbers = matrices if axis else matrices[:, :, 0]
        change, _ = affine_scan(numbers, value - found, torch.zeros_like(start), axis=axis)
        moved = torch.clamp(found + change, low, high)
        moved = torch.where(moved.isfinite(), moved, value)
        small = (change.abs() <= tolerance * (1 + found.abs())).all(1)
        small = small.all(together, keepdim=True)
        found = torch.where(done[:, None], found, moved)
        done = done | small
    residual = (step(reads, arriving_states(start, found)) - found).abs() / (1 + found.abs())
    residual = torch.where(done[:, None], residual, 0).flatten(1).amax(1)
    behind = (~done).flatten(1).any(1)
    if behind.any():
        exact = newton_step_by_step(step, [read[behind] for read in reads], start[behind], size)
        found[behind] = torch.where(done[behind][:, None], found[behind], exact)
    return found, turns, done, residual


def newton_step_by_step(step, reads, state, size):
    """The following states of a window, one position after the other."""
    kept = []
    for t in range(size):
        state = step([read[:, t : t + 1] for read in reads], state[:, None])[:, 0]
        kept.append(state)
    return torch.stack(kept, 1)


def newton_window_size(numbers):
    """The positions whose states, so many numbers each, stay near the processor: 128 to 1024."""
    return min(1024, max(128, 2**16 // max(numbers, 1)))


def into_lanes(states, lanes):
    """States [B, T, *shape] as one tensor [B, T, m, *lanes]."""
    parts = []
    for state, own in zip(states, lanes):
        moved = state.movedim([axis + 2 for axis in own], list(range(state.ndim - len(own), state.ndim)))
        free = moved.ndim - len(own)
        parts.append(moved.reshape(*moved.shape[:2], math.prod(moved.shape[2:free]), *moved.shape[free:]))
    return torch.cat(parts, 2)


def out_of_lanes(tensor, shapes, lanes):
    """The states [B, T, *shape] that `into_lanes` put together."""
    states, start = [], 0
    for shape, own in zip(shapes, lanes):
        free = [size for axis, size in enumerate(shape) if axis not in own]
        stop = start + math.prod(free)
        part = tensor[:, :, start:stop].reshape(*tensor.shape[:2], *free, *tensor.shape[3:])
        moved = part.movedim(list(range(part.ndim - len(own), part.ndim)), [axis + 2 for axis in own])
        states.append(moved.contiguous())
        start = stop
    return states


def matrices_of_lanes(jacobian, shapes, lanes):
    """The entries of a Jacobian, as `newton` takes them, as matrices [B, T, m, m, *lanes]."""
    entries, rows = iter(jacobian), []
    for shape, own in zip(shapes, lanes):
        inner, row = 2 + len(shape) - len(own), []
        for places in lanes:
            entry = next(entries)
            outer = entry.ndim - len(places)
            moved = entry.movedim([inner + axis for axis in places], list(range(outer, entry.ndim)))
            sizes = math.prod(moved.shape[2:inner]), math.prod(moved.shape[inner:outer])
            row.append(moved.reshape(*moved.shape[:2], *sizes, *moved.shape[outer:]))
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)


def lane_limits(start, bounds, shapes, lanes):
    """Bounds [B, 1, m, *lanes] of states that start [B, m, *lanes] within them; infinite ones for other lanes."""
    ends = []
    for interval, shape, own in zip(bounds, shapes, lanes):
        free = math.prod(size for axis, size in enumerate(shape) if axis not in own)
        ends += [interval or (-math.inf, math.inf)] * free
    low, high = (start.new_tensor(each).reshape(-1, *[1] * (start.ndim - 2)) for each in zip(*ends))
    inside = ((low <= start) & (start <= high)).all(1, keepdim=True)[:, None]
    return torch.where(inside, low, -math.inf), torch.where(inside, high, math.inf)
