"""Programs over grids for tiles of every form: both turns or one, layers, elements of all algebras, lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lsrl
from support.grid_programs import GRIDS, Grid

STD = Path(lsrl.__file__).parent / "std"

LAYERS = """
cell layers(K=2, V=3, J=2) over y, x:
    input q, k: [K], v: [V], p: [K, J], s: [J, J], a, b: []
    param t: [J, J]
    state R: [J, V, K] along x = 0
    state D: [J, V, K] along y = 1
    R' = einsum("i j, j v d -> i v d", t, R) - b * D + einsum("i j, d j, v -> i v d", s, p, v)
    D' = a * D + einsum("i j, j v d -> i v d", s, R) + einsum("i, v, d -> i v d", s[0], v, k)
    output o = einsum("d, i v d -> v i", q, R) + einsum("i j, d j, j v d -> v i", s, p, D) + outer(v, s[0])
"""

PATHS = """
cell paths(H=3) over y, x:
    input u, c, d, e: [H]
    state m: [H] along y = 0
    state n: [H] along x = 0
    m' = JOIN(JOIN(m + c, n + d), u)
    n' = JOIN(m + e, n)
    output o = JOIN(m, n) * e
"""

WARPED = """
cell warped() over y, x:
    input cost: []
    state up: [] along y = inf
    state left: [] along x = inf
    state corner: [] along x = inf
    best = cost + min(min(up, left), corner)
    up' = best
    left' = best
    corner' = up
    output best
"""

LINES = """
cell lines(K=3, V=2) over y, x:
    input a: [], u: [K], q, k: [K], v: [V]
    state h: [K] along y = 1
    state S: [K, V] along x = 0
    h' = a * h + u
    S' = a * S + outer(k, v)
    output o = h' + h, p = q @ S'
"""

ASIDE = """
cell moment(K, V) over y, x:
    input q, k: [K], v: [V], a, b: []
    state R: [K, V] along x = 0
    state D: [K, V] along y = 0
    R' = a * R + b * D + outer(k, v)
    D' = b * R + a * D
    output o = q @ R

cell smooth(K) over y, x:
    input u: [K], a: []
    state g: [K] along x = 0
    state h: [K] along y = 0
    g' = a * (g + h) + u
    h' = a * g
    output g'

cell aside(K=3, V=2) over y, x:
    input q, k: [K], v: [V], a, b: []
    output o = reverse along x moment(K, V)(q, k, v, a, b), p = reverse along y smooth(K)(q, b)
"""

MATRIX = (("N", 2), ("K", 3), ("V", 2))


def _std(name: str, axes: int = 2, **sizes: int) -> Grid:
    return Grid((STD / f"{name}.lsrl").read_text(), axes, tuple({**dict(MATRIX), **sizes}.items()))


FORMS: Mapping[str, tuple[Grid, tuple[int, ...], str]] = {
    "one turn": (_std("plstm2d_d"), (3, 5), "dag(2)"),
    "the other turn": (_std("plstm2d_d_mirrored"), (5, 3), "dag(parallel, 2)"),
    "tracking": (_std("plstm2d_tracking", J=2, N=1), (2, 3), "dag(2)"),
    "layers": (Grid(LAYERS), (3, 4), "dag(2)"),
    "three axes": (_std("plstm3d", 3, N=1), (2, 5, 3), "dag(parallel, 2)"),
    "vectors": (GRIDS["smear"], (3, 7), "dag(parallel, 3)"),
    "maxima": (Grid(PATHS.replace("JOIN", "max")), (1, 5), "dag(2)"),
    "log of sums": (Grid(PATHS.replace("JOIN", "logaddexp")), (3, 5), "dag(2)"),
    "backward on one axis": (Grid(ASIDE), (3, 4), "dag(2)"),
    "lines": (Grid(LINES), (3, 5), "h=scan,S=chunk(2)"),
}
"""A program, the places along each axis, and a schedule that cuts these into several tiles, not all of them whole."""
