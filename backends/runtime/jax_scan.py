"""Associative scans in JAX: `h' = a * h + b` for numbers and small matrices, and over max, min and log-sum-exp.

Sequences are [B, T, *shape].  A step is a map of the state, and `compose` makes one of those of two neighbouring pieces
of a sequence.  On a CPU a loop over the positions that neither copies nor transposes its arrays runs at the speed
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
    if jax.default_backend() == "cpu":
        return over_positions(partial(turn_late if late else turn_early, axis), start, (a, b), reverse)
    if late:
        following, last = affine_states(a, act(a, b, axis), start, reverse, axis, False)
        return arriving_states(start, following, reverse) + b, last
    product = jnp.multiply if axis is None else partial(matrices_composed, axis)
    return composed_states(product, partial(advance_affine, axis), a, b, start, reverse)


def turn_early(axis, h, a, b):
    h = advance_affine(axis, h, a, b)
    return h, h


def turn_late(axis, h, a, b):
    return act(a, h + b, axis), h + b


def affine_states_forward(a, b, start, reverse, axis, late):
    following, last = affine_states(a, b, start, reverse, axis, late)
    return (following, last), (a, start, following)


def affine_states_backward(reverse, axis, late, known, cotangents):
    """The adjoint of a step that acts late acts early, and the other way round."""
    a, start, following = known
    adjoint = a if axis is None else jnp.swapaxes(a, axis - 1, axis)
    db, first = affine_states(adjoint, *cotangents, not reverse, axis, not late)
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
    if jax.default_backend() == "cpu":
        return over_positions(partial(turn_joined, join), start, (shift, rest), reverse)
    return composed_states(jnp.add, partial(advance_joined, join), shift, rest, start, reverse)


def turn_joined(join, h, shift, rest):
    h = advance_joined(join, h, shift, rest)
    return h, h


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


@jax.custom_jvp
def log_add(x, y):
    """log(e^x + e^y), with a derivative where both are infinite as well."""
    return jnp.logaddexp(x, y)


@log_add.defjvp
def _(operands, tangents):
    (x, y), (x_dot, y_dot) = operands, tangents
    share = share_of_first(jnp.logaddexp, x, y)
    return log_add(x, y), share * x_dot + (1 - share) * y_dot


def over_positions(turn, state, reads, reverse):
    """`turn(state, *reads at a position)` to (state, what is kept), one after the other: (all that is kept, state)."""
    length = reads[-1].shape[1]
    if length == 0:
        return reads[-1], state

    def at(array, place):
        return array[:, 0] if array.shape[1] == 1 else lax.dynamic_index_in_dim(array, place, 1, keepdims=False)

    def step(n, carry):
        state, kept = carry
        place = length - 1 - n if reverse else n
        state, now = turn(state, *(at(array, place) for array in reads))
        return state, lax.dynamic_update_index_in_dim(kept, now, place, 1)

    state, kept = lax.fori_loop(0, length, step, (state, jnp.zeros_like(reads[-1])))
    return kept, state


def composed_states(product, advance, a, b, start, reverse):
    """The states that follow each position, from the composed maps of all positions up to it, and the last."""
    if b.shape[1] == 0:
        return b, start
    maps = jnp.broadcast_to(a, (*a.shape[:1], b.shape[1], *a.shape[2:])), b
    maps = lax.associative_scan(partial(compose, product, advance), maps, reverse=reverse, axis=1)
    following = advance(start[:, None], *maps)
    return following, following[:, 0 if reverse else -1]


def compose(product, advance, first, then):
    """One map of those of two neighbouring pieces, the one that acts first given first."""
    (a1, b1), (a2, b2) = first, then
    return product(a2, a1), advance(b1, a2, b2)


def advance_affine(axis, h, a, b):
    return act(a, h, axis) + b


def advance_joined(join, h, shift, rest):
    return join(h + shift, rest)


def act(a, h, axis):
    """a * h, element by element, or a small matrix times h along an axis, column by column as XLA fuses it."""
    if axis is None:
        return a * h
    places = range(h.shape[axis])
    columns = [lax.index_in_dim(a, k, a.ndim + axis, keepdims=False) for k in places]
    return sum(column * lax.slice_in_dim(h, k, k + 1, axis=h.ndim + axis) for k, column in zip(places, columns))


def matrices_composed(axis, left, right):
    """The product of matrices that have rows and columns at `axis - 1` and `axis`."""
    return (jnp.expand_dims(left, axis) * jnp.expand_dims(right, axis - 2)).sum(axis - 1)


def summed_like(array, gradient):
    """The gradient of an array that was repeated along its axes of length one."""
    axes = [i for i, (own, size) in enumerate(zip(array.shape, gradient.shape)) if own == 1 != size]
    total = gradient.sum(axes, keepdims=True) if axes else gradient
    return total if jnp.iscomplexobj(array) else total.real
