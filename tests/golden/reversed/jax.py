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
Kept for the backward pass: gru.h at every position; mingru.h at every position.

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


def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = jnp.concatenate([first[:, None], sequence], axis=1)
    return whole[:, :-1], whole[:, -1]


def earlier(last, sequence):
    """The sequence one position earlier, `last` at the end, and the element that falls off its front."""
    whole = jnp.concatenate([sequence, last[:, None]], axis=1)
    return whole[:, 1:], whole[:, 0]


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


def gru_h_steps(reads, statics, starts, length):
    """gru.h over time: what is kept, the last states, what the adjoint needs.

        reads    gru_xz, gru_xr, gru_xn [B, T, H]
        statics  gru_W_hh [3*H, H]; gru_b_hh [3*H]
        starts   gru.h [B, H]
        kept     gru_h_next [B, T, H]
    """
    gru_xz, gru_xr, gru_xn = reads
    gru_W_hh, gru_b_hh = statics
    (gru_h_first,) = starts

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

    gru_h_last, gru_h_next = over_time(advance_gru_h, gru_h_first, (gru_xz, gru_xr, gru_xn))

    return (gru_h_next,), (gru_h_last,), (gru_xz, gru_W_hh, gru_b_hh, gru_xn, gru_xr, gru_h_next, gru_h_first)


def gru_h_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `gru_h_loop`: from cotangents of its results to those of its arguments."""
    gru_xz, gru_W_hh, gru_b_hh, gru_xn, gru_xr, gru_h_next, gru_h_first = saved
    (d_gru_h_next,) = d_kept
    (d_gru_h_last,) = d_lasts
    gru_h, _ = later(gru_h_first, gru_h_next)

    # std/gru.lsrl:14  hr, hz, hn = split(W_hh @ h + b_hh, 3)
    gru_hr, gru_hz, gru_hn = jnp.split(einsum("bth,gh->btg", gru_h, gru_W_hh) + gru_b_hh, 3, axis=-1)
    # std/gru.lsrl:15  r = sigmoid(xr + hr)
    gru_r = jax.nn.sigmoid(gru_xr + gru_hr)
    # std/gru.lsrl:16  z = sigmoid(xz + hz)
    gru_z = jax.nn.sigmoid(gru_xz + gru_hz)
    # std/gru.lsrl:17  n = tanh(xn + r * hn)
    gru_n = jnp.tanh(gru_xn + gru_r * gru_hn)

    def advance_d_gru_h(h, at):
        h_next, gru_h, gru_r, gru_hn, gru_n, gru_z = at
        h_plus_h_next = h + h_next
        xz = (h_plus_h_next * gru_h - h_plus_h_next * gru_n) * (gru_z * (1.0 - gru_z))
        xn = (1 - gru_z) * h_plus_h_next * (1.0 - gru_n * gru_n)
        xr = xn * gru_hn * (gru_r * (1.0 - gru_r))
        b_hh = jnp.concatenate([xr, xz, gru_r * xn], axis=-1)  # [B, 3*H]
        h_next_2 = gru_z * h_plus_h_next + einsum("bg,gh->bh", b_hh, gru_W_hh)
        return h_next_2, (xz, xn, xr, b_hh)

    d_gru_h_last_2, (d_gru_xz, d_gru_xn, d_gru_xr, d_gru_b_hh) = over_time(
        advance_d_gru_h, d_gru_h_last, (d_gru_h_next, gru_h, gru_r, gru_hn, gru_n, gru_z), reverse=True
    )

    return (
        (d_gru_xz, d_gru_xr, d_gru_xn),
        (einsum("btg,bth->gh", d_gru_b_hh, gru_h), d_gru_b_hh.sum((0, 1))),
        (d_gru_h_last_2,),
    )


gru_h_loop = differentiable(gru_h_steps, gru_h_adjoint)


def mingru_h_steps(reads, statics, starts, length):
    """mingru.h over time, from the last position to the first: what is kept, the last states, what the adjoint needs.

        reads    mingru_one_minus_z, mingru_z_c [B, T, H]
        starts   mingru.h [B, H]
        kept     mingru_h_next [B, T, H]
    """
    mingru_one_minus_z, mingru_z_c = reads
    (mingru_h_first,) = starts

    def advance_mingru_h(h, at):
        one_minus_z, z_c = at
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        h_next = one_minus_z * h + z_c
        return h_next, h_next

    mingru_h_last, mingru_h_next = over_time(
        advance_mingru_h, mingru_h_first, (mingru_one_minus_z, mingru_z_c), reverse=True
    )

    return (mingru_h_next,), (mingru_h_last,), (mingru_one_minus_z, mingru_h_next, mingru_h_first)


def mingru_h_adjoint(saved, d_kept, d_lasts, length):
    """The adjoint of `mingru_h_loop`: from cotangents of its results to those of its arguments."""
    mingru_one_minus_z, mingru_h_next, mingru_h_first = saved
    (d_mingru_h_next,) = d_kept
    (d_mingru_h_last,) = d_lasts
    mingru_h, _ = earlier(mingru_h_first, mingru_h_next)

    product = mingru_one_minus_z * d_mingru_h_next

    d_mingru_h_next_2, d_mingru_h_last_2 = affine_scan(mingru_one_minus_z, product, d_mingru_h_last)
    d_mingru_h = arriving_states(d_mingru_h_last, d_mingru_h_next_2)

    d_mingru_z_c = d_mingru_h + d_mingru_h_next
    d_mingru_one_minus_z = d_mingru_z_c * mingru_h

    return (d_mingru_one_minus_z, d_mingru_z_c), (), (d_mingru_h_last_2,)


mingru_h_loop = differentiable(mingru_h_steps, mingru_h_adjoint)


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = jnp.shape(inputs["token"])[:2]
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

    (gru_h_next,), (gru_h_last,) = gru_h_loop(
        (gru_xz, gru_xr, gru_xn), (gru_W_hh, gru_b_hh), (state["gru.h"],), length
    )

    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    mingru_z = jax.nn.sigmoid(mingru_Wz_x + mingru_bz)
    # std/mingru.lsrl:10  c = Wh @ x + bh
    mingru_c = mingru_Wh_x + mingru_bh
    # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
    mingru_one_minus_z = 1 - mingru_z
    mingru_z_c = mingru_z * mingru_c

    (mingru_h_next,), (mingru_h_last,) = mingru_h_loop(
        (mingru_one_minus_z, mingru_z_c), (), (state["mingru.h"],), length
    )

    # <text>:8  y = concat(gru(D, H)(x), reverse mingru(D, H)(x))
    y = jnp.concatenate([gru_h_next, mingru_h_next], axis=-1)  # [B, T, 2*H]

    return {"y": y}, {"gru.h": gru_h_last, "mingru.h": mingru_h_last}
