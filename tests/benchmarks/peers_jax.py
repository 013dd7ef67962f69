"""What people write by hand in JAX: the plain step under `lax.scan`, and `associative_scan` of a linear recurrence."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Arrays = dict[str, jax.Array]


def diagonal_step(inputs: Arrays) -> jax.Array:
    """`h' = a h + x`, position by position; [B, T, D]."""

    def step(h: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        a, x = at
        h = a * h + x
        return h, h

    a, x = (jnp.swapaxes(inputs[name], 0, 1) for name in "ax")
    _, h = lax.scan(step, jnp.zeros_like(x[0]), (a, x))
    return jnp.swapaxes(h, 0, 1)


def diagonal_tree(inputs: Arrays) -> jax.Array:
    """The same by composing the steps' maps in a tree."""

    def compose(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * then[0], then[0] * first[1] + then[1]

    return lax.associative_scan(compose, (inputs["a"], inputs["x"]), axis=1)[1]


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
    """A GRU without coupling between units (Danieli et al., 2025, ParaGRU), its input parts computed before."""

    def step(h: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        uz, ur, uh = at
        z = jax.nn.sigmoid(inputs["az"] * h + uz)
        r = jax.nn.sigmoid(inputs["ar"] * h + ur)
        h = z * jnp.tanh(inputs["ah"] * (h * r) + uh) + (1 - z) * h
        return h, h

    reads = tuple(jnp.swapaxes(inputs[name], 0, 1) for name in ("uz", "ur", "uh"))
    return jnp.swapaxes(lax.scan(step, jnp.zeros_like(reads[0][0]), reads)[1], 0, 1)


PEERS: dict[str, dict[str, Callable[[Arrays], jax.Array]]] = {
    "diagonal": {"lax.scan": diagonal_step, "lax.associative_scan": diagonal_tree},
    "gated_delta": {"lax.scan": gated_delta_step},
    "diagonal_gru": {"lax.scan": gru_step},
}
