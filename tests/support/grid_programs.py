"""Programs over grids: affine and nonlinear, of two and three axes, reversed, with lags, with and without inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A program over a grid with `axes` axes, and small numbers for its sizes."""

    text: str
    axes: int = 2
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def numbers(self) -> dict[str, int]:
        return dict(self.sizes)


PLSTM = """
cell plstm(K, V) over y, x:
    input q, k: [K], v: [V], trl, tru, tdl, tdu, sr, sd, ml, mu, d: []
    state R: [K, V] along x = 0
    state D: [K, V] along y = 0
    R' = trl * R + tru * D + sr * outer(k, v)
    D' = tdl * R + tdu * D + sd * outer(k, v)
    output o = q @ (ml * R + mu * D) + d * dot(q, k) * v
"""

MD_RNN = """
cell md_rnn(D=3, H=4) over y, x:
    input u: [D]
    param W: [H, D], U, V: [H, H], h0: [H]
    state h: [H] along y, x = h0
    h' = tanh(W @ u + U @ h[y-1] + V @ h[x-1])
    output o = h' + h[x-1], lag = u[y-1] * 2
"""

CUBE = """
cell cube(H=3) over z, y, x:
    input u: [H]
    param a: [H]
    state h: [H] along z, y, x = 0
    state g: [H] along x = 1
    h' = tanh(a * (h[z-1] + h[y-1] - h[x-1]) + u + g)
    g' = 0.5 * g + u * h'
    output h'
"""

SMEAR = """
cell smear(K=3) over y, x:
    input u: [K], g: [] pad 0
    state R: [K] along x = 0
    state D: [K] along y = 0
    R' = g * R + u
    D' = g * D + R'
    output o = D' + u[y-1]
"""

BOTH_WAYS = """
cell table(H=3) over y, x:
    input u: [H]
    param W: [H, H]
    state h: [H] along y, x = 0
    h' = tanh(W @ (h[y-1] + h[x-1]) + u)
    output h'


cell both(H=3) over y, x:
    input u: [H]
    output o = table(H)(u) - reverse table(H)(u)
"""

CONSTANT = """
cell constant(H=3) over y, x:
    param w: [H]
    state h: [H] along y = 1
    state g: [H] along x = 1
    h' = h / 2 + w
    g' = g * h
    output o = g'
"""

GRIDS: Mapping[str, Grid] = {
    "plstm": Grid(PLSTM, sizes=(("K", 3), ("V", 2))),
    "md_rnn": Grid(MD_RNN),
    "cube": Grid(CUBE, axes=3),
    "smear": Grid(SMEAR),
    "both_ways": Grid(BOTH_WAYS),
    "constant": Grid(CONSTANT),
}
