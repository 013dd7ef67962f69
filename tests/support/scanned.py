"""Programs that tiles of positions scan, one for each algebra and form."""

from __future__ import annotations

from collections.abc import Mapping

from support.programs import LIBRARY, PROGRAMS, Case

MAX_PLUS = """
cell highest(D=3):
    input a, b: [D]
    state h: [D] = -inf
    h' = max(h + a, b)
    output h', before = h
"""

MIN_PLUS = """
cell lowest(D=3):
    input a, b: [D]
    param cost: [D]
    state h: [D] = 0
    h' = min(h + abs(a), b + cost)
    output y = 2 * h'
"""

LOG_PLUS = """
cell soft(D=3):
    input a, b: [D]
    state h: [D] = -inf
    h' = logaddexp(h + a, b)
    output h'
"""

SPRING = """
cell spring(N=2, P=3) heads N:
    \"\"\"Position and velocity of a damped oscillator, with a force.\"\"\"
    input k: [], f: [P]
    param c: [P]
    state x, v: [P] = 0
    x' = x + 0.5 * v
    v' = v - sigmoid(k) * x - c * v / 4 + f
    output x', energy = sum(v' * v', axis=0) + sum(x * x, axis=0)
"""

THREE = """
cell three(D=2):
    input x, a: [D]
    state p, q, r: [D] = 0
    p' = 0.5 * p + tanh(a) * q + x
    q' = 0.3 * r - 0.2 * p
    r' = 0.1 * q + sigmoid(a) * r + x * x
    output y = p' + q' * r'
"""

HEADS = """
cell recall(N=2, K=3, V=5) heads N:
    \"\"\"A decay for each head of a matrix state, read by a query.\"\"\"
    input q, k: [K], v: [V], decay: []
    state S: [K, V] = 0
    S' = sigmoid(decay) * S + outer(k, v)
    output o = q @ S', before = q @ S
"""

TURNING = """
cell turning(D=3):
    input x: [D], angle: [D]
    param rate: [D]
    state z: [D] complex = 1
    z' = exp(-abs(rate)) * cis(angle) * z + x
    output x_next = re(z'), size = abs(z)
"""

SHRINKING = """
cell shrinking(D=3):
    \"\"\"A complex state whose decay is real.\"\"\"
    input x: [D], phase: [D]
    state z: [D] complex = 0
    z' = 0.9 * z + x * cis(phase)
    output height = im(z')
"""

BACKWARD = """
from std import mingru, lru

cell both(D=3, H=5):
    input x: [D]
    y = concat(mingru(D, H)(x), reverse mingru(D, H)(x), reverse lru(D, H)(x))
    output y
"""

SCALAR = """
cell total():
    input x, a: []
    state s: [] = 0
    s' = sigmoid(a) * s + x
    output s'
"""

WIDE = """
cell wide(E=40, N=3):
    \"\"\"More channels than a program holds, and an output that sums over some of them.\"\"\"
    input x: [E], b, c: [N], dt: [E]
    param A: [E, N]
    state h: [E, N] = 0
    h' = exp(-diag(abs(dt)) @ abs(A)) * h + outer(x, b)
    output y = h' @ c
"""

SQUARE = """
cell square(K=3):
    input k, q: [K], a: []
    state H: [K, K] = 0
    H' = sigmoid(a) * H + outer(k, k)
    output o = tanh(H') @ q
"""

SCANNED: Mapping[str, Case] = {
    **{name: LIBRARY[name] for name in ("mingru", "minlstm", "rg_lru", "lru", "selective_ssm", "mlstm")},
    **{name: PROGRAMS[name] for name in ("resets", "noisy", "autonomous")},
    "highest": Case(MAX_PLUS),
    "lowest": Case(MIN_PLUS),
    "soft": Case(LOG_PLUS),
    "spring": Case(SPRING),
    "three": Case(THREE),
    "recall": Case(HEADS),
    "turning": Case(TURNING),
    "shrinking": Case(SHRINKING),
    "both": Case(BACKWARD),
    "total": Case(SCALAR),
    "wide": Case(WIDE),
    "square": Case(SQUARE),
}
