"""A recurrence with a derivative of its own, in JAX."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


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


def differentiable_in_pieces(run, adjoint, size=None, reverse=False):
    """As `differentiable`, but only the states at the start of every `size` positions are kept for the adjoint.

    It goes over these pieces from the last to the first and runs each anew.  Without `size` there are about as many
    pieces as a piece has positions.
    """

    @partial(jax.custom_vjp, nondiff_argnums=(3,))
    def loop(reads, statics, starts, length):
        return run(reads, statics, starts, length)[:2]

    def forward(reads, statics, starts, length):
        step = size or piece_size(length)
        pieces, rest = in_pieces(reads, length, step, reverse)

        def piece(states, reads):
            kept, lasts, _ = run(reads, statics, states, step)
            return lasts, (kept, states)

        middle, (kept, firsts) = lax.scan(piece, starts, pieces, length=length // step, reverse=reverse)
        kept_rest, lasts, _ = run(rest, statics, middle, length % step)
        return (joined(kept, kept_rest, reverse), lasts), (reads, statics, firsts, middle)

    def backward(length, saved, cotangents):
        reads, statics, firsts, middle = saved
        d_kept, d_lasts = conjugated(cotangents)
        step = size or piece_size(length)
        pieces, (rest, d_kept_rest) = in_pieces((reads, d_kept), length, step, reverse)

        def piece(reads, d_kept, states, d_states, length):
            saved = run(reads, statics, states, length)[2]
            return adjoint(saved, d_kept, d_states, length)

        def back(carried, at):
            (d_states, d_statics), ((reads, d_kept), states) = carried, at
            d_reads, d_more, d_states = piece(reads, d_kept, states, d_states, step)
            return (d_states, jax.tree.map(jnp.add, d_statics, d_more)), d_reads

        d_rest, d_statics, d_states = piece(rest, d_kept_rest, middle, d_lasts, length % step)
        carried = (d_states, d_statics)
        (d_starts, d_statics), d_reads = lax.scan(back, carried, (pieces, firsts), reverse=not reverse)
        return conjugated((joined(d_reads, d_rest, reverse), d_statics, d_starts))

    loop.defvjp(forward, backward)
    return loop


def piece_size(length):
    """A power of two near the square root of the length, at least 16."""
    return max(16, 2 ** round(math.log2(max(length, 1)) / 2))


def in_pieces(arrays, length, size, reverse):
    """Sequences [B, T, ...] as pieces [T // size, B, size, ...], and the T % size positions that are visited last."""
    rest = length % size
    whole = slice(rest, None) if reverse else slice(None, length - rest)
    last = slice(None, rest) if reverse else slice(length - rest, None)

    def cut(array):
        shape = (array.shape[0], length // size, size, *array.shape[2:])
        return jnp.moveaxis(array[:, whole].reshape(shape), 1, 0)

    return jax.tree.map(cut, arrays), jax.tree.map(lambda array: array[:, last], arrays)


def joined(pieces, rest, reverse):
    """The sequences that `in_pieces` took apart."""

    def join(pieces, rest):
        count, batch, size, *shape = pieces.shape
        whole = jnp.moveaxis(pieces, 0, 1).reshape(batch, count * size, *shape)
        return jnp.concatenate([rest, whole] if reverse else [whole, rest], axis=1)

    return jax.tree.map(join, pieces, rest)


def conjugated(cotangents):
    """Cotangents between JAX's convention, dL/dx - i dL/dy, and ours, dL/dx + i dL/dy; None where there is none."""

    def one(cotangent):
        if cotangent.dtype == jax.dtypes.float0:
            return None
        return jnp.conj(cotangent) if jnp.iscomplexobj(cotangent) else cotangent

    return jax.tree.map(one, cotangents)
