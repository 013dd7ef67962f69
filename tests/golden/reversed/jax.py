"""tagger

Arrays, by name:
    inputs   token [B, T] int
    params   E [V, D]; gru.W_ih [3*H, D]; gru.W_hh [3*H, H]; gru.b_ih, gru.b_hh [3*H]; mingru.Wz,
             mingru.Wh [H, D]; mingru.bz, mingru.bh [H]
    state    gru.h, mingru.h [B, H]
    outputs  y [B, T, 2*H]

Schedule: 1 product over all positions; gru.h in one `lax.scan`; mingru.h in one `lax.scan` from the end to
    the start.
There is no `step`: mingru.h arrives from the end of the sequence.

Made from reversed.lsrl by
    lsrl compile reversed.lsrl --target jax
It needs nothing but jax.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

V, D, H = 7, 3, 5

ints = partial(jnp.asarray, dtype=jnp.int32)
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
    keys = jax.random.split(jax.random.key(seed), 7)
    return {
        "E": normal(keys[0], (V, D)),
        "gru.W_ih": uniform(keys[1], (3 * H, D), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "gru.W_hh": uniform(keys[2], (3 * H, H), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "gru.b_ih": uniform(keys[3], (3 * H,), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "gru.b_hh": uniform(keys[4], (3 * H,), minval=-1 / math.sqrt(H), maxval=1 / math.sqrt(H)),
        "mingru.Wz": uniform(keys[5], (H, D), minval=-1 / math.sqrt(D), maxval=1 / math.sqrt(D)),
        "mingru.Wh": uniform(keys[6], (H, D), minval=-1 / math.sqrt(D), maxval=1 / math.sqrt(D)),
        "mingru.bz": jnp.zeros((H,), jnp.float32),
        "mingru.bh": jnp.zeros((H,), jnp.float32),
    }


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {"gru.h": jnp.zeros((batch, H), jnp.float32), "mingru.h": jnp.zeros((batch, H), jnp.float32)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch = jnp.shape(inputs["token"])[0]
    E = floats(params["E"])  # [V, D]
    gru_W_ih = floats(params["gru.W_ih"])  # [3*H, D]
    gru_W_hh = floats(params["gru.W_hh"])  # [3*H, H]
    gru_b_ih = floats(params["gru.b_ih"])  # [3*H]
    gru_b_hh = floats(params["gru.b_hh"])  # [3*H]
    mingru_Wz = floats(params["mingru.Wz"])  # [H, D]
    mingru_Wh = floats(params["mingru.Wh"])  # [H, D]
    mingru_bz = floats(params["mingru.bz"])  # [H]
    mingru_bh = floats(params["mingru.bh"])  # [H]
    token = ints(inputs["token"])  # [B, T]
    state = starting(params, state, batch)

    # <text>:7  x = E[token]
    x = jnp.take(E, token, axis=0, mode="clip")  # [B, T, D]
    gru_W_ih_x, mingru_Wz_x, mingru_Wh_x = jnp.split(
        einsum("btd,gd->btg", x, jnp.concatenate([gru_W_ih, mingru_Wz, mingru_Wh])), [3 * H, 4 * H], axis=-1
    )
    # std/gru.lsrl:13  xr, xz, xn = split(W_ih @ x + b_ih, 3)
    gru_xr, gru_xz, gru_xn = jnp.split(gru_W_ih_x + gru_b_ih, 3, axis=-1)  # [B, T, H]

    def advance_gru_h(h, at):
        xz, xr, xn = at
        # std/gru.lsrl:14  hr, hz, hn = split(W_hh @ h + b_hh, 3)
        hr, hz, hn = jnp.split(einsum("bh,gh->bg", h, gru_W_hh) + gru_b_hh, 3, axis=-1)  # [B, H]
        # std/gru.lsrl:15  r = sigmoid(xr + hr)
        r = jax.nn.sigmoid(xr + hr)
        # std/gru.lsrl:16  z = sigmoid(xz + hz)
        z = jax.nn.sigmoid(xz + hz)
        # std/gru.lsrl:17  n = tanh(xn + r * hn)
        n = jnp.tanh(xn + r * hn)
        # std/gru.lsrl:18  h' = (1 - z) * n + z * h
        h_next = (1 - z) * n + z * h
        return h_next, h_next

    gru_h_last, gru_h_next = over_time(advance_gru_h, state["gru.h"], (gru_xz, gru_xr, gru_xn))

    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    mingru_z = jax.nn.sigmoid(mingru_Wz_x + mingru_bz)
    # std/mingru.lsrl:10  c = Wh @ x + bh
    mingru_c = mingru_Wh_x + mingru_bh
    # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
    mingru_one_minus_z = 1 - mingru_z
    mingru_z_c = mingru_z * mingru_c

    def advance_mingru_h(h, at):
        one_minus_z, z_c = at
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        h_next = one_minus_z * h + z_c
        return h_next, h_next

    mingru_h_last, mingru_h_next = over_time(
        advance_mingru_h, state["mingru.h"], (mingru_one_minus_z, mingru_z_c), reverse=True
    )

    # <text>:8  y = concat(gru(D, H)(x), reverse mingru(D, H)(x))
    y = jnp.concatenate([gru_h_next, mingru_h_next], axis=-1)  # [B, T, 2*H]

    return {"y": y}, {"gru.h": gru_h_last, "mingru.h": mingru_h_last}
