"""Programs of every sort that the backends run: each a text or a name of the library, and sizes for a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import lsrl
from lsrl.ir.cell import Cell
from lsrl.program import Program


@dataclass(frozen=True)
class Case:
    """A program over time.

    Attributes:
        source: its text, or its name in the library.
        sizes: numbers for its sizes, chosen odd and different.
    """

    source: str
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def numbers(self) -> dict[str, int]:
        return dict(self.sizes)


@cache
def program(source: str) -> Program:
    """The program of a case."""
    return lsrl.load(source) if source.startswith("std/") else lsrl.parse(source)


def bound(case: Case) -> tuple[Cell, dict[str, int]]:
    """The graph of a case, and the number of every size."""
    return program(case.source).bind(case.numbers)


def _sizes(**numbers: int) -> tuple[tuple[str, int], ...]:
    return tuple(numbers.items())


LIBRARY: Mapping[str, Case] = {
    "rnn": Case("std/rnn", _sizes(D=3, H=5)),
    "lstm": Case("std/lstm", _sizes(D=3, H=5)),
    "gru": Case("std/gru", _sizes(D=3, H=5)),
    "gru2014": Case("std/gru2014", _sizes(D=3, H=5)),
    "mingru": Case("std/mingru", _sizes(D=3, H=5)),
    "minlstm": Case("std/minlstm", _sizes(D=3, H=5)),
    "rg_lru": Case("std/rg_lru", _sizes(N=2, P=3)),
    "lru": Case("std/lru", _sizes(D=3, N=5)),
    "selective_ssm": Case("std/selective_ssm", _sizes(E=5, N=3, R=2)),
    "retention": Case("std/retention", _sizes(N=2, K=3, V=5)),
    "gla": Case("std/gla", _sizes(N=2, K=3, V=5)),
    "gated_delta": Case("std/gated_delta", _sizes(N=2, K=3, V=5)),
    "mlstm": Case("std/mlstm", _sizes(N=2, K=3, V=5)),
    "slstm": Case("std/slstm", _sizes(N=2, P=3)),
}

LAGS = """
cell lagged(D):
    input x: [D] pad -1
    state h: [D] = 1/2
    h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
    output y = h' + x[t-1], z = h'[t-3]
"""

REVERSED = """
from std import gru, mingru

cell tagger(V=7, D=3, H=5):
    input token: [] int(V)
    param E: [V, D] ~ normal(1)
    x = E[token]
    y = concat(gru(D, H)(x), reverse mingru(D, H)(x))
    output y
"""

STACK = """
from std import mingru

cell stack(D=3, L=2):
    input x: [D]
    repeat L:
        x = x + mingru(D, D)(x)
    output x
"""

RESETS = """
cell restarted(D=3):
    input x: [D], r: [] bool
    param s: [D]
    state a: [D] = s, n: [] int = 3
    reset when r
    a' = 0.9 * a + x
    n' = (n + 2) % 5
    output a', n'
"""

LEARNER = """
cell learner(K=3, V=2):
    \"\"\"A fast weight matrix, learned by gradient descent as it goes.\"\"\"
    input k, q: [K], v: [V], rate: []
    state W: [V, K] = 0
    error = W @ k - v
    loss = sum(error * error) / 2
    W' = W - 0.1 * sigmoid(rate) * grad(loss, W)
    output y = W' @ q
"""

NOISY = """
cell noisy(D=3):
    input x: [D]
    param scale, width: [] = 2
    noise eps: [D] ~ normal(width)
    noise mask: [D] ~ bernoulli(0.5)
    state h: [D] = 0
    h' = 0.5 * h + scale * eps + mask * x
    output h'
"""

PICTURE = """
cell picture(C=2, Y=4, X=5):
    input frame: [C, Y, X]
    param K: [C, C, 3, 3] ~ normal(0.2)
    param R: [C, C, 3, 3] ~ normal(0.2)
    state h: [C, Y, X] = 0
    h' = tanh(conv(frame, K) + conv(h, R))
    output h', mean = mean(h', axis=1)
"""

AUTONOMOUS = """
cell rotor(N=3):
    param theta: [N] ~ uniform(0, 2*pi)
    state z: [N] complex = 1
    z' = cis(theta) * z
    output x = re(z'), y = im(z'), n = argmax(re(z'))
"""

POINTWISE = """
cell pointwise(D=3):
    input x: [D]
    param W: [D, D]
    output y = softmax(W @ x), one = 1, w = W, last = x[D-1]
"""

TABLE = """
cell table(S=4, V=3):
    \"\"\"A finite automaton whose transitions are looked up.\"\"\"
    input symbol: [] int(V)
    param next: [S, V] = 0
    state seen: [S] int = 0, s: [] int = 1
    s' = (s * V + symbol) % S
    seen' = where(iota(S) == s', seen + 1, seen)
    output s', seen', w = next[s']
"""

MATRICES = """
cell matrices(K=20):
    input x: [K, K], r: [K]
    state S: [K, K] = 0
    S' = (S @ S.T) / 100 + x
    output S', y = S' @ r
"""

DRAWS = """
cell draws(R=300, C=200):
    input x: []
    param a: [R, C] ~ uniform(0.5)
    param b: [R, C] ~ uniform(-1, 3)
    param c: [R, C] ~ normal(2)
    param d: [R, C] ~ normal(5, 0.1)
    param e: [R, C] ~ glorot
    param f: [2, R, C] ~ orthogonal
    param g: [2, R, R] ~ eye
    param k: [C, C] complex ~ normal(1)
    param m: [C] = 3/4
    param n: [C] = m + 1
    param o: [R, C]
    output x
"""

PROGRAMS: Mapping[str, Case] = {
    **LIBRARY,
    "lags": Case(LAGS, _sizes(D=3)),
    "reversed": Case(REVERSED),
    "stack": Case(STACK),
    "resets": Case(RESETS),
    "learner": Case(LEARNER),
    "noisy": Case(NOISY),
    "picture": Case(PICTURE),
    "autonomous": Case(AUTONOMOUS),
    "pointwise": Case(POINTWISE),
    "table": Case(TABLE),
    "matrices": Case(MATRICES),
}
