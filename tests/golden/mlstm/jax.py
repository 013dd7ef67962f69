"""mlstm: Matrix LSTM of xLSTM (Beck et al., 2024, equations 19 to 27), with the running maximum that keeps it
finite.

Keys are scaled by the caller or here, not in both places: the cell takes them as they enter the memory.

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; i, f [B, T, N]
    state    C [B, N, K, V]; n [B, N, K]; m [B, N]
    outputs  h [B, T, N, V]

Schedule: C, n, m in one `lax.scan`.

Made from std/mlstm by
    lsrl compile std/mlstm --target jax
It needs nothing but jax.
"""

import math
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
        "C": jnp.zeros((batch, N, K, V), jnp.float32),
        "n": jnp.zeros((batch, N, K), jnp.float32),
        "m": jnp.full((batch, N), -math.inf, jnp.float32),
    }


def C_n_m_steps(reads, statics, starts, length):
    """C, n, m over time: what is kept, the last states, what the adjoint needs.

        reads    q, k [B, T, N, K]; v [B, T, N, V]; i, lf [B, T, N]
        starts   C [B, N, K, V]; n [B, N, K]; m [B, N]
        kept     h [B, T, N, V]
    """
    q, k, v, i, lf = reads
    C_first, n_first, m_first = starts

    def advance_C_n_m(state, at):
        C, n, m = state
        lf, i, k, v, q = at
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        lf_plus_m = lf + m
        m_next = jnp.maximum(lf_plus_m, i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        exp_lf_plus_m_minus_m_next = jnp.exp(lf_plus_m - m_next)
        exp_i_minus_m_next = jnp.exp(i - m_next)
        C_next = (
            exp_lf_plus_m_minus_m_next[..., None, None] * C
            + exp_i_minus_m_next[..., None, None] * (k[..., None] * v[..., None, :])
        )
        # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
        n_next = exp_lf_plus_m_minus_m_next[..., None] * n + exp_i_minus_m_next[..., None] * k
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        h_wide = jnp.maximum(jnp.abs(einsum("bnk,bnk->bn", q, n_next)), jnp.exp(-m_next))[..., None]
        h = einsum("bnk,bnkv->bnv", q, C_next) / h_wide
        return (C_next, n_next, m_next), (m, C, n, h)

    (C_last, n_last, m_last), (m, C, n, h) = over_time(
        advance_C_n_m, (C_first, n_first, m_first), (lf, i, k, v, q)
    )

    return (h,), (C_last, n_last, m_last), (q, lf, m, i, C, k, v, n, h)


def C_n_m_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `C_n_m_loop`: from cotangents of its results to those of its arguments."""
    q, lf, m, i, C, k, v, n, h = saved
    (d_h,) = d_kept
    d_C_last, d_n_last, d_m_last = d_lasts

    # std/mlstm.lsrl:11  m' = max(lf + m, i)
    lf_plus_m = lf + m
    m_next = jnp.maximum(lf_plus_m, i)
    # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
    exp_lf_plus_m_minus_m_next = jnp.exp(lf_plus_m - m_next)
    exp_i_minus_m_next = jnp.exp(i - m_next)
    # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
    n_next_wide = exp_lf_plus_m_minus_m_next[..., None]  # [B, T, N, K]
    exp_i_minus_m_next_wide = exp_i_minus_m_next[..., None]  # [B, T, N, K]
    n_next = n_next_wide * n + exp_i_minus_m_next_wide * k
    # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
    q_n_next = einsum("btnk,btnk->btn", q, n_next)  # [B, T, N]
    abs_q_n_next = jnp.abs(q_n_next)
    exp_minus_m_next = jnp.exp(-m_next)
    d_q_ratio = d_h / jnp.maximum(abs_q_n_next, exp_minus_m_next)[..., None]
    d_q_sum = jnp.sum(-d_q_ratio * h, axis=-1)  # [B, T, N]
    d_q_choice = jnp.where(abs_q_n_next == exp_minus_m_next, d_q_sum * 0.5, 0.0)
    d_q_product = jnp.where(abs_q_n_next > exp_minus_m_next, d_q_sum, d_q_choice) * jnp.sign(q_n_next)
    d_i_product = jnp.where(exp_minus_m_next > abs_q_n_next, d_q_sum, d_q_choice) * exp_minus_m_next

    def advance_d_C_d_n_d_m(state, at):
        d_C, d_n, d_m = state
        q, lf_plus_m, i, n, k, d_q_ratio, d_q_product, v, d_i_product, C = at
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        m_next = jnp.maximum(lf_plus_m, i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        exp_lf_plus_m_minus_m_next = jnp.exp(lf_plus_m - m_next)
        exp_i_minus_m_next = jnp.exp(i - m_next)
        d_n_plus_q_d_q_product = d_n + q * d_q_product[..., None]
        d_C_plus_q_d_q_ratio = d_C + q[..., None] * d_q_ratio[..., None, :]
        d_k_product = exp_i_minus_m_next[..., None, None] * d_C_plus_q_d_q_ratio
        d_k = exp_i_minus_m_next[..., None] * d_n_plus_q_d_q_product + einsum("bnkv,bnv->bnk", d_k_product, v)
        d_v = einsum("bnk,bnkv->bnv", k, d_k_product)  # [B, N, V]
        d_i_sum = jnp.sum(d_C_plus_q_d_q_ratio * (k[..., None] * v[..., None, :]), axis=(-2, -1))  # [B, N]
        d_i_product_2 = (jnp.sum(d_n_plus_q_d_q_product * k, axis=-1) + d_i_sum) * exp_i_minus_m_next
        d_i_sum_2 = (
            jnp.sum(d_n_plus_q_d_q_product * n, axis=-1)
            + jnp.sum(d_C_plus_q_d_q_ratio * C, axis=(-2, -1))
        )
        d_i_product_3 = d_i_sum_2 * exp_lf_plus_m_minus_m_next
        d_i_difference = d_m - d_i_product - d_i_product_2 - d_i_product_3
        d_i_choice = jnp.where(lf_plus_m == i, d_i_difference * 0.5, 0.0)
        d_i = d_i_product_2 + jnp.where(i > lf_plus_m, d_i_difference, d_i_choice)
        d_m_next = d_i_product_3 + jnp.where(lf_plus_m > i, d_i_difference, d_i_choice)
        d_C_next = exp_lf_plus_m_minus_m_next[..., None, None] * d_C_plus_q_d_q_ratio
        d_n_next = exp_lf_plus_m_minus_m_next[..., None] * d_n_plus_q_d_q_product
        return (d_C_next, d_n_next, d_m_next), (d_k, d_v, d_i, d_m_next)

    (d_C_last_2, d_n_last_2, d_m_last_2), (d_k, d_v, d_i, d_m_next) = over_time(
        advance_d_C_d_n_d_m,
        (d_C_last, d_n_last, d_m_last),
        (q, lf_plus_m, i, n, k, d_q_ratio, d_q_product, v, d_i_product, C),
        reverse=True,
    )

    # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
    C_next_wide = exp_lf_plus_m_minus_m_next[..., None, None]  # [B, T, N, K, V]
    exp_i_minus_m_next_wide_2 = exp_i_minus_m_next[..., None, None]  # [B, T, N, K, V]
    k_v = k[..., None] * v[..., None, :]  # [B, T, N, K, V]
    C_next = C_next_wide * C + exp_i_minus_m_next_wide_2 * k_v
    d_q = d_q_product[..., None] * n_next + einsum("btnv,btnkv->btnk", d_q_ratio, C_next)

    return (d_q, d_k, d_v, d_i, d_m_next), (), (d_C_last_2, d_n_last_2, d_m_last_2)


C_n_m_loop = differentiable(C_n_m_steps, C_n_m_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["q"])[:2]
    q = floats(inputs["q"])  # [B, T, N, K]
    k = floats(inputs["k"])  # [B, T, N, K]
    v = floats(inputs["v"])  # [B, T, N, V]
    i = floats(inputs["i"])  # [B, T, N]
    f = floats(inputs["f"])  # [B, T, N]
    state = starting(params, state, batch)

    # std/mlstm.lsrl:10  lf = logsigmoid(f)
    lf = jax.nn.log_sigmoid(f)

    (h,), (C_last, n_last, m_last) = C_n_m_loop(
        (q, k, v, i, lf), (), (state["C"], state["n"], state["m"]), length
    )

    return {"h": h}, {"C": C_last, "n": n_last, "m": m_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
