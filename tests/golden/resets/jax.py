"""restarted

Arrays, by name:
    inputs   x [B, T, D]; r [B, T] bool
    params   s [D]
    state    a [B, D]; n [B] int
    outputs  a [B, T, D]; n [B, T] int

Schedule: a in one `lax.scan`; n in one `lax.scan`.
Kept for the backward pass: nothing of a.

Made from resets.lsrl by
    lsrl compile resets.lsrl --target jax
It needs nothing but jax.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

D = 3

bools = partial(jnp.asarray, dtype=bool)
uniform = partial(jax.random.uniform, dtype=jnp.float32)
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
    """Parameters by name, drawn as the program says."""
    keys = jax.random.split(jax.random.key(seed), 1)
    return {"s": uniform(keys[0], (D,), minval=-1 / math.sqrt(D), maxval=1 / math.sqrt(D))}


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    s = floats(params["s"])  # [D]
    return {"a": jnp.broadcast_to(s, (batch, D)), "n": jnp.full((batch,), 3, jnp.int32)}


def a_steps(reads, statics, starts, length):
    """a over time: what is kept, the last states, what the adjoint needs.

        reads    x [B, T, D]; r [B, T] bool
        statics  s [D]
        starts   a [B, D]
        kept     a_next [B, T, D]
    """
    x, r = reads
    (s,) = statics
    (a_first,) = starts

    def advance_a(a, at):
        r, x = at
        # <text>:5  state a: [D] = s, n: [] int = 3
        a_or_init = jnp.where(r[..., None], s, a)
        # <text>:7  a' = 0.9 * a + x
        a_next = 0.9 * a_or_init + x
        return a_next, a_next

    a_last, a_next = over_time(advance_a, a_first, (r, x))

    return (a_next,), (a_last,), (r,)


def a_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `a_loop`: from cotangents of its results to those of its arguments."""
    (r,) = saved
    (d_a_next,) = d_kept
    (d_a_last,) = d_lasts

    product = 0.9 * (1 - r.astype(jnp.float32))
    choice = jnp.where(r[..., None], jnp.zeros((D,), jnp.float32), 0.9 * d_a_next)

    d_a_next_2, d_a_last_2 = affine_scan(product[..., None], choice, d_a_last, reverse=True)
    d_a = arriving_states(d_a_last, d_a_next_2, reverse=True)

    d_x = d_a + d_a_next
    d_x_scaled = 0.9 * d_x
    d_s = jnp.where(r[..., None], d_x_scaled, 0.0)

    return (d_x, None), (d_s.sum((0, 1)),), (d_a_last_2,)


a_loop = differentiable(a_steps, a_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["x"])[:2]
    s = floats(params["s"])  # [D]
    x = floats(inputs["x"])  # [B, T, D]
    r = bools(inputs["r"])  # [B, T]
    state = starting(params, state, batch)

    (a_next,), (a_last,) = a_loop((x, r), (s,), (state["a"],), length)

    def advance_n(n, r):
        # <text>:5  state a: [D] = s, n: [] int = 3
        n_or_init = jnp.where(r, 3, n)
        # <text>:8  n' = (n + 2) % 5
        n_next = (n_or_init + 2) % 5
        return n_next, n_next

    n_last, n_next = over_time(advance_n, state["n"], r)

    return {"a": a_next, "n": n_next}, {"a": a_last, "n": n_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
