"""Random programs with recurrences of every sort, as texts: what schedules, facts and properties are tried on."""

from __future__ import annotations

from random import Random

HEADS, ROWS, COLUMNS = 3, 5, 4


def update(random: Random, names: list[str]) -> str:
    """An update of a matrix state S by operations that recurrences are made of; not all are affine."""
    current = random.choice(names)
    return random.choice(
        (
            f"a * {current}",
            f"diag(k) @ {current}",
            f"{current} @ diag(v)",
            f"{current} - b * outer(k, q @ {current})",
            f"{current} - outer({current} @ v, b * u)",
            f"M @ {current}",
            f"{current} @ W - {random.choice(names)}",
            f"where(r, 0, {current})",
            f"{current} + sum({current}) * outer(k, v)",
            f"concat({current}[1:K], {current}[0:1])",
            f"{current}.T.T - {random.choice(names)} / 2",
            f"tanh({current})",
            f"softmax({current})",
            f"max({current}, a)",
            f"{current} * {random.choice(names)}",
            f"outer(k, sum({current}, axis=0))",
        )
    )


def any_update(random: Random) -> str:
    """A program with one matrix state and up to four updates of it in one step."""
    names, body = ["S"], []
    for place in range(random.randrange(1, 5)):
        body.append(f"    y{place} = {update(random, names)}")
        names.append(f"y{place}")
    return "\n".join(
        [
            "cell random(K=4, V=3):",
            "    input q, k: [K], u, v: [V], a, b: [], r: [] bool",
            "    param M: [K, K]",
            "    param W: [V, V]",
            "    state S: [K, V] = 0",
            *body,
            f"    S' = {names[-1]} + outer(k, v)",
            "    output S'\n",
        ]
    )


def vector_program(random: Random) -> str:
    """Heads of vectors that forget element by element, with a nonlinear recurrence behind them."""
    gate = random.choice(("sigmoid(f)", "exp(-softplus(f))", "tanh(f)", "where(f > 0, 1, 0)", "sigmoid(a + f)"))
    write = random.choice(("x", "(1 - c) * x", "c * x - f", "sigmoid(c) * tanh(x)"))
    step = random.choice(
        (
            "tanh(a * s + h')",
            "c * s + (1 - c) * tanh(b * s + x)",
            "sigmoid(b * s + x) * h' + 0.3 * s",
            "max(0.5 * s + x, h')",
            "0.9 * s + h'",
        )
    )
    return _program(
        f"N={HEADS}, K={ROWS}",
        ["input x, f: [K]", "param a, b: [K] ~ normal(0.5)", "state h, s: [K] = 0"],
        [f"c = {gate}", f"h' = c * h + {write}", f"s' = {step}"],
        "h' + s'",
    )


def matrix_program(random: Random) -> str:
    """Heads of matrices with a decay and perhaps a correction of low rank: what chunks are for.

    The vectors of a correction are shorter than one, so that nothing explodes.
    """
    if random.random() < 0.7:  # the transition acts on rows
        decayed = random.choice(("c * S", "diag(sigmoid(f)) @ S", "S", "diag(where(f > -1, c, 0)) @ S"))
        correction = random.choice(("", " - b * outer(n, n @ D)", " - outer(n, b * ((n * sigmoid(f)) @ D))"))
    else:
        decayed = random.choice(("c * S", "S @ diag(sigmoid(w))", "S"))
        correction = random.choice(("", " - b * outer(D @ m, m)", " - outer(D @ m, sigmoid(w) * m)"))
    lines = [
        "c = sigmoid(g)",
        "b = sigmoid(h)",
        "n = k / sqrt(1 + dot(k, k))",
        "m = v / sqrt(1 + dot(v, v))",
        f"D = {decayed}",
        f"S' = D{correction} + outer(n, v)",
    ]
    return _program(
        f"N={HEADS}, K={ROWS}, V={COLUMNS}",
        ["input q, k, f: [K], v, w: [V], g, h: []", "state S: [K, V] = 0"],
        lines,
        random.choice(("q @ S'", "q @ S", "S' @ w")),
    )


def _program(sizes: str, declarations: list[str], lines: list[str], output: str) -> str:
    body = [*declarations, "input r: [] bool shared", "reset when r", *lines, f"output y = {output}"]
    return "\n".join([f"cell random({sizes}) heads N:", *(f"    {line}" for line in body), ""])
