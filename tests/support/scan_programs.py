"""Programs with recurrences that scans serve, one for each algebra and shape of coefficient."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from lsrl.ir.cell import Cell
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.how import How, Scan
from lsrl.ir.value import Kind
from support.programs import LIBRARY, PROGRAMS, Case

MAX_PLUS = """
cell longest(H=3):
    input step, entry: [H]
    state m: [H] = -inf
    m' = max(m + step, entry)
    output m'
"""

MIN_PLUS = """
cell cheapest(H=3):
    input price: [], offer: [H]
    state m: [H] = 1
    m' = min(offer, m + price)
    output m', before = m
"""

LOG_SUM = """
cell mass(H=3):
    input a, x: [H], r: [] bool
    state l: [H] = -inf
    reset when r
    l' = logaddexp(l + a, x)
    output l'
"""

ROTATION = """
cell oscillator(H=3):
    input push, pull: [H], damp: []
    param theta: [H] ~ uniform(0, 3)
    state x, v: [H] = 0
    x' = sigmoid(damp) * (cos(theta) * x - sin(theta) * v) + push
    v' = sin(theta) * x + cos(theta) * v + 0.3 * pull
    output x', speed = v
"""

ORBIT = """
cell orbit(H=3):
    param theta: [H] ~ uniform(0, 3)
    state x, v: [H] = 1
    x' = cos(theta) * x - sin(theta) * v
    v' = sin(theta) * x + cos(theta) * v
    output x', v'
"""

HISTORY = """
cell history(H=3):
    input x, f: [H]
    state h, past, older: [H] = 1/2
    h' = sigmoid(f) * h - 0.5 * past + 0.1 * older + x
    past' = h
    older' = past
    output h'
"""

MIXED = """
cell mixed(K=3, V=4) heads 2:
    input A: [K, K], u: [K], v: [V], g: []
    state S: [K, V] = 0
    S' = 0.5 * (A @ S) + sigmoid(g) * S + outer(u, v)
    output o = u @ S
"""

COLUMNS = """
cell columns(K=4, V=3):
    input q, k: [V], u: [K], g: [K]
    state S: [K, V] = 0
    S' = diag(sigmoid(g)) @ S - 0.3 * outer(S @ k, q) + outer(u, k)
    output o = S' @ q
"""

DECAYED = """
cell decayed(K=3, V=4) heads 2:
    input k: [K], v: [V], g: []
    param s: [K, V]
    state S: [K, V] = s
    S' = exp(-softplus(g)) * S + outer(k, v)
    output y = k @ S'
"""

LEAKY = """
cell leaky(H=3):
    input x: [H]
    param s: [H]
    state h: [H] = s, total: [H] = 0
    h' = 0.9 * h + x
    total' = total + h
    output h', total
"""

BACKWARDS = """
from std import mingru, minlstm

cell both(D=3, H=4):
    input x: [D]
    output y = concat(mingru(D, H)(x), reverse minlstm(D, H)(x))
"""

STRESSED = """
cell stressed(H=5):
    input x: [H], f: [H], r: [] bool
    state h: [H] = 0
    reset when r
    a = where(f > 1, 1, where(f > 0.5, 0, where(f > 0, exp(-8), where(f > -0.5, exp(-40), sigmoid(f)))))
    h' = a * h + x
    output h'
"""


def random_diagonal(seed: int) -> str:
    """A state that is multiplied, element by element, by gates drawn at random."""
    random = Random(seed)
    gates = ["sigmoid(f)", "0.8", "tanh(g)", "where(r, 0, 1)", "exp(-softplus(f))", "-sigmoid(f * g)", "a"]
    parts = [f"{' * '.join(random.sample(gates, random.randint(1, 3)))} * h" for _ in range(random.randint(1, 2))]
    added = random.choice(("x", "g * x - a", "tanh(x)"))
    return "\n".join(
        [
            f"cell drawn{seed}(N=2, H=3) heads N:",
            "    input x, f: [H], g: [], r: [] bool shared",
            "    param a: [H]",
            "    state h: [H] = 1",
            f"    h' = {' + '.join(parts)} + {added}",
            "    output y = h' - h",
            "",
        ]
    )


SCANS: Mapping[str, Case] = {
    **{name: LIBRARY[name] for name in ("mingru", "rg_lru", "lru", "selective_ssm", "mlstm", "retention")},
    **{name: PROGRAMS[name] for name in ("gated_delta", "stack", "resets", "autonomous", "learner")},
    "max_plus": Case(MAX_PLUS),
    "min_plus": Case(MIN_PLUS),
    "log_sum": Case(LOG_SUM),
    "rotation": Case(ROTATION),
    "orbit": Case(ORBIT),
    "history": Case(HISTORY),
    "mixed": Case(MIXED),
    "columns": Case(COLUMNS),
    "decayed": Case(DECAYED),
    "leaky": Case(LEAKY),
    "backwards": Case(BACKWARDS),
    "stressed": Case(STRESSED),
    **{f"drawn{seed}": Case(random_diagonal(seed)) for seed in range(4)},
}
"""Every recurrence of these but counters is a scan."""


def scans(cell: Cell) -> dict[str, How]:
    """A scan for every state but those that count."""
    parts = [part for part in components(cell) if part.cyclic]
    return {state.name: Scan() for part in parts for state in part.states if state.kind is not Kind.INT}
