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


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch = jnp.shape(inputs["q"])[0]
    q = floats(inputs["q"])  # [B, T, N, K]
    k = floats(inputs["k"])  # [B, T, N, K]
    v = floats(inputs["v"])  # [B, T, N, V]
    i = floats(inputs["i"])  # [B, T, N]
    f = floats(inputs["f"])  # [B, T, N]
    state = starting(params, state, batch)

    # std/mlstm.lsrl:10  lf = logsigmoid(f)
    lf = jax.nn.log_sigmoid(f)

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
        return (C_next, n_next, m_next), h

    (C_last, n_last, m_last), h = over_time(
        advance_C_n_m, (state["C"], state["n"], state["m"]), (lf, i, k, v, q)
    )

    return {"h": h}, {"C": C_last, "n": n_last, "m": m_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: array[:, 0] for name, array in outputs.items()}, state
