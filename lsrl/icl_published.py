"""The two programs as they were published, with their constants and each of their conditionals.

All conditionals of both programs have 0 as their other branch (Petrov et al., 2024, section 5 and listings 1 and 2, and
the programs that its noise study ran).  `c` is the condition, `d` its opposite, which has a comparison of its own:

    direct                    two ReLUs for each branch; a large number is subtracted from the branch that is not taken
    optimized                 one ReLU for the branch that is not 0, a pair of them where its values may be negative
    step_optimized            a pair, and the condition is rounded by a step first
    multiplicative            condition times value, for each branch
    multiplicative_optimized  the same without the branch that is 0

In the normal form a product with 0 is 0, so that the two multiplicative ones are one network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.ir.fault import Refusal
from lsrl.program import Program, parse


class PublishedError(Refusal):
    """What was not published."""


@dataclass(frozen=True, slots=True)
class Conditional:
    """One conditional: for values that are never negative, and for all."""

    positive: str
    signed: str


_PAIR = "relu(x - {drop}) - relu(-x - {drop})"
_OTHER = "relu(0 * x - big * c) - relu(-0 * x - big * c)"


def _same(text: str) -> Conditional:
    return Conditional(text, text)


CONDITIONALS: Mapping[str, Conditional] = {
    "direct": _same(f"{_PAIR.format(drop='big * (1 - c)')} + {_OTHER}"),
    "optimized": Conditional("relu(x - big * d)", _PAIR.format(drop="big * d")),
    "step_optimized": _same(_PAIR.format(drop="big * (1 - ramp(c - 1/2, k))")),
    "multiplicative": _same("c * x + (1 - c) * (0 * x)"),
    "multiplicative_optimized": _same("c * x"),
}

STEPS = ("step", "clamp_step")
"""The published step, and the same function without its cancellation."""

_FUNCTIONS = """\
from std.lsrl_original import {step} as ramp

def larger(x, y, k) = ramp(x - y, k)

def both(x, y, k) = relu(ramp(x, k) + ramp(y, k) - 1)

def between(x, low, high, k) = both(larger(x, low, k), larger(high, x, k), k)

def either(x, y, k) = ramp(x + y, k)

def choose(c, d, x, k, big) = {positive}

def choose_signed(c, d, x, k, big) = {signed}

"""

_VEC2VEC = """
cell vec2vec(D=1, E=1, K=1000, BIG=10000000000):
    input width: [], low: [D], value: [E]
    state t: [] = 0
    state query: [D] = 0, y: [E] = 0

    t' = t + 1
    query' = query + choose(larger(3/2, t', K), larger(t', 3/2, K), low, K, BIG)
    bumps = ramp(query' - low, K) - ramp(query' - low - width, K)
    gate = both(larger(sum(bumps), D - 1/2, K), larger(t', 1/2, K), K)
    y' = y + choose_signed(larger(gate, 1/2, K), larger(1/2, gate, K), value, K, BIG)

    output y'
"""

_TOK2TOK = """
cell modulo(M, K):
    state s: [2] = [cos(2 * pi / M), -sin(2 * pi / M)]

    s' = concat(
        [cos(2 * pi / M) * s[0] - sin(2 * pi / M) * s[1]],
        [sin(2 * pi / M) * s[0] + cos(2 * pi / M) * s[1]]
    )
    angles = 2 * pi / M * iota(M)
    place = larger(cos(angles) * s'[0] + sin(angles) * s'[1], cos(pi / M), K)

    output count = dot(place, float(iota(M)))


cell tok2tok(T=3, K=1000, BIG=10000000000):
    input x: []
    state t: [] = -1
    state query, register: [T] = 0
    state buffer: [T+1] = 0
    state started_on: [] = 0

    t' = t + 1
    at = modulo(T, K)()
    slots = between(full([T], at), iota(T) - 1/2, iota(T) + 1/2, K)
    others = either(larger(full([T], at), iota(T) + 1/2, K), larger(iota(T) - 1/2, full([T], at), K), K)
    in_prompt = larger(t', T - 1/2, K)
    comparing = larger(modulo(2*T, K)(), T - 1/2, K)
    is_copy = both(in_prompt, 1 - comparing, K)
    first_copy = both(is_copy, larger(1/2, at, K), K)

    asking = choose(larger(1/2, in_prompt, K), larger(in_prompt, 1/2, K), x, K, BIG)
    query' = query + choose(slots, others, full([T], asking), K, BIG)
    asked = sum(choose(slots, others, query', K, BIG))
    matching = both(between(x, asked - 1/2, asked + 1/2, K), comparing, K)
    buffer' = concat(buffer[1:T+1], [matching])
    all_matching = larger(sum(buffer'[0:T]), T - 1/2, K)
    found = both(all_matching, first_copy, K)
    started_on' = started_on + choose(found, 1 - found, t', K, BIG)
    copying = larger(started_on' + T - 1/2, t', K)
    kept = both(full([T], both(is_copy, copying, K)), slots, K)
    register' = register + choose(larger(kept, 1/2, K), larger(1/2, kept, K), full([T], x), K, BIG)

    output y = sum(choose(larger(slots, 1/2, K), larger(1/2, slots, K), register', K, BIG))
"""


def vec2vec(conditional: str, step: str = "step") -> Program:
    """Listing 1 for queries in the unit cube, with the sizes D, E, K (the slope of steps) and BIG.

    Args:
        conditional: a key of `CONDITIONALS`.
        step: one of `STEPS`.

    Raises:
        PublishedError: there is no such conditional.
    """
    return parse(_functions(conditional, step) + _VEC2VEC)


def tok2tok(conditional: str, step: str = "step") -> Program:
    """Listing 2, with the sizes T, K and BIG; see `vec2vec`."""
    return parse(_functions(conditional, step) + _TOK2TOK)


def _functions(conditional: str, step: str) -> str:
    if conditional not in CONDITIONALS:
        raise PublishedError(f"published conditionals are {', '.join(CONDITIONALS)}, not {conditional}")
    forms = CONDITIONALS[conditional]
    return _FUNCTIONS.format(step=step, positive=forms.positive, signed=forms.signed)
