"""Associative scans in JAX: `h' = a * h + b` for numbers and small matrices, and over max, min and log-sum-exp.

Sequences are [B, T, *shape].  A step is a map of the state; `compose_...` joins the maps of two neighbouring pieces of
a sequence into one.  On a CPU a loop over the positions that neither copies nor transposes its arrays runs at the speed
of memory for all widths; elsewhere pieces are composed in a tree.  Derivatives are scans that run the other way.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


@partial(jax.jit, static_argnames=("reverse", "axis"))
def affine_scan(a, b, start, reverse=False, axis=None):
    """`h' = a * h + b` along time, from `start` [B, *shape]: (h', the last h').

    b is [B, T, *shape]; a is a number, or an array whose axes are those of b or of length one (leading ones may be
    missing).  With `axis`, counted from the end, matrices mix that axis of the shape: a has it twice, rows first.
    """
    a = jnp.asarray(a, None if hasattr(a, "dtype") else b.dtype)
    a = a.reshape((1,) * (b.ndim + (axis is not None) - a.ndim) + a.shape)
    return affine_states(a, b, start, reverse, axis, False)


def coupled_scan(matrix, rest, starts, reverse=False):
    """Several states of one shape that need each other: `h[i]' = sum_j matrix[i][j] * h[j] + rest[i]`.

    An entry that is None is zero; one of the rests is there.  Returns (h', the last h'), each for all states.
    """
    like = next(each for each in rest if each is not None)
    entries = [[jnp.asarray(0 if each is None else each, like.dtype) for each in row] for row in matrix]
    shape = jnp.broadcast_shapes((1,) * like.ndim, *(each.shape for row in entries for each in row))
    a = jnp.stack([jnp.stack([jnp.broadcast_to(each, shape) for each in row], 2) for row in entries], 2)
    b = jnp.stack([jnp.zeros_like(like) if each is None else each for each in rest], 2)
    axis = 1 - like.ndim
    return [jnp.unstack(each, axis=axis) for each in affine_scan(a, b, jnp.stack(starts, 1), reverse, axis)]


@partial(jax.jit, static_argnames=("join", "reverse"))
def joined_scan(join, shift, rest, start, reverse=False):
    """`h' = join(h + shift, rest)` along time: (h', the last h'); shapes as in `affine_scan`.

    `join` is jnp.maximum, jnp.minimum or jnp.logaddexp: addition distributes over each.
    """
    shift = jnp.asarray(shift, rest.dtype)
    shift = shift.reshape((1,) * (rest.ndim - shift.ndim) + shift.shape)
    return joined_states(join, shift, rest, start, reverse)


def arriving_states(start, following, reverse=False):
    """What arrives at each position, when `following` is what leaves it."""
    if reverse:
        return jnp.concatenate([following, start[:, None]], axis=1)[:, 1:]
    return jnp.concatenate([start[:, None], following], axis=1)[:, :-1]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def affine_states(a, b, start, reverse, axis, late):
    """h' = a h + b at every position, and the last; `late`: h + b at every position, of which h' is a times that."""

    def advance(h, a, b):
        if late:
            return act(a, h + b, axis), h + b
        h = act(a, h, axis) + b
        return h, h

    if jax.default_backend() == "cpu":
        return over_positions(advance, start, (a, b), reverse)
    whole = act(a, b, axis) if late else b
    following = composed_states(partial(compose_affine, axis), partial(act, axis=axis), a, whole, start, reverse)
    last = following[:, 0 if reverse else -1] if b.shape[1] else start
    return arriving_states(start, following, reverse) + b if late else following, last


def affine_states_forward(a, b, start, reverse, axis, late):
    following, last = affine_states(a, b, start, reverse, axis, late)
    return (following, last), (a, start, following)


def affine_states_backward(reverse, axis, late, known, cotangents):
    """The adjoint of a step that acts late acts early, and the other way round."""
    a, start, following = known
    turned = a if axis is None else jnp.swapaxes(a, axis - 1, axis)
    db, first = affine_states(turned, *cotangents, not reverse, axis, not late)
    if late:
        left, right = arriving_states(cotangents[1], db, not reverse), following
    else:
        left, right = db, arriving_states(start, following, reverse)
    da = left * right if axis is None else jnp.expand_dims(left, axis) * jnp.expand_dims(right, axis - 1)
    return summed_like(a, da), db, first


affine_states.defvjp(affine_states_forward, affine_states_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 4))
def joined_states(join, shift, rest, start, reverse):
    """join(h + shift, rest) at every position, and the last."""

    def advance(h, shift, rest):
        h = join(h + shift, rest)
        return h, h

    if jax.default_backend() == "cpu":
        return over_positions(advance, start, (shift, rest), reverse)
    following = composed_states(partial(compose_joined, join), jnp.add, shift, rest, start, reverse, join)
    return following, following[:, 0 if reverse else -1] if rest.shape[1] else start


def joined_states_forward(join, shift, rest, start, reverse):
    following, last = joined_states(join, shift, rest, start, reverse)
    return (following, last), (shift, rest, start, following)


def joined_states_backward(join, reverse, known, cotangents):
    shift, rest, start, following = known
    share = share_of_first(join, arriving_states(start, following, reverse) + shift, rest)
    g, first = affine_states(share, *cotangents, not reverse, None, True)
    return summed_like(shift, share * g), (1 - share) * g, first


joined_states.defvjp(joined_states_forward, joined_states_backward)


def share_of_first(join, x, y):
    """The derivative of join(x, y) by x, where that by y is the rest of 1: equal operands share evenly."""
    alike = (x == y) & jnp.isinf(x)
    difference = jnp.where(alike, 0, x - jnp.where(alike, 0, y))
    if join is jnp.logaddexp:
        return jax.nn.sigmoid(difference)
    larger = difference > 0 if join is jnp.maximum else difference < 0
    return jnp.where(difference == 0, 0.5, larger).astype(x.dtype)


def over_positions(advance, state, reads, reverse):
    """`advance(state, *reads at a position)` from position to position: (what it keeps of each, the last state)."""
    length = reads[-1].shape[1]
    if length == 0:
        return reads[-1], state

    def at(array, place):
        return array[:, 0] if array.shape[1] == 1 else lax.dynamic_index_in_dim(array, place, 1, keepdims=False)

    def step(n, carry):
        state, kept = carry
        place = length - 1 - n if reverse else n
        state, now = advance(state, *(at(array, place) for array in reads))
        return state, lax.dynamic_update_index_in_dim(kept, now, place, 1)

    state, kept = lax.fori_loop(0, length, step, (state, jnp.zeros_like(reads[-1])))
    return kept, state


def composed_states(compose, apply, a, b, start, reverse, join=jnp.add):
    """The states that follow each position, from the composed maps of all positions up to it."""
    if b.shape[1] == 0:
        return b
    a = jnp.broadcast_to(a, (*a.shape[:1], b.shape[1], *a.shape[2:]))
    a, b = lax.associative_scan(compose, (a, b), reverse=reverse, axis=1)
    return join(apply(a, start[:, None]), b)


def compose_affine(axis, first, then):
    """The map of two neighbouring pieces, the one that acts first given first."""
    (a1, b1), (a2, b2) = first, then
    if axis is None:
        return a2 * a1, a2 * b1 + b2
    return (jnp.expand_dims(a2, axis) * jnp.expand_dims(a1, axis - 2)).sum(axis - 1), act(a2, b1, axis) + b2


def compose_joined(join, first, then):
    """The map of two neighbouring pieces, the one that acts first given first."""
    (shift1, rest1), (shift2, rest2) = first, then
    return shift1 + shift2, join(rest1 + shift2, rest2)


def act(a, h, axis):
    """a * h, element by element, or a matrix times h along an axis."""
    return a * h if axis is None else (a * jnp.expand_dims(h, axis - 1)).sum(axis)


def summed_like(array, gradient):
    """The gradient of an array that was repeated along its axes of length one."""
    axes = [i for i, (own, size) in enumerate(zip(array.shape, gradient.shape)) if own == 1 != size]
    total = gradient.sum(axes, keepdims=True) if axes else gradient
    return total if jnp.iscomplexobj(array) else total.real
