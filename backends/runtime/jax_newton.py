"""Newton's method for nonlinear recurrences in JAX: windows of positions, each solved for all of its states at once.

Sequences are [B, T, *shape].  A lane is a recurrence that meets no other: a sequence of the batch and an index along
the axes `lanes` of the states; in lanes, states are one array [B, T, m, *lanes].  A lane whose steps have become small
is done.  The others run step by step after some iterations, so that the result is always that of the recurrence.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lsrl.backends.runtime.jax_scan import affine_scan, arriving_states, over_positions


def newton(step, statics, reads, starts, length, lanes, bounds, reverse=False, **options):
    """The states of `length` positions from `starts` [B, *shape]: (arriving, following, last ones, statistics).

    Args:
        step: (statics, reads, arriving states) at some positions to (following states, Jacobian).  The Jacobian is a
            list, row by row: for each pair of states the axes of the first that are no lanes, then all axes of the
            second.
        lanes: for each state the axes of its shape that tell its lanes apart.
        bounds: for each state an interval that it never leaves once it is inside, or None.
        options: of `newton_states`.

    Statistics tell for each sequence [B] the most iterations of a window, the share of lanes that ran step by step, and
    the largest residual |f(h) - h'| / (1 + |h'|) of the others.
    """
    solve = newton_states(step, length, lanes, bounds, reverse, **options)
    following, told = solve(list(statics), list(reads), list(starts))
    arriving = [arriving_states(start, each, reverse) for start, each in zip(starts, following)]
    lasts = [each[:, 0 if reverse else -1] for each in following] if length else list(starts)
    return arriving, following, lasts, dict(zip(("iterations", "fallback", "residual"), told))


def newton_states(step, length, lanes, bounds, reverse, meeting=0, window=None, iterations=8):
    """The function of (statics, reads, starts) to (following states, what is told); its derivative is that of the loop.

    Args:
        meeting: how many of the axes of lanes, the last ones, have elements that meet, so that the Jacobian is not all
            of it: convergence is then linear, and only what never meets is done by itself.
        window: the most positions of a window; None is by the number of states.
        iterations: after so many a lane that is not done runs step by step.
    """

    @jax.custom_vjp
    def solve(statics, reads, starts):
        return newton_in_windows(partial(step, statics), reads, starts, length, lanes, bounds, reverse, options)

    def forward(statics, reads, starts):
        found = solve(statics, reads, starts)  # so that it can be differentiated once more
        return found, (statics, reads, starts)

    def backward(saved, cotangents):
        return jax.vjp(step_by_step, *saved)[1](cotangents[0])

    def step_by_step(statics, reads, starts):
        def advance(states, at):
            following, _ = step(statics, *([each[:, None] for each in group] for group in (at, states)))
            following = [each[:, 0] for each in following]
            return following, following

        at = [jnp.swapaxes(read, 0, 1) for read in reads]
        _, kept = lax.scan(advance, starts, at, length=length, reverse=reverse)
        return [jnp.swapaxes(each, 0, 1) for each in kept]

    options = meeting, window, iterations
    solve.defvjp(forward, backward)
    return solve


def newton_in_windows(step, reads, starts, length, lanes, bounds, reverse, options):
    """The following states of all positions, window after window, and what is told."""
    meeting, window, iterations = options
    shapes = [start.shape[1:] for start in starts]
    state = into_lanes([start[:, None] for start in starts], lanes)[:, 0]
    low, high = lane_limits(state, bounds, shapes, lanes)
    count = math.ceil(length / (window or newton_window_size(state.size)))
    size = math.ceil(length / max(count, 1))
    reads = [newton_windows(read, count * size, reverse) for read in reads]

    def in_lanes(reads, arriving):
        following, jacobian = step(reads, out_of_lanes(arriving, shapes, lanes))
        return into_lanes(following, lanes), matrices_of_lanes(jacobian, shapes, lanes)

    def advance(n, carry):
        state, kept, told = carry
        here = [lax.dynamic_slice_in_dim(read, n * size, size, 1) for read in reads]
        found, turns, done, residual = newton_window(in_lanes, here, state, size, low, high, meeting, iterations)
        share = (~done).mean(range(1, done.ndim), dtype=state.dtype) / count
        told = jnp.maximum(told[0], turns), told[1] + share, jnp.maximum(told[2], residual)
        return found[:, -1], lax.dynamic_update_slice_in_dim(kept, found, n * size, 1), told

    kept = jnp.zeros((state.shape[0], count * size, *state.shape[1:]), state.dtype)
    told = jnp.zeros(state.shape[0], int), *[jnp.zeros(state.shape[0], state.dtype)] * 2
    if count:
        _, kept, told = lax.fori_loop(0, count, advance, (state, kept, told))
    following = kept[:, :length]
    return out_of_lanes(jnp.flip(following, 1) if reverse else following, shapes, lanes), told


def newton_window(step, reads, start, size, low, high, meeting, iterations):
    """One window from `start` [B, m, *lanes]: following states, iterations, lanes done, residuals [B].

    After k iterations the first k positions are exact, whatever iterates are projected to; so nothing is lost where
    one that is not finite is replaced by the value of the step.
    """
    eps = jnp.finfo(start.dtype).eps
    tolerance = 8 * eps if meeting else eps**0.5  # what is left is about as much; its square where it is quadratic
    together = (1, *range(start.ndim - meeting, start.ndim))  # axes along which elements meet

    def advance(carry):
        turns, found, done = carry
        value, matrices = step(reads, arriving_states(start, found))
        rest, zero = value - found, jnp.zeros_like(start)
        if start.shape[1] == 1:
            change, _ = affine_scan(matrices[:, :, 0], rest, zero)
        else:
            change, _ = affine_scan(matrices, rest, zero, axis=1 - start.ndim)
        moved = jnp.clip(found + change, low, high)
        moved = jnp.where(jnp.isfinite(moved), moved, value)
        small = jnp.all(jnp.abs(change) <= tolerance * (1 + jnp.abs(found)), 1)
        small = small.all(together, keepdims=True)
        return turns + unfinished(done), jnp.where(done[:, None], found, moved), done | small

    def unfinished(done):
        return (~done).any(range(1, done.ndim))

    def goes_on(carry):
        turns, _, done = carry
        return (turns.max(initial=0) < iterations) & ~done.all()

    def step_by_step(found):
        def one(state, *at):
            following = step([read[:, None] for read in at[:-1]], state[:, None])[0][:, 0]
            return following, following

        exact, _ = over_positions(one, start, (*reads, found), False)
        return jnp.where(done[:, None], found, exact)

    guess, _ = step(reads, jnp.broadcast_to(start[:, None], (start.shape[0], size, *start.shape[1:])))
    begin = jnp.zeros(start.shape[0], int), guess, jnp.zeros_like(start, bool).any(together, keepdims=True)
    turns, found, done = lax.while_loop(goes_on, advance, begin)
    value, _ = step(reads, arriving_states(start, found))
    residual = jnp.abs(value - found) / (1 + jnp.abs(found))
    residual = jnp.max(residual, range(1, residual.ndim), initial=0, where=done[:, None])
    return lax.cond(done.all(), lambda found: found, step_by_step, found), turns, done, residual


def newton_windows(read, length, reverse):
    """A read sequence in the order of the recurrence, its end repeated up to a whole number of windows."""
    turned = jnp.flip(read, 1) if reverse else read
    return jnp.pad(turned, ((0, 0), (0, length - read.shape[1]), *[(0, 0)] * (read.ndim - 2)), "edge")


def newton_window_size(numbers):
    """The positions whose states, so many numbers each, stay near the processor: 128 to 1024."""
    return min(1024, max(128, 2**16 // max(numbers, 1)))


def into_lanes(states, lanes):
    """States [B, T, *shape] as one array [B, T, m, *lanes]."""
    parts = []
    for state, own in zip(states, lanes):
        moved = jnp.moveaxis(state, [axis + 2 for axis in own], range(state.ndim - len(own), state.ndim))
        free = moved.ndim - len(own)
        parts.append(moved.reshape(*moved.shape[:2], math.prod(moved.shape[2:free]), *moved.shape[free:]))
    return jnp.concatenate(parts, 2)


def out_of_lanes(array, shapes, lanes):
    """The states [B, T, *shape] that `into_lanes` put together."""
    states, start = [], 0
    for shape, own in zip(shapes, lanes):
        free = [size for axis, size in enumerate(shape) if axis not in own]
        stop = start + math.prod(free)
        part = array[:, :, start:stop].reshape(*array.shape[:2], *free, *array.shape[3:])
        states.append(jnp.moveaxis(part, range(part.ndim - len(own), part.ndim), [axis + 2 for axis in own]))
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
            moved = jnp.moveaxis(entry, [inner + axis for axis in places], range(outer, entry.ndim))
            sizes = math.prod(moved.shape[2:inner]), math.prod(moved.shape[inner:outer])
            row.append(moved.reshape(*moved.shape[:2], *sizes, *moved.shape[outer:]))
        rows.append(jnp.concatenate(row, 3))
    return jnp.concatenate(rows, 2)


def lane_limits(start, bounds, shapes, lanes):
    """Bounds [B, 1, m, *lanes] of states that start [B, m, *lanes] within them; infinite ones for other lanes."""
    ends = []
    for interval, shape, own in zip(bounds, shapes, lanes):
        free = math.prod(size for axis, size in enumerate(shape) if axis not in own)
        ends += [interval or (-math.inf, math.inf)] * free
    low, high = (jnp.asarray(each, start.dtype).reshape(-1, *[1] * (start.ndim - 2)) for each in zip(*ends))
    inside = jnp.all((low <= start) & (start <= high), 1, keepdims=True)[:, None]
    return jnp.where(inside, low, -jnp.inf), jnp.where(inside, high, jnp.inf)
