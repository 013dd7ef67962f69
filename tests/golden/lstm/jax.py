"""lstm: Long short-term memory with forget gate (Gers et al., 2000), with the parameters of torch.nn.LSTM.

Arrays, by name:
    inputs   x [B, T, D]
    params   W_ih [4*H, D]; W_hh [4*H, H]; b_ih, b_hh [4*H]
    state    h, c [B, H]
    outputs  h [B, T, H]

Schedule: 1 product over all positions; h, c in one `lax.scan`.

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


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch = jnp.shape(inputs["x"])[0]
    W_ih = floats(params["W_ih"])  # [4*H, D]
    W_hh = floats(params["W_hh"])  # [4*H, H]
    b_ih = floats(params["b_ih"])  # [4*H]
    b_hh = floats(params["b_hh"])  # [4*H]
    x = floats(inputs["x"])  # [B, T, D]
    state = starting(params, state, batch)

    # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
    W_ih_x_plus_b_ih = einsum("btd,gd->btg", x, W_ih) + b_ih

    def advance_h_c(state, W_ih_x_plus_b_ih):
        h, c = state
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        i, f, g, o = jnp.split(W_ih_x_plus_b_ih + einsum("bh,gh->bg", h, W_hh) + b_hh, 4, axis=-1)  # [B, H]
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        c_next = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        h_next = jax.nn.sigmoid(o) * jnp.tanh(c_next)
        return (h_next, c_next), h_next

    (h_last, c_last), h_next = over_time(advance_h_c, (state["h"], state["c"]), W_ih_x_plus_b_ih)

    return {"h": h_next}, {"h": h_last, "c": c_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
