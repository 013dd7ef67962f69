"""The algebras in which states of a grid add up, in JAX: what is a sum, a product, zero and one of each.

Products of matrices over (max, +), (min, +) and (log-sum-exp, +) are sums over one axis more: there are no fast ones.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from lsrl.backends.runtime.jax_chunk_gram import exact_product


class Algebra(NamedTuple):
    """`plus` of two arrays and its neutral number, `times` and its neutral number, products of matrices."""

    plus: Any
    zero: float
    times: Any
    one: float
    dot: Any


def algebra_of(join):
    """The algebra whose sum is "add", "max", "min" or "logaddexp"."""
    if join == "add":
        return Algebra(jnp.add, 0.0, jnp.multiply, 1.0, exact_product)
    plus: Any = {"max": jnp.maximum, "min": jnp.minimum, "logaddexp": jnp.logaddexp}[join]
    over: Any = {"max": jnp.max, "min": jnp.min, "logaddexp": log_sum}[join]
    zero = jnp.inf if join == "min" else -jnp.inf

    def dot(a, b):
        return over(a[..., :, :, None] + b[..., None, :, :], axis=-2, initial=zero)

    return Algebra(plus, zero, jnp.add, 0.0, dot)


def log_sum(array, axis, initial):
    """log(sum(exp(array))) along an axis; of nothing but -inf, and of nothing at all, that is -inf."""
    top = jnp.max(array, axis=axis, keepdims=True, initial=initial)
    shifted = array - jnp.where(jnp.isfinite(top), top, 0)
    return jnp.squeeze(jnp.log(jnp.exp(shifted).sum(axis, keepdims=True)) + jnp.where(jnp.isfinite(top), top, 0), axis)
