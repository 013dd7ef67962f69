"""Bounds of linear states: s_t = A s_{t-1} + u_t for u within a box, from a known start, over finitely many steps.

s_t = A^t s_0 + sum_k A^k u_{t-k}: the centre of the box follows the recurrence itself, and its radius adds up to at
most sum_k |A^k| r.  That bounds decays and rotations, of which bounds by single steps know nothing.
"""

from __future__ import annotations

import numpy as np

from lsrl.backends.arrays import Array

NEGLIGIBLE = 1e-30
OUTWARD = 1 + 1e-9
"""Makes up for roundings in sums of some thousand terms."""


def linear_bounds(A: Array, low: Array, high: Array, start: Array, horizon: int) -> tuple[Array, Array]:
    """The least and the largest of every state, [n] each, after 1 to `horizon` steps.

    Args:
        A: [n, n].
        low, high: of u, [n].
        start: [n].
    """
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return np.full_like(start, -np.inf), np.full_like(start, np.inf)
    centre, radius = (low + high) / 2, (high - low) / 2
    power, reached, at = np.eye(len(start)), np.zeros_like(start), start
    least, most = np.full_like(start, np.inf), np.full_like(start, -np.inf)
    for _ in range(horizon):
        added, following = np.abs(power) @ radius, A @ at + centre
        reached = reached + added
        least, most = np.minimum(least, following - reached), np.maximum(most, following + reached)
        if added.max(initial=0) < NEGLIGIBLE and np.abs(following - at).max(initial=0) < NEGLIGIBLE:
            break
        power, at = power @ A, following
    return _outward(least, -1), _outward(most, 1)


def _outward(bound: Array, sign: int) -> Array:
    return np.asarray(bound + sign * np.abs(bound) * (OUTWARD - 1))
