"""lru: Linear recurrent unit with a complex diagonal transition (Orvieto et al., 2023, "Resurrecting RNNs").

Arrays, by name:
    inputs   x [B, T, D]
    params   nu, theta, gamma [N]; B [N, D] complex; C [D, N] complex; d [D]
    state    h [B, N] complex
    outputs  y [B, T, D]

Schedule: 1 product over all positions; h in one `lax.scan`; 1 product over all positions.

Made from std/lru by
    lsrl compile std/lru --target jax
It needs nothing but jax.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

D, N = 3, 5

complexes = partial(jnp.asarray, dtype=jnp.complex64)
uniform = partial(jax.random.uniform, dtype=jnp.float32)
normal = partial(jax.random.normal, dtype=jnp.float32)
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
    keys = jax.random.split(jax.random.key(seed), 8)
    return {
        "nu": uniform(keys[0], (N,), minval=-3, maxval=-1),
        "theta": uniform(keys[1], (N,), minval=-3, maxval=1),
        "gamma": uniform(keys[2], (N,), minval=-2, maxval=0),
        "B": (
            1 / math.sqrt(2 * D) * normal(keys[3], (N, D))
            + 1j * (1 / math.sqrt(2 * D) * normal(keys[4], (N, D)))
        ),
        "C": 1 / math.sqrt(N) * normal(keys[5], (D, N)) + 1j * (1 / math.sqrt(N) * normal(keys[6], (D, N))),
        "d": normal(keys[7], (D,)),
    }


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {"h": jnp.zeros((batch, N), jnp.complex64)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch = jnp.shape(inputs["x"])[0]
    nu = floats(params["nu"])  # [N]
    theta = floats(params["theta"])  # [N]
    gamma = floats(params["gamma"])  # [N]
    B = complexes(params["B"])  # [N, D]
    C = complexes(params["C"])  # [D, N]
    d = floats(params["d"])  # [D]
    x = floats(inputs["x"])  # [B, T, D]
    state = starting(params, state, batch)

    # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
    exp_gamma_B_x = jnp.exp(gamma) * einsum("btd,nd->btn", x, B)

    # std/lru.lsrl:13  a = exp(-exp(nu)) * cis(exp(theta))
    a = jnp.exp(-jnp.exp(nu)) * jnp.exp(1j * jnp.exp(theta))

    def advance_h(h, exp_gamma_B_x):
        # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
        h_next = a * h + exp_gamma_B_x
        return h_next, h_next

    h_last, h_next = over_time(advance_h, state["h"], exp_gamma_B_x)

    # std/lru.lsrl:16  output y = re(C @ h') + d * x
    y = jnp.real(einsum("btn,dn->btd", h_next, C)) + d * x

    return {"y": y}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
