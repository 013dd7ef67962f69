"""The algebras in which states of a grid add up, in JAX.

Products of matrices over (max, +), (min, +) and (log-sum-exp, +) are sums over one axis more: there are no fast ones.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp

from lsrl.backends.runtime.grid_algebra import Algebra
from lsrl.backends.runtime.jax_chunk_gram import exact_product
from lsrl.backends.runtime.jax_scan import share_of_first


def algebra_of(join):
    """The algebra whose sum is "add", "max", "min" or "logaddexp"."""
    if join == "add":
        return Algebra(jnp, jnp.add, 0.0, jnp.multiply, 1.0, exact_product, partial(grid_eye, 0.0, 1.0), None)
    plus: Any = {"max": jnp.maximum, "min": jnp.minimum, "logaddexp": jnp.logaddexp}[join]
    over: Any = {"max": jnp.max, "min": jnp.min, "logaddexp": log_sum}[join]
    zero = jnp.inf if join == "min" else -jnp.inf

    def dot(a, b):
        return over(a[..., :, :, None] + b[..., None, :, :], axis=-2, initial=zero)

    return Algebra(jnp, plus, zero, jnp.add, 0.0, dot, partial(grid_eye, zero, 0.0), partial(share_of_first, plus))


def grid_eye(zero, one, like):
    """`one` on the diagonal and `zero` beside it, as large as a matrix [..., E, E]."""
    return jnp.where(jnp.eye(like.shape[-1], dtype=bool), one, zero).astype(like.dtype)


def log_sum(array, axis, initial):
    """log(sum(exp(array))) along an axis; of nothing but -inf, and of nothing at all, that is -inf."""
    top = jnp.max(array, axis=axis, keepdims=True, initial=initial)
    shifted = array - jnp.where(jnp.isfinite(top), top, 0)
    return jnp.squeeze(jnp.log(jnp.exp(shifted).sum(axis, keepdims=True)) + jnp.where(jnp.isfinite(top), top, 0), axis)
