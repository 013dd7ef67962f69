"""Programs whose recurrences run in chunks, as papers write them, and inventions that no library has kernels for."""

from __future__ import annotations

CHUNKED = {
    "simple_gla": """
cell simple_gla(N, K, V) heads N:
    input q, k: [K], v: [V], g: []
    state S: [K, V] = 0
    S' = exp(g) * S + outer(k, v)
    output o = (q / sqrt(K)) @ S'
""",
    "rwkv6": """
cell rwkv6(N, K, V) heads N:
    input q, k, w: [K], v: [V]
    param u: [K]
    state S: [K, V] = 0
    S' = diag(exp(-exp(w))) @ S + outer(k, v)
    output o = q @ (S + outer(u * k, v))
""",
    "rwkv7": """
cell rwkv7(N, K, V) heads N:
    input q, k, w, a, kappa: [K], v: [V]
    state S: [V, K] = 0
    S' = S @ diag(exp(-0.6 * sigmoid(w))) - outer(S @ kappa, sigmoid(a) * kappa) + outer(v, k)
    output o = S' @ q
""",
    "of_matrices": """
cell of_matrices(N, K, V) heads N:
    input q, k, c, w: [K], v: [V], a, b: []
    state S: [K, V] = 0
    S' = a * (eye(K) - b * outer(k, k)) @ (diag(sigmoid(w)) - outer(c, c)) @ S + outer(k, v)
    output o = q @ S'
""",
    "delta_rule": """
cell delta_rule(N, K, V) heads N:
    input q, k: [K], v: [V], beta: []
    state S: [K, V] = 0
    S' = S + beta * outer(k, v - k @ S)
    output o = (q / sqrt(K)) @ S'
""",
    "kda": """
cell kda(N, K, V) heads N:
    input q, k, g: [K], v: [V], beta: []
    state S: [K, V] = 0
    decayed = diag(exp(g)) @ S
    S' = decayed + beta * outer(k, v - k @ decayed)
    output o = (q / sqrt(K)) @ S'
""",
    "gdn2": """
cell gdn2(N, K, V) heads N:
    input q, k, g, b: [K], v, w: [V]
    state S: [K, V] = 0
    decayed = diag(exp(g)) @ S
    S' = decayed + outer(k, w * v - (b * k) @ decayed)
    output o = (q / sqrt(K)) @ S'
""",
    "comba": """
cell comba(N, K, V) heads N:
    input q, k, p: [K], v: [V], g, beta: []
    state S: [K, V] = 0
    decayed = exp(g) * S
    S' = decayed + beta * outer(k, v - p @ decayed)
    output o = (q / sqrt(K)) @ S'
""",
    "dplr": """
cell dplr(N, K, V) heads N:
    input q, k, gk, alpha, beta: [K], v: [V]
    state S: [K, V] = 0
    S' = diag(exp(gk)) @ S + outer(beta, alpha @ S) + outer(k, v)
    output o = (q / sqrt(K)) @ S'
""",
    "delta_product": """
cell delta_product(N, K, V) heads N:
    input q, k1, k2, k3: [K], v1, v2, v3: [V], b1, b2, b3, g: []
    state S: [K, V] = 0
    S0 = exp(g) * S
    S1 = S0 + b1 * outer(k1, v1 - k1 @ S0)
    S2 = S1 + b2 * outer(k2, v2 - k2 @ S1)
    S' = S2 + b3 * outer(k3, v3 - k3 @ S2)
    output o = (q / sqrt(K)) @ S'
""",
    "oja": """
cell oja(N, K, V) heads N:
    input q, k: [K], v, gv: [V], beta: []
    state S: [K, V] = 0
    decayed = S @ diag(exp(gv))
    S' = decayed + beta * outer(k - decayed @ v, v)
    output o = (q / sqrt(K)) @ S'
""",
    "both_sides": """
cell both_sides(N, K, V) heads N:
    input q, k, f: [K], v, g: [V], r: [] bool
    state S: [K, V] = 0
    reset when r
    S' = diag(tanh(f)) @ S @ diag(sigmoid(g)) + outer(k, v)
    output o = q @ S', before = S @ v
""",
    "invention": """
cell invention(N, K, V) heads N:
    input q, k, c, a: [K], v: [V], b: []
    state S: [V, K] = 0
    S' = S @ diag(a) - b * outer(S @ k, c * k) + outer(v, k)
    output o = S' @ q, stale = S @ (q + k)
""",
    "backwards": """
cell backwards(K, V):
    input q, k: [K], v: [V], b: []
    state S: [K, V] = 0
    S' = 0.5 * S - outer(k, b * (q @ S) - v) - outer(q, 2 * (k @ S))
    output o = k @ (S' + S)

cell reversed_backwards(K, V):
    input q, k: [K], v: [V], b: []
    output o = reverse backwards(K, V)(q, k, v, b)
""",
}
"""By name; the last cell of a text is the program."""

REFUSED = {
    "wants all of it": ("S' = a * S + outer(k, v)\n    output o = tanh(S')", "all of its state is wanted"),
    "dense": ("S' = M @ S + outer(k, v)\n    output o = k @ S'", "its transition is dense along an axis"),
    "two sides": (
        "S' = S - outer(k, k @ S) - outer(S @ v, v)\n    output o = k @ S'",
        "its transition mixes elements along more than one axis",
    ),
    "decay and reader on different sides": (
        "S' = (S - outer(k, k @ S)) @ diag(v)\n    output o = k @ S'",
        "scales one axis of the state and mixes along the other one",
    ),
    "decay of every entry": ("S' = exp(outer(k, v)) * S + outer(k, v)\n    output o = k @ S'", "its decay varies"),
    "scaled between reading and writing": (
        "S' = S - outer(k, v * (k @ S))\n    output o = k @ S'",
        "is scaled along the columns",
    ),
    "what is added": ("S' = a * S + tanh(outer(k, v))\n    output o = k @ S'", "is no outer product"),
    "not affine": ("S' = tanh(a * S + outer(k, v))\n    output o = k @ S'", "is not affine in"),
}
"""Bodies of a cell with inputs k [K], v [V], a [] and a parameter M [K, K], and what the refusal says."""
