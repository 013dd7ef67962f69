"""lstm: Long short-term memory with forget gate (Gers et al., 2000), with the parameters of torch.nn.LSTM.

Arrays, by name:
    inputs   x [B, T, D]
    params   W_ih [4*H, D]; W_hh [4*H, H]; b_ih, b_hh [4*H]
    state    h, c [B, H]
    outputs  h [B, T, H]

Schedule: 1 product over all positions; h, c in one `lax.scan`.
Kept for the backward pass: h, c at every position.

Made from std/lstm by
    lsrl compile std/lstm --target jax
It needs nothing but jax.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

D, H = 3, 5

uniform = partial(jax.random.uniform, dtype=jnp.float32)
floats = partial(jnp.asarray, dtype=jnp.float32)
einsum = partial(jnp.einsum, precision="highest")  # accelerators would round the factors


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
    keys = jax.random.split(jax.random.key(seed), 4)
    return {
        "W_ih": uniform(keys[0], (4 * H, D), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "W_hh": uniform(keys[1], (4 * H, H), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "b_ih": uniform(keys[2], (4 * H,), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "b_hh": uniform(keys[3], (4 * H,), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
    }


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {"h": jnp.zeros((batch, H), jnp.float32), "c": jnp.zeros((batch, H), jnp.float32)}


def h_c_steps(reads, statics, starts, length):
    """h, c over time: what is kept, the last states, what the adjoint needs.

        reads    W_ih_x_plus_b_ih [B, T, 4*H]
        statics  W_hh [4*H, H]; b_hh [4*H]
        starts   h, c [B, H]
        kept     h_next [B, T, H]
    """
    (W_ih_x_plus_b_ih,) = reads
    W_hh, b_hh = statics
    h_first, c_first = starts

    def advance_h_c(state, W_ih_x_plus_b_ih):
        h, c = state
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        i, f, g, o = jnp.split(W_ih_x_plus_b_ih + einsum("bh,gh->bg", h, W_hh) + b_hh, 4, axis=-1)  # [B, H]
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        c_next = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        h_next = jax.nn.sigmoid(o) * jnp.tanh(c_next)
        return (h_next, c_next), (c, h_next)

    (h_last, c_last), (c, h_next) = over_time(advance_h_c, (h_first, c_first), W_ih_x_plus_b_ih)

    return (h_next,), (h_last, c_last), (W_ih_x_plus_b_ih, W_hh, b_hh, c, h_next, h_first)


def h_c_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `h_c_loop`: from cotangents of its results to those of its arguments."""
    W_ih_x_plus_b_ih, W_hh, b_hh, c, h_next, h_first = saved
    (d_h_next,) = d_kept
    d_h_last, d_c_last = d_lasts
    h, _ = later(h_first, h_next)

    # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
    i, f, g, o = jnp.split(W_ih_x_plus_b_ih + einsum("bth,gh->btg", h, W_hh) + b_hh, 4, axis=-1)
    # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    sigmoid_f = jax.nn.sigmoid(f)
    sigmoid_i = jax.nn.sigmoid(i)
    tanh_g = jnp.tanh(g)
    # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
    sigmoid_o = jax.nn.sigmoid(o)

    def advance_d_h_d_c(state, at):
        d_h, d_c = state
        d_h_next, sigmoid_o, sigmoid_f, c, sigmoid_i, tanh_g = at
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        c_next = sigmoid_f * c + sigmoid_i * tanh_g
        d_h_plus_d_h_next = d_h + d_h_next
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        tanh_c_next = jnp.tanh(c_next)
        d_W_ih_x_plus_b_ih_sum = d_c + sigmoid_o * d_h_plus_d_h_next * (1.0 - tanh_c_next * tanh_c_next)
        d_W_ih_x_plus_b_ih = jnp.concatenate(
            [
                d_W_ih_x_plus_b_ih_sum * tanh_g * (sigmoid_i * (1.0 - sigmoid_i)),
                d_W_ih_x_plus_b_ih_sum * c * (sigmoid_f * (1.0 - sigmoid_f)),
                sigmoid_i * d_W_ih_x_plus_b_ih_sum * (1.0 - tanh_g * tanh_g),
                d_h_plus_d_h_next * tanh_c_next * (sigmoid_o * (1.0 - sigmoid_o)),
            ],
            axis=-1,
        )
        d_h_next_2 = einsum("bg,gh->bh", d_W_ih_x_plus_b_ih, W_hh)  # [B, H]
        d_c_next = sigmoid_f * d_W_ih_x_plus_b_ih_sum
        return (d_h_next_2, d_c_next), d_W_ih_x_plus_b_ih

    (d_h_last_2, d_c_last_2), d_W_ih_x_plus_b_ih = over_time(
        advance_d_h_d_c,
        (d_h_last, d_c_last),
        (d_h_next, sigmoid_o, sigmoid_f, c, sigmoid_i, tanh_g),
        reverse=True,
    )

    return (
        (d_W_ih_x_plus_b_ih,),
        (einsum("btg,bth->gh", d_W_ih_x_plus_b_ih, h), d_W_ih_x_plus_b_ih.sum((0, 1))),
        (d_h_last_2, d_c_last_2),
    )


h_c_loop = differentiable(h_c_steps, h_c_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["x"])[:2]
    W_ih = floats(params["W_ih"])  # [4*H, D]
    W_hh = floats(params["W_hh"])  # [4*H, H]
    b_ih = floats(params["b_ih"])  # [4*H]
    b_hh = floats(params["b_hh"])  # [4*H]
    x = floats(inputs["x"])  # [B, T, D]
    state = starting(params, state, batch)

    # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
    W_ih_x_plus_b_ih = einsum("btd,gd->btg", x, W_ih) + b_ih

    (h_next,), (h_last, c_last) = h_c_loop(
        (W_ih_x_plus_b_ih,), (W_hh, b_hh), (state["h"], state["c"]), length
    )

    return {"h": h_next}, {"h": h_last, "c": c_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
