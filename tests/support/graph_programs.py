"""Programs over graphs: linear and nonlinear, of states on edges that meet by sums, maxima and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Graph:
    """A program over a graph, and small numbers for its sizes."""

    text: str
    sizes: Mapping[str, int]


PLSTM = """
cell plstm(K, V) over graph:
    node input q, k: [K], v: [V], d: []
    edge input s, m: []
    turn input t: []
    edge state C: [K, V]
    C' = sum_in(t * C) + s * outer(k, v)
    output o = q @ sum_in(m * C) + d * dot(q, k) * v
"""

TREE_LSTM = """
cell tree(D, H) over graph:
    node input x: [D]
    param Wi, Wo, Wu, Wf: [H, D], Ui, Uo, Uu, Uf: [H, H]
    edge state h, c: [H]
    s = sum_in(h)
    i = sigmoid(Wi @ x + Ui @ s)
    o = sigmoid(Wo @ x + Uo @ s)
    u = tanh(Wu @ x + Uu @ s)
    kept = i * u + sum_in(sigmoid(Wf @ x + Uf @ h) * c)
    c' = kept
    h' = o * tanh(kept)
    output y = o * tanh(kept)
"""

ATTENTION = """
cell attention(H) over graph:
    node input x: [H]
    edge input e: [H]
    param W: [H, H], a: []
    edge state c: [H]
    m = max(max_in(c), -2)  # the largest of nothing is -inf
    z = sum_in(exp(c))
    c' = tanh(W @ m + x) + e * z / (1 + z) + a
    output y = m + sum_in(exp(c) / (1 + sum_in(exp(c)))), n = sum_in(c * e)
"""

MESSAGES_OF_NODES = """
cell messages(H) over graph:  # y is made where an edge leaves, and summed where it enters
    node input x: [H]
    edge input e: []
    param W: [H, H]
    edge state c: [H]
    a = tanh(sum_in(c) + x)
    y = e * a
    c' = tanh(W @ sum_in(y) + x) + a
    output o = sum_in(y)
"""

COUNTS = """
cell counts() over graph:  # paths, in whole numbers, and which nodes have one edge into them
    node input x: []
    edge state n: [] int
    edge state c: []
    n' = 1 + sum_in(n)
    c' = x * float(1 + sum_in(n)) + sum_in(c)
    output paths = sum_in(n), one = sum_in(1), y = sum_in(c)
"""

WITHOUT_STATES = """
cell convolution(H) over graph:
    node input x: [H]
    edge input w: []
    input scale: []
    param W: [H, H]
    output y = tanh(W @ sum_in(w * x) * scale + x), whole = sum(W)
"""

COMPLEX = """
cell turning(H) over graph:
    node input x: [H]
    edge input angle: [H]
    edge state z: [H] complex
    z' = cis(angle) * sum_in(z) + x
    output y = re(sum_in(z * conj(z))) + im(sum_in(z))
"""

GRAPHS: Mapping[str, Graph] = {
    "plstm": Graph(PLSTM, {"K": 2, "V": 3}),
    "tree_lstm": Graph(TREE_LSTM, {"D": 3, "H": 4}),
    "attention": Graph(ATTENTION, {"H": 3}),
    "messages": Graph(MESSAGES_OF_NODES, {"H": 3}),
    "counts": Graph(COUNTS, {}),
    "without_states": Graph(WITHOUT_STATES, {"H": 3}),
    "complex": Graph(COMPLEX, {"H": 2}),
}
