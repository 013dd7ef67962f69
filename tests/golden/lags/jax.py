"""lagged

Arrays, by name:
    inputs   x [B, T, D]
    state    h, x[t-1], x[t-2], h[t-2], h[t-3] [B, D]
    outputs  y, z [B, T, D]

Schedule: x[t-1] is a shifted sequence; x[t-2] is a shifted sequence; h in one `lax.scan`; h[t-2] is a
    shifted sequence; h[t-3] is a shifted sequence.
Kept for the backward pass: nothing of h.

Made from lags.lsrl by
    lsrl compile lags.lsrl --target jax
It needs nothing but jax.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

D = 3

floats = partial(jnp.asarray, dtype=jnp.float32)


def starting(params, state, *extent):
    """The initial states, with those that are given in place of the program's."""
    states = initial_state(params, *extent)
    if unknown := sorted(set(state or {}) - set(states)):
        raise ValueError(f"there is no state {', '.join(unknown)}; the states are {', '.join(states)}")
    return {name: jnp.asarray((state or {}).get(name, first), first.dtype) for name, first in states.items()}


def over_time(advance, state, reads, **options):
    """`lax.scan` along axis 1: (last state, what `advance` keeps of every position)."""
    reads = jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), reads)
    state, kept = lax.scan(advance, state, reads, **options)
    return state, jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), kept)


def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = jnp.concatenate([first[:, None], sequence], axis=1)
    return whole[:, :-1], whole[:, -1]


@partial(jax.jit, static_argnames=("reverse", "axis"))
def affine_scan(a, b, start, reverse=False, axis=None):
    """`h' = a * h + b` along time, from `start` [B, *shape]: (h', the last h').

    b is [B, T, *shape]; a is a number, or an array whose axes are those of b or of length one (leading ones may be
    missing).  With `axis`, counted from the end, matrices mix that axis of the shape: a has it twice, rows first.
    """
    a = jnp.asarray(a, None if hasattr(a, "dtype") else b.dtype)
    a = a.reshape((1,) * (b.ndim + (axis is not None) - a.ndim) + a.shape)
    return affine_states(a, b, start, reverse, axis, False)


def arriving_states(start, following, reverse=False):
    """What arrives at each position, when `following` is what leaves it."""
    if reverse:
        return jnp.concatenate([following, start[:, None]], axis=1)[:, 1:]
    return jnp.concatenate([start[:, None], following], axis=1)[:, :-1]


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


affine_states.defvjp(affine_states_forward, affine_states_backward)


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


def differentiable(run, adjoint):
    """The function loop(reads, statics, starts, length) -> (kept, lasts), whose derivative is `adjoint`.

    run(reads, statics, starts, length) -> (kept, lasts, saved) runs forward; `saved` is what `adjoint` needs of it.
    adjoint(saved, d_kept, d_lasts, length) -> (d_reads, d_statics, d_starts) has None where there is no derivative.
    """

    @partial(jax.custom_vjp, nondiff_argnums=(3,))
    def loop(reads, statics, starts, length):
        return run(reads, statics, starts, length)[:2]

    def forward(reads, statics, starts, length):
        kept, lasts, saved = run(reads, statics, starts, length)
        return (kept, lasts), saved

    def backward(length, saved, cotangents):
        return conjugated(adjoint(saved, *conjugated(cotangents), length))

    loop.defvjp(forward, backward)
    return loop


def conjugated(cotangents):
    """Cotangents between JAX's convention, dL/dx - i dL/dy, and ours, dL/dx + i dL/dy; None where there is none."""

    def one(cotangent):
        if cotangent.dtype == jax.dtypes.float0:
            return None
        return jnp.conj(cotangent) if jnp.iscomplexobj(cotangent) else cotangent

    return jax.tree.map(one, cotangents)


def init(seed):
    """Parameters by name: there are none."""
    return {}


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {
        "h": jnp.full((batch, D), 0.5, jnp.float32),
        "x[t-1]": jnp.full((batch, D), -1.0, jnp.float32),
        "x[t-2]": jnp.full((batch, D), -1.0, jnp.float32),
        "h[t-2]": jnp.full((batch, D), 0.5, jnp.float32),
        "h[t-3]": jnp.full((batch, D), 0.5, jnp.float32),
    }


def h_steps(reads, statics, starts, length):
    """h over time: what is kept, the last states, what the adjoint needs.

        reads    x_prev2, x_scaled [B, T, D]
        starts   h [B, D]
        kept     h, h_next [B, T, D]
    """
    x_prev2, x_scaled = reads
    (h_first,) = starts

    def advance_h(h, at):
        x_prev2, x_scaled = at
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        h_next = jnp.tanh(0.5 * h + x_prev2 - x_scaled)
        return h_next, (h, h_next)

    h_last, (h, h_next) = over_time(advance_h, h_first, (x_prev2, x_scaled))

    return (h, h_next), (h_last,), (h_next,)


def h_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `h_loop`: from cotangents of its results to those of its arguments."""
    (h_next,) = saved
    d_h_2, d_h_next = d_kept
    (d_h_last,) = d_lasts

    one_minus_h_next_h_next = 1.0 - h_next * h_next
    product = one_minus_h_next_h_next * 0.5
    sum_ = d_h_2 + 0.5 * (d_h_next * one_minus_h_next_h_next)

    d_h_next_2, d_h_last_2 = affine_scan(product, sum_, d_h_last, reverse=True)
    d_h = arriving_states(d_h_last, d_h_next_2, reverse=True)

    d_x_prev2 = (d_h + d_h_next) * one_minus_h_next_h_next
    d_x_scaled = -d_x_prev2

    return (d_x_prev2, d_x_scaled), (), (d_h_last_2,)


h_loop = differentiable(h_steps, h_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["x"])[:2]
    x = floats(inputs["x"])  # [B, T, D]
    state = starting(params, state, batch)

    x_prev, x_prev_last = later(state["x[t-1]"], x)  # [B, T, D]
    x_prev2, x_prev2_last = later(state["x[t-2]"], x_prev)  # [B, T, D]

    # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
    x_scaled = 0.3 * x

    (h, h_next), (h_last,) = h_loop((x_prev2, x_scaled), (), (state["h"],), length)

    # <text>:6  output y = h' + x[t-1], z = h'[t-3]
    y = h_next + x_prev

    h_prev2, h_prev2_last = later(state["h[t-2]"], h)  # [B, T, D]
    h_prev3, h_prev3_last = later(state["h[t-3]"], h_prev2)  # [B, T, D]

    return {"y": y, "z": h_prev3}, {
        "h": h_last,
        "x[t-1]": x_prev_last,
        "x[t-2]": x_prev2_last,
        "h[t-2]": h_prev2_last,
        "h[t-3]": h_prev3_last,
    }


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
