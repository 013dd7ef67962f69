"""The algebras in which states of a grid add up: what a framework gives for each, and what is made of that."""

from typing import Any, NamedTuple


class Algebra(NamedTuple):
    """A sum and a product over arrays of one framework.

    Attributes:
        arrays: the framework's module of functions of arrays, `jax.numpy` or `torch`.
        plus, zero: the sum of two arrays, and its neutral number.
        times, one: the product of two arrays, and its neutral number.
        dot: products of matrices in the last two axes, the axes before broadcast.
        eye: the neutral matrix [E, E] for products with a matrix [..., E, E].
        share: the derivative of the sum of two arrays by the first, where that by the second is the rest of 1; None
            over (+, x), where both are 1.
    """

    arrays: Any
    plus: Any
    zero: float
    times: Any
    one: float
    dot: Any
    eye: Any
    share: Any


def element_step(algebra, through, arriving, rest):
    """What a place passes on, [..., n], of T [..., n, n], of what arrives [..., n] and of what it adds [..., n]."""
    total = rest
    for at in reversed(range(arriving.shape[-1])):
        total = algebra.plus(algebra.times(through[..., at], arriving[..., at, None]), total)
    return total


def element_shares(algebra, through, arriving, rest):
    """The derivatives of `element_step` by what arrives, [..., n, n], and by what is added, [..., n].

    Operands that are equal share as they do in the steps of a program, where each sum is one of two.
    """
    if algebra.share is None:
        return through, algebra.arrays.ones_like(rest)
    terms = algebra.times(through, arriving[..., None, :])
    later = [rest]  # the sum of all operands behind each
    for at in reversed(range(1, terms.shape[-1])):
        later.append(algebra.plus(terms[..., at], later[-1]))
    left, shares = algebra.arrays.ones_like(rest), []
    for at, behind in enumerate(reversed(later)):
        share = algebra.share(terms[..., at], behind)
        shares.append(left * share)
        left = left * (1 - share)
    return algebra.arrays.stack(shares, -1), left


def affine_map(algebra, coefficients, vectors):
    """What [N, x, E + 1] makes of [N, E] and one: [N, x]."""
    product = algebra.dot(coefficients[..., :-1], vectors[..., None])
    return algebra.plus(product, coefficients[..., -1:])[..., 0]
