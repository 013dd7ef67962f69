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


def init(seed):
    """Parameters by name, drawn as the program says."""
    keys = jax.random.split(jax.random.key(seed), 1)
    return {"s": uniform(keys[0], (D,), minval=-1 / math.sqrt(D), maxval=1 / math.sqrt(D))}


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    s = floats(params["s"])  # [D]
    return {"a": jnp.broadcast_to(s, (batch, D)), "n": jnp.full((batch,), 3, jnp.int32)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch = jnp.shape(inputs["x"])[0]
    s = floats(params["s"])  # [D]
    x = floats(inputs["x"])  # [B, T, D]
    r = bools(inputs["r"])  # [B, T]
    state = starting(params, state, batch)

    def advance_a(a, at):
        r, x = at
        # <text>:5  state a: [D] = s, n: [] int = 3
        a_or_init = jnp.where(r[..., None], s, a)
        # <text>:7  a' = 0.9 * a + x
        a_next = 0.9 * a_or_init + x
        return a_next, a_next

    a_last, a_next = over_time(advance_a, state["a"], (r, x))

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
