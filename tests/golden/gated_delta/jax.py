"""gated_delta: Gated delta rule (Yang et al., 2025, "Gated Delta Networks", equation 10).

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; a, b [B, T, N]
    state    S [B, N, K, V]
    outputs  o [B, T, N, V]

Schedule: S in one `lax.scan`.
Kept for the backward pass: S at every position.

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
    return {"S": jnp.zeros((batch, N, K, V), jnp.float32)}


def S_steps(reads, statics, starts, length):
    """S over time: what is kept, the last states, what the adjoint needs.

        reads    q, k [B, T, N, K]; v [B, T, N, V]; a, b [B, T, N]
        starts   S [B, N, K, V]
        kept     o [B, T, N, V]
    """
    q, k, v, a, b = reads
    (S_first,) = starts

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
        return S_next, (S, o)

    S_last, (S, o) = over_time(advance_S, S_first, (k, b, a, v, q))

    return (o,), (S_last,), (q, a, S, b, k, v)


def S_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `S_loop`: from cotangents of its results to those of its arguments."""
    q, a, S, b, k, v = saved
    (d_o,) = d_kept
    (d_S_last,) = d_lasts

    # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
    k_S = einsum("btnk,btnkv->btnv", k, S)  # [B, T, N, V]

    def advance_d_S(d_S, at):
        q, d_o, b, v, a, k, S, k_S = at
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        k_k_S = k[..., None] * k_S[..., None, :]  # [B, N, K, V]
        d_S_plus_q_d_o = d_S + q[..., None] * d_o[..., None, :]
        b_wide_d_S_plus_q_d_o = b[..., None, None] * d_S_plus_q_d_o
        a_wide_d_S_plus_q_d_o = a[..., None, None] * d_S_plus_q_d_o
        minus_a_wide_d_S_plus_q_d_o = -a_wide_d_S_plus_q_d_o
        d_k_product = b[..., None, None] * minus_a_wide_d_S_plus_q_d_o
        d_k_sum = (
            einsum("bnkv,bnv->bnk", b_wide_d_S_plus_q_d_o, v)
            + einsum("bnkv,bnv->bnk", d_k_product, k_S)
        )
        k_d_k_product = einsum("bnk,bnkv->bnv", k, d_k_product)  # [B, N, V]
        d_k = d_k_sum + einsum("bnv,bnkv->bnk", k_d_k_product, S)
        d_v = einsum("bnk,bnkv->bnv", k, b_wide_d_S_plus_q_d_o)  # [B, N, V]
        d_a = jnp.sum(d_S_plus_q_d_o * (S - b[..., None, None] * k_k_S), axis=(-2, -1))  # [B, N]
        d_b_sum = d_S_plus_q_d_o * (k[..., None] * v[..., None, :]) + minus_a_wide_d_S_plus_q_d_o * k_k_S
        d_b = jnp.sum(d_b_sum, axis=(-2, -1))  # [B, N]
        d_S_next = a_wide_d_S_plus_q_d_o + k[..., None] * k_d_k_product[..., None, :]
        return d_S_next, (d_k, d_v, d_a, d_b)

    d_S_last_2, (d_k, d_v, d_a, d_b) = over_time(
        advance_d_S, d_S_last, (q, d_o, b, v, a, k, S, k_S), reverse=True
    )

    # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
    a_wide = a[..., None, None]  # [B, T, N, K, V]
    b_wide = b[..., None, None]  # [B, T, N, K, V]
    k_k_S = k[..., None] * k_S[..., None, :]  # [B, T, N, K, V]
    S_minus_b_wide_k_k_S = S - b_wide * k_k_S
    k_v = k[..., None] * v[..., None, :]  # [B, T, N, K, V]
    S_next = a_wide * S_minus_b_wide_k_k_S + b_wide * k_v
    d_q = einsum("btnv,btnkv->btnk", d_o, S_next)  # [B, T, N, K]

    return (d_q, d_k, d_v, d_a, d_b), (), (d_S_last_2,)


S_loop = differentiable(S_steps, S_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["q"])[:2]
    q = floats(inputs["q"])  # [B, T, N, K]
    k = floats(inputs["k"])  # [B, T, N, K]
    v = floats(inputs["v"])  # [B, T, N, V]
    a = floats(inputs["a"])  # [B, T, N]
    b = floats(inputs["b"])  # [B, T, N]
    state = starting(params, state, batch)

    (o,), (S_last,) = S_loop((q, k, v, a, b), (), (state["S"],), length)

    return {"o": o}, {"S": S_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
