"""mlstm: Matrix LSTM of xLSTM (Beck et al., 2024, equations 19 to 27), with the running maximum that keeps it
finite.

Keys are scaled by the caller or here, not in both places: the cell takes them as they enter the memory.

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; i, f [B, T, N]
    state    C [B, N, K, V]; n [B, N, K]; m [B, N]
    outputs  h [B, T, N, V]

Schedule: C, n, m in one `lax.scan`.
Kept for the backward pass: C, n, m at every position.

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


@partial(jax.jit, static_argnames=("reverse", "axis"))
def affine_scan(a, b, start, reverse=False, axis=None):
    """`h' = a * h + b` along time, from `start` [B, *shape]: (h', the last h').

    b is [B, T, *shape]; a is a number, or an array whose axes are those of b or of length one (leading ones may be
    missing).  With `axis`, counted from the end, matrices mix that axis of the shape: a has it twice, rows first.
    """
    a = jnp.asarray(a, None if hasattr(a, "dtype") else b.dtype)
    a = a.reshape((1,) * (b.ndim + (axis is not None) - a.ndim) + a.shape)
    return affine_states(a, b, start, reverse, axis, False)


def arriving_states(start, following, reverse=False):
    """What arrives at each position, when `following` is what leaves it."""
    if reverse:
        return jnp.concatenate([following, start[:, None]], axis=1)[:, 1:]
    return jnp.concatenate([start[:, None], following], axis=1)[:, :-1]


def turn_early(axis, h, a, b):
    h = advance_affine(axis, h, a, b)
    return h, h


def turn_late(axis, h, a, b):
    return act(a, h + b, axis), h + b


def affine_states_forward(a, b, start, reverse, axis, late):
    following, last = affine_states(a, b, start, reverse, axis, late)
    return (following, last), (a, start, following)


def affine_states_backward(reverse, axis, late, known, cotangents):
    """The adjoint of a step that acts late acts early, and the other way round."""
    a, start, following = known
    adjoint = a if axis is None else jnp.swapaxes(a, axis - 1, axis)
    db, first = affine_states(adjoint, *cotangents, not reverse, axis, not late)
    if late:
        left, right = arriving_states(cotangents[1], db, not reverse), following
    else:
        left, right = db, arriving_states(start, following, reverse)
    da = left * right if axis is None else jnp.expand_dims(left, axis) * jnp.expand_dims(right, axis - 1)
    return summed_like(a, da), db, first


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def affine_states(a, b, start, reverse, axis, late):
    """h' = a h + b at every position, and the last; `late`: h + b at every position, of which h' is a times that."""
    if jax.default_backend() == "cpu":
        return over_positions(partial(turn_late if late else turn_early, axis), start, (a, b), reverse)
    if late:
        following, last = affine_states(a, act(a, b, axis), start, reverse, axis, False)
        return arriving_states(start, following, reverse) + b, last
    product = jnp.multiply if axis is None else partial(matrices_composed, axis)
    return composed_states(product, partial(advance_affine, axis), a, b, start, reverse)


affine_states.defvjp(affine_states_forward, affine_states_backward)


def over_positions(turn, state, reads, reverse):
    """`turn(state, *reads at a position)` to (state, what is kept), one after the other: (all that is kept, state)."""
    length = reads[-1].shape[1]
    if length == 0:
        return reads[-1], state

    def at(array, place):
        return array[:, 0] if array.shape[1] == 1 else lax.dynamic_index_in_dim(array, place, 1, keepdims=False)

    def step(n, carry):
        state, kept = carry
        place = length - 1 - n if reverse else n
        state, now = turn(state, *(at(array, place) for array in reads))
        return state, lax.dynamic_update_index_in_dim(kept, now, place, 1)

    state, kept = lax.fori_loop(0, length, step, (state, jnp.zeros_like(reads[-1])))
    return kept, state


def composed_states(product, advance, a, b, start, reverse):
    """The states that follow each position, from the composed maps of all positions up to it, and the last."""
    if b.shape[1] == 0:
        return b, start
    maps = jnp.broadcast_to(a, (*a.shape[:1], b.shape[1], *a.shape[2:])), b
    maps = lax.associative_scan(partial(compose, product, advance), maps, reverse=reverse, axis=1)
    following = advance(start[:, None], *maps)
    return following, following[:, 0 if reverse else -1]


def compose(product, advance, first, then):
    """One map of those of two neighbouring pieces, the one that acts first given first."""
    (a1, b1), (a2, b2) = first, then
    return product(a2, a1), advance(b1, a2, b2)


def advance_affine(axis, h, a, b):
    return act(a, h, axis) + b


def act(a, h, axis):
    """a * h, element by element, or a small matrix times h along an axis, column by column as XLA fuses it."""
    if axis is None:
        return a * h
    places = range(h.shape[axis])
    columns = [lax.index_in_dim(a, k, a.ndim + axis, keepdims=False) for k in places]
    return sum(column * lax.slice_in_dim(h, k, k + 1, axis=h.ndim + axis) for k, column in zip(places, columns))


def matrices_composed(axis, left, right):
    """The product of matrices that have rows and columns at `axis - 1` and `axis`."""
    return (jnp.expand_dims(left, axis) * jnp.expand_dims(right, axis - 2)).sum(axis - 1)


def summed_like(array, gradient):
    """The gradient of an array that was repeated along its axes of length one."""
    axes = [i for i, (own, size) in enumerate(zip(array.shape, gradient.shape)) if own == 1 != size]
    total = gradient.sum(axes, keepdims=True) if axes else gradient
    return total if jnp.iscomplexobj(array) else total.real


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
    C_next_wide = exp_lf_plus_m_minus_m_next[..., None, None]  # [B, T, N, K, V]
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
    q_d_q_ratio = q[..., None] * d_q_ratio[..., None, :]  # [B, T, N, K, V]
    C_next_wide_q_d_q_ratio = C_next_wide * q_d_q_ratio

    d_C_next, d_C_last_2 = affine_scan(
        exp_lf_plus_m_minus_m_next[..., None, None], C_next_wide_q_d_q_ratio, d_C_last, reverse=True
    )
    d_C = arriving_states(d_C_last, d_C_next, reverse=True)

    d_q_sum = jnp.sum(-d_q_ratio * h, axis=-1)  # [B, T, N]
    d_q_choice = jnp.where(abs_q_n_next == exp_minus_m_next, d_q_sum * 0.5, 0.0)
    d_q_product = jnp.where(abs_q_n_next > exp_minus_m_next, d_q_sum, d_q_choice) * jnp.sign(q_n_next)
    q_d_q_product = q * d_q_product[..., None]  # [B, T, N, K]
    n_next_wide_q_d_q_product = n_next_wide * q_d_q_product

    d_n_next, d_n_last_2 = affine_scan(
        exp_lf_plus_m_minus_m_next[..., None], n_next_wide_q_d_q_product, d_n_last, reverse=True
    )
    d_n = arriving_states(d_n_last, d_n_next, reverse=True)

    lf_plus_m_above_i = lf_plus_m > i
    lf_plus_m_above_i_float = lf_plus_m_above_i.astype(jnp.float32)
    lf_plus_m_is_i = lf_plus_m == i
    sum_ = lf_plus_m_above_i_float + 0.5 * lf_plus_m_is_i.astype(jnp.float32) * (1 - lf_plus_m_above_i_float)
    d_n_plus_q_d_q_product = d_n + q_d_q_product
    d_C_plus_q_d_q_ratio = d_C + q_d_q_ratio
    d_i_sum = jnp.sum(d_n_plus_q_d_q_product * n, axis=-1) + jnp.sum(d_C_plus_q_d_q_ratio * C, axis=(-2, -1))
    d_i_product = d_i_sum * exp_lf_plus_m_minus_m_next
    d_i_product_2 = jnp.where(exp_minus_m_next > abs_q_n_next, d_q_sum, d_q_choice) * exp_minus_m_next
    # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
    k_v = k[..., None] * v[..., None, :]  # [B, T, N, K, V]
    d_i_sum_2 = (
        jnp.sum(d_n_plus_q_d_q_product * k, axis=-1)
        + jnp.sum(d_C_plus_q_d_q_ratio * k_v, axis=(-2, -1))
    )
    d_i_sum_2_exp_i_minus_m_next = d_i_sum_2 * exp_i_minus_m_next
    difference = -d_i_product_2 - d_i_sum_2_exp_i_minus_m_next - d_i_product
    choice = jnp.where(lf_plus_m_is_i, difference * 0.5, jnp.zeros((N,), jnp.float32))
    sum__2 = d_i_product + jnp.where(lf_plus_m_above_i, difference, choice)

    d_m_next, d_m_last_2 = affine_scan(sum_, sum__2, d_m_last, reverse=True)
    d_m = arriving_states(d_m_last, d_m_next, reverse=True)

    # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
    C_next = C_next_wide * C + exp_i_minus_m_next[..., None, None] * k_v
    d_q = d_q_product[..., None] * n_next + einsum("btnv,btnkv->btnk", d_q_ratio, C_next)
    d_k_product = exp_i_minus_m_next[..., None, None] * d_C_plus_q_d_q_ratio
    d_k = exp_i_minus_m_next_wide * d_n_plus_q_d_q_product + einsum("btnkv,btnv->btnk", d_k_product, v)
    d_v = einsum("btnk,btnkv->btnv", k, d_k_product)  # [B, T, N, V]
    d_i_difference = d_m - d_i_product_2 - d_i_sum_2_exp_i_minus_m_next - d_i_product
    d_i_choice = jnp.where(lf_plus_m_is_i, d_i_difference * 0.5, 0.0)
    d_i = d_i_sum_2_exp_i_minus_m_next + jnp.where(i > lf_plus_m, d_i_difference, d_i_choice)

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
