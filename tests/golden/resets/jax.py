"""restarted

Arrays, by name:
    inputs   x [B, T, D]; r [B, T] bool
    params   s [D]
    state    a [B, D]; n [B] int
    outputs  a [B, T, D]; n [B, T] int

Schedule: a in one `lax.scan`; n in one `lax.scan`.

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


def starting(params, state, batch):
    """The initial states, with those that are given in place of the program's."""
    states = initial_state(params, batch)
    if unknown := sorted(set(state or {}) - set(states)):
        raise ValueError(f"there is no state {', '.join(unknown)}; the states are {', '.join(states)}")
    return {name: jnp.asarray((state or {}).get(name, first), first.dtype) for name, first in states.items()}


def over_time(advance, state, reads, **options):
    """`lax.scan` along axis 1: (last state, what `advance` keeps of every position)."""
    reads = jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), reads)
    state, kept = lax.scan(advance, state, reads, **options)
    return state, jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), kept)


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

    def advance_d_a(d_a, at):
        d_a_next, r = at
        d_x = d_a + d_a_next
        d_x_scaled = 0.9 * d_x
        d_a_next_2 = jnp.where(r[..., None], 0.0, d_x_scaled)
        return d_a_next_2, (d_x, d_x_scaled)

    d_a_last_2, (d_x, d_x_scaled) = over_time(advance_d_a, d_a_last, (d_a_next, r), reverse=True)

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
