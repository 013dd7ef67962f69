"""Nonlinear recurrences whose Jacobian has structure, as programs."""

from __future__ import annotations

from collections.abc import Mapping

from support.programs import PROGRAMS, Case

PARAGRU = """
cell paragru(D=3, H=4):
    \"\"\"The GRU of ParaRNN (Danieli et al., 2025): recurrent matrices are diagonal.\"\"\"
    input x: [D]
    param Bz, Br, Bh: [H, D]
    param az, ar, ah, bz, br, bh: [H]
    state h: [H] = 0
    z = sigmoid(az * h + Bz @ x + bz)
    r = sigmoid(ar * h + Br @ x + br)
    s = tanh(ah * (h * r) + Bh @ x + bh)
    h' = z * s + (1 - z) * h
    output h'
"""

PARALSTM = """
cell paralstm(D=3, H=4):
    \"\"\"The LSTM of ParaRNN (Danieli et al., 2025): peepholes and recurrent matrices are diagonal.\"\"\"
    input x: [D]
    param Bf, Bo, Bc: [H, D]
    param af, ao, ac, cf, co, bf, bo, bc: [H]
    state c: [H] = 0, h: [H] = 0.1
    f = sigmoid(af * h + cf * c + Bf @ x + bf)
    g = tanh(ac * h + Bc @ x + bc)
    c' = f * c + (1 - f) * g
    o = sigmoid(ao * h + co * c' + Bo @ x + bo)
    h' = o * tanh(c')
    output h', gate = o * c
"""

HEADS = """
cell small_heads(N=3, P=2):
    \"\"\"Two states that meet within each head, a scalar of the head among them.\"\"\"
    input x: [N, P]
    param R: [N, P, P], w: [N, P]
    state h: [N, P] = 0, m: [N] = 0.5
    h' = tanh(einsum("n i j, n j -> n i", R, h) + x) * einsum("n, n i -> n i", m, w)
    m' = sigmoid(einsum("n i, n i -> n", w, h) - m)
    output h', m'
"""

COLUMNS = """
cell columns(K=3, V=4):
    \"\"\"Elements meet along the first axis of one state; those of the other lie the other way round.\"\"\"
    input x: [K, V], g: [V, K]
    param R: [K, K]
    state S: [K, V] = 0, Z: [V, K] = 0
    S' = tanh(R @ S + Z.T + x)
    Z' = sigmoid(g + S.T) * Z
    output y = sum(S', axis=0), Z'
"""

SECOND = """
cell second(D=3):
    \"\"\"Of second order: one state holds the other's past; both start anew where told.\"\"\"
    input x: [D], r: [] bool
    param a, b: [D]
    state u: [D] = 0.5, v: [D] = a
    reset when r
    u' = tanh(a * u - b * v + x)
    v' = u
    output u', w = v * u
"""


CASES: Mapping[str, Case] = {
    "paragru": Case(PARAGRU),
    "paralstm": Case(PARALSTM),
    "small_heads": Case(HEADS),
    "columns": Case(COLUMNS),
    "second": Case(SECOND),
    "rnn": PROGRAMS["rnn"],
    "lags": PROGRAMS["lags"],
    "reversed": PROGRAMS["reversed"],
}
