"""What people write by hand in JAX: the plain step under `lax.scan`, and `associative_scan` of a linear recurrence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Arrays = dict[str, jax.Array]


def diagonal_step(inputs: Arrays) -> jax.Array:
    """`h' = a h + x`, position by position; [T, B, D], which is the faster layout for it."""

    def step(h: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        a, x = at
        h = a * h + x
        return h, h

    _, h = lax.scan(step, jnp.zeros_like(inputs["x"][0]), (inputs["a"], inputs["x"]))
    return h


def diagonal_tree(inputs: Arrays) -> jax.Array:
    """The same by composing the steps' maps in a tree; [T, B, D]."""

    def compose(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * then[0], then[0] * first[1] + then[1]

    return lax.associative_scan(compose, (inputs["a"], inputs["x"]), axis=0)[1]


def gated_delta_step(inputs: Arrays) -> jax.Array:
    """The gated delta rule (Yang et al., 2025, equation 10), by position; q, k [B, T, N, K], v [B, T, N, V]."""

    def step(S: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q, k, v, a, b = at
        S = a[..., None, None] * S
        error = v - jnp.einsum("bnk,bnkv->bnv", k, S)
        S = S + jnp.einsum("bn,bnk,bnv->bnkv", b, k, error)
        return S, jnp.einsum("bnk,bnkv->bnv", q, S)

    reads = tuple(jnp.swapaxes(inputs[name], 0, 1) for name in ("q", "k", "v", "a", "b"))
    batch, _, heads, width = inputs["k"].shape
    start = jnp.zeros((batch, heads, width, inputs["v"].shape[-1]), inputs["v"].dtype)
    return jnp.swapaxes(lax.scan(step, start, reads)[1], 0, 1)


def gru_step(inputs: Arrays) -> jax.Array:
    """A GRU without coupling between units (Danieli et al., 2025, ParaGRU), its input parts given; [T, B, D]."""

    def step(h: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        uz, ur, uh = at
        z = jax.nn.sigmoid(inputs["az"] * h + uz)
        r = jax.nn.sigmoid(inputs["ar"] * h + ur)
        h = z * jnp.tanh(inputs["ah"] * (h * r) + uh) + (1 - z) * h
        return h, h

    reads = tuple(inputs[name] for name in ("uz", "ur", "uh"))
    return lax.scan(step, jnp.zeros_like(reads[0][0]), reads)[1]


def lstm(inputs: Arrays) -> jax.Array:
    """The LSTM of std/lstm, the product with its inputs over all positions at once; x [T, B, D]."""

    def step(state: tuple[jax.Array, jax.Array], drive: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        h, c = state
        i, f, g, o = jnp.split(drive + h @ inputs["W_hh"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    drive = inputs["x"] @ inputs["W_ih"].T + inputs["b_ih"] + inputs["b_hh"]
    zero = jnp.zeros((drive.shape[1], inputs["W_hh"].shape[1]))
    return lax.scan(step, (zero, zero), drive)[1]


def gru(inputs: Arrays) -> jax.Array:
    """The GRU of std/gru, in the same way."""

    def step(h: jax.Array, drive: jax.Array) -> tuple[jax.Array, jax.Array]:
        xr, xz, xn = jnp.split(drive, 3, -1)
        hr, hz, hn = jnp.split(h @ inputs["W_hh"].T + inputs["b_hh"], 3, -1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
        return h, h

    drive = inputs["x"] @ inputs["W_ih"].T + inputs["b_ih"]
    return lax.scan(step, jnp.zeros((drive.shape[1], inputs["W_hh"].shape[1])), drive)[1]
