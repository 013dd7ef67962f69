"""gated_delta: Gated delta rule (Yang et al., 2025, "Gated Delta Networks", equation 10).

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; a, b [B, T, N]
    state    S [B, N, K, V]
    outputs  o [B, T, N, V]

Schedule: S in one `lax.scan`.

Made from std/gated_delta by
    lsrl compile std/gated_delta --target jax
It needs nothing but jax.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

N, K, V = 2, 3, 5

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
    """Parameters by name: there are none."""
    return {}


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {"S": jnp.zeros((batch, N, K, V), jnp.float32)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch = jnp.shape(inputs["q"])[0]
    q = floats(inputs["q"])  # [B, T, N, K]
    k = floats(inputs["k"])  # [B, T, N, K]
    v = floats(inputs["v"])  # [B, T, N, V]
    a = floats(inputs["a"])  # [B, T, N]
    b = floats(inputs["b"])  # [B, T, N]
    state = starting(params, state, batch)

    def advance_S(S, at):
        k, b, a, v, q = at
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        S_next_product = b[..., None, None] * (k[..., None] * einsum("bnk,bnkv->bnv", k, S)[..., None, :])
        S_next = (
            a[..., None, None] * (S - S_next_product)
            + b[..., None, None] * (k[..., None] * v[..., None, :])
        )
        # std/gated_delta.lsrl:9  output o = q @ S'
        o = einsum("bnk,bnkv->bnv", q, S_next)  # [B, N, V]
        return S_next, o

    S_last, o = over_time(advance_S, state["S"], (k, b, a, v, q))

    return {"o": o}, {"S": S_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
