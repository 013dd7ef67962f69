"""noisy

Arrays, by name:
    inputs   x, eps, mask [B, T, D]
    params   scale, width []
    state    h [B, D]
    outputs  h [B, T, D]

Schedule: h in one `lax.scan`.

Made from noisy.lsrl by
    lsrl compile noisy.lsrl --target jax
It needs nothing but jax.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

D = 3

normal = partial(jax.random.normal, dtype=jnp.float32)
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


def noise_key(key, name, number):
    """The random key of one noise."""
    if key is None:
        raise ValueError(f"the noise {name} is not among the inputs, and without `key` it cannot be drawn")
    return jax.random.fold_in(key, number)


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
    return {"scale": jnp.full((), 2.0, jnp.float32), "width": jnp.full((), 2.0, jnp.float32)}


def initial_state(params, batch):
    """Every state before the first position, [B, ...] by name."""
    return {"h": jnp.zeros((batch, D), jnp.float32)}


def h_steps(reads, statics, starts, length):
    """h over time: what is kept, the last states, what the adjoint needs.

        reads    scale_eps, mask_x [B, T, D]
        starts   h [B, D]
        kept     h_next [B, T, D]
    """
    scale_eps, mask_x = reads
    (h_first,) = starts

    def advance_h(h, at):
        scale_eps, mask_x = at
        # <text>:8  h' = 0.5 * h + scale * eps + mask * x
        h_next = 0.5 * h + scale_eps + mask_x
        return h_next, h_next

    h_last, h_next = over_time(advance_h, h_first, (scale_eps, mask_x))

    return (h_next,), (h_last,), ()


def h_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `h_loop`: from cotangents of its results to those of its arguments."""
    (d_h_next,) = d_kept
    (d_h_last,) = d_lasts

    def advance_d_h(d_h, d_h_next):
        d_scale_eps = d_h + d_h_next
        d_h_next_2 = 0.5 * d_scale_eps
        return d_h_next_2, d_scale_eps

    d_h_last_2, d_scale_eps = over_time(advance_d_h, d_h_last, d_h_next, reverse=True)

    return (d_scale_eps, d_scale_eps), (), (d_h_last_2,)


h_loop = differentiable(h_steps, h_adjoint)


def apply(params, inputs, state=None, key=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    Noise is an input that may be left out: it is then drawn with `key`.
    """
    batch, length = jnp.shape(inputs["x"])[:2]
    scale = floats(params["scale"])  # []
    width = floats(params["width"])  # []
    x = floats(inputs["x"])  # [B, T, D]
    eps = floats(
        inputs["eps"] if "eps" in inputs else width * normal(noise_key(key, "eps", 0), (batch, length, D))
    )  # [B, T, D]
    mask = floats(
        inputs["mask"]
        if "mask" in inputs
        else jax.random.bernoulli(noise_key(key, "mask", 1), 0.5, (batch, length, D)).astype(jnp.float32)
    )  # [B, T, D]
    state = starting(params, state, batch)

    # <text>:8  h' = 0.5 * h + scale * eps + mask * x
    scale_eps = scale * eps
    mask_x = mask * x

    (h_next,), (h_last,) = h_loop((scale_eps, mask_x), (), (state["h"],), length)

    return {"h": h_next}, {"h": h_last}


def step(params, inputs, state, key=None):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state, key=key)
    return {name: array[:, 0] for name, array in outputs.items()}, state
