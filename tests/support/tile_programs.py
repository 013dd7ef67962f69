"""Affine programs over grids that run in tiles: several outer products and reads, params, lanes, three axes, turned."""

from __future__ import annotations

from collections.abc import Mapping

from support.grid_programs import GRIDS, Grid

HEADS = """
cell many(N, K, V) heads N over y, x:
    input q, k: [K], v: [V], a, b, c, s, m, n: []
    param w: []
    state R: [K, V] along x = 0
    state D: [K, V] along y = 0
    R' = a * R - b * D + s * outer(k, v)
    D' = c * R + w * D + outer(k, v) / 2 - outer(q, v)
    output o = q @ (m * R + n * D') + m * v, p = k @ R
"""

CUBE = """
cell cube(K, V) over z, y, x:
    input q, k: [K], v: [V], a, b, c: []
    state A: [V, K] along z = 0
    state R: [V, K] along x = 1
    state D: [V, K] along y = 0
    A' = a * R + b * D + c * A + outer(v, k)
    R' = b * R + c * D - A
    D' = c * R + b * D + a * outer(v, k) + A / 3
    output o = (D + a * A') @ q
"""

MOMENT = """
cell moment(K, V) over y, x:
    input q, k: [K], v: [V], a, b: []
    state h: [K, V] along y, x = 0
    h' = a * h[y-1] + b * h[x-1] + outer(k, v)
    output o = q @ h'
"""

BOTH_WAYS = f"""{MOMENT}

cell both(K=3, V=2) over y, x:
    input q, k: [K], v: [V], a, b: []
    output o = moment(K, V)(q, k, v, a, b) + reverse moment(K, V)(q, k, v, b, a)
"""

TURNED = f"""{MOMENT}

cell turned(K=3, V=2) over y, x:
    input q, k: [K], v: [V], a, b: []
    output o = reverse along x moment(K, V)(q, k, v, a, b)
"""

MATRIX = (("K", 3), ("V", 2))
TILES: Mapping[str, Grid] = {
    "plstm": GRIDS["plstm"],
    "heads": Grid(HEADS, sizes=(("N", 2), *MATRIX)),
    "cube": Grid(CUBE, axes=3, sizes=MATRIX),
    "moment": Grid(MOMENT, sizes=MATRIX),
    "both_ways": Grid(BOTH_WAYS),
    "turned": Grid(TURNED),
}
