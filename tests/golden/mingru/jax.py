"""mingru: Minimal gated recurrent unit (Feng et al., 2024, "Were RNNs all we needed?").

Arrays, by name:
    inputs   x [B, T, D]
    params   Wz, Wh [H, D]; bz, bh [H]
    state    h [B, H]
    outputs  h [B, T, H]

Schedule: 1 product over all positions; h in one `lax.scan`.

Made from std/mingru by
    lsrl compile std/mingru --target jax
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
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "Wz": uniform(keys[0], (H, D), minval=-1 / math.sqrt(D), maxval=1 / math.sqrt(D)),
        "Wh": uniform(keys[1], (H, D), minval=-1 / math.sqrt(D), maxval=1 / math.sqrt(D)),
        "bz": jnp.zeros((H,), jnp.float32),
        "bh": jnp.zeros((H,), jnp.float32),
    }


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {"h": jnp.zeros((batch, H), jnp.float32)}


def h_steps(reads, statics, starts, length):
    """h over time: what is kept, the last states, what the adjoint needs.

        reads    one_minus_z, z_c [B, T, H]
        starts   h [B, H]
        kept     h_next [B, T, H]
    """
    one_minus_z, z_c = reads
    (h_first,) = starts

    def advance_h(h, at):
        one_minus_z, z_c = at
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        h_next = one_minus_z * h + z_c
        return h_next, h_next

    h_last, h_next = over_time(advance_h, h_first, (one_minus_z, z_c))

    return (h_next,), (h_last,), (one_minus_z, h_next, h_first)


def h_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `h_loop`: from cotangents of its results to those of its arguments."""
    one_minus_z, h_next, h_first = saved
    (d_h_next,) = d_kept
    (d_h_last,) = d_lasts
    h, _ = later(h_first, h_next)

    def advance_d_h(d_h, at):
        d_h_next, one_minus_z = at
        d_z_c = d_h + d_h_next
        d_h_next_2 = one_minus_z * d_z_c
        return d_h_next_2, d_z_c

    d_h_last_2, d_z_c = over_time(advance_d_h, d_h_last, (d_h_next, one_minus_z), reverse=True)

    d_one_minus_z = d_z_c * h

    return (d_one_minus_z, d_z_c), (), (d_h_last_2,)


h_loop = differentiable(h_steps, h_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["x"])[:2]
    Wz = floats(params["Wz"])  # [H, D]
    Wh = floats(params["Wh"])  # [H, D]
    bz = floats(params["bz"])  # [H]
    bh = floats(params["bh"])  # [H]
    x = floats(inputs["x"])  # [B, T, D]
    state = starting(params, state, batch)

    Wz_x, Wh_x = jnp.split(einsum("btd,gd->btg", x, jnp.concatenate([Wz, Wh])), 2, axis=-1)  # [B, T, H]
    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    z = jax.nn.sigmoid(Wz_x + bz)
    # std/mingru.lsrl:10  c = Wh @ x + bh
    c = Wh_x + bh
    # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
    one_minus_z = 1 - z
    z_c = z * c

    (h_next,), (h_last,) = h_loop((one_minus_z, z_c), (), (state["h"],), length)

    return {"h": h_next}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
