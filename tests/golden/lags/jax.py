"""lagged

Arrays, by name:
    inputs   x [B, T, D]
    state    h, x[t-1], x[t-2], h[t-2], h[t-3] [B, D]
    outputs  y, z [B, T, D]

Schedule: x[t-1] is a shifted sequence; x[t-2] is a shifted sequence; h in one `lax.scan`; h[t-2] is a
    shifted sequence; h[t-3] is a shifted sequence.

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


def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = jnp.concatenate([first[:, None], sequence], axis=1)
    return whole[:, :-1], whole[:, -1]


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

    def advance_d_h(d_h, at):
        d_h_next, one_minus_h_next_h_next, d_h_2 = at
        d_x_prev2 = (d_h + d_h_next) * one_minus_h_next_h_next
        d_h_next_2 = d_h_2 + 0.5 * d_x_prev2
        return d_h_next_2, d_x_prev2

    d_h_last_2, d_x_prev2 = over_time(
        advance_d_h, d_h_last, (d_h_next, one_minus_h_next_h_next, d_h_2), reverse=True
    )

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
