"""Programs built in Python are the graphs of the same programs in text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsrl import elaborate, trace
from lsrl.backends.reference import run
from lsrl.ir.cell import Cell, DimError, bind_sizes
from lsrl.ir.dims import Dim
from lsrl.loader import load_library, load_text


def from_text(text: str) -> Cell:
    loaded = load_text(text)
    return elaborate.elaborate(loaded.program, loader=loaded.loader)


def same(traced: Cell, text: Cell) -> None:
    assert replace(traced, requires=()) == replace(text, requires=())
    assert traced.names == text.names


def test_mingru() -> None:
    c = trace.cell("mingru", sizes={"D": None, "H": "2*D"}, doc="Minimal.")
    x = c.input("x", "D")
    Wz, Wh = (c.param(name, "H", "D", init=trace.uniform(1 / trace.sqrt(c.size("D")))) for name in ("Wz", "Wh"))
    bz = c.param("bz", "H", init=0)
    h = c.state("h", "H", init=0)
    z = c.name("z", trace.sigmoid(Wz @ x + bz))
    c.next(h, (1 - z) * h + z * (Wh @ x))
    c.output("h", h.next)
    text = '''cell mingru(D, H=2*D):
    """Minimal."""
    input x: [D]
    param Wz, Wh: [H, D] ~ uniform(1/sqrt(D))
    param bz: [H] = 0
    state h: [H] = 0

    z = sigmoid(Wz @ x + bz)
    h' = (1 - z) * h + z * (Wh @ x)

    output h'
'''
    same(c.build(), from_text(text))
    assert trace.text(c) == text


def test_heads_shared_values_and_infinite_starts() -> None:
    c = trace.cell("mlstm", sizes=("N", "K", "V"), heads="N")
    q, k, v, i, f = c.input("q", "K"), c.input("k", "K"), c.input("v", "V"), c.input("i"), c.input("f", shared=True)
    C, n = c.state("C", "K", "V"), c.state("n", "K")
    m = c.state("m", init=-trace.inf)
    lf = c.name("lf", trace.logsigmoid(f))
    c.next(m, trace.max(lf + m, i))
    decay, gain = c.name("decay", trace.exp(lf + m - m.next)), c.name("gain", trace.exp(i - m.next))
    c.next(C, decay * C + gain * trace.outer(k, v))
    c.next(n, decay * n + gain * k)
    c.output("h", (q @ C.next) / trace.max(abs(q @ n.next), trace.exp(-m.next)))
    same(
        c.build(),
        from_text("""
cell mlstm(N, K, V) heads N:
    input q, k: [K], v: [V], i: [], f: [] shared
    state C: [K, V] = 0, n: [K] = 0, m: [] = -inf
    lf = logsigmoid(f)
    m' = max(lf + m, i)
    decay = exp(lf + m - m')
    gain = exp(i - m')
    C' = decay * C + gain * outer(k, v)
    n' = decay * n + gain * k
    output h = (q @ C') / max(abs(q @ n'), exp(-m'))
"""),
    )


def test_constants_indices_lags_and_resets() -> None:
    c = trace.cell("odd", sizes={"H": 8})
    x, r = c.input("x", "H"), c.input("r", kind="bool")
    token = c.input("token", kind="int", bound="H", pad=2)
    E = c.param("E", "H", "H+1", init=trace.normal(0.02))
    z = c.state("z", kind="complex", init=1 - 2j)
    s = c.state("s", 3, init=[0.5, 0, -1.5])
    c.reset(r)
    c.next(z, z * trace.cis(2 * trace.pi / 5) + x[0] * 0.1)
    a, b = trace.split(trace.concat(x, x), 2)
    row = c.name("row", E[token][1:] + E[:, 2] * trace.diag(x)[:, 0] - a[-1] ** 2 + b // 3 % 2)
    c.next(s, trace.where(c.lag(token) > 3, s, trace.full([3], trace.sum(c.lag(x, 2)))) @ np.eye(3))
    c.output("row", row)
    c.output("m", trace.mean(row) / c.size("2*H") + trace.one_hot(token, "H")[3])
    text = from_text("""
cell odd(H=8):
    input x: [H], r: [] bool, token: [] int(H) pad 2
    param E: [H, H+1] ~ normal(0.02)
    state z: [] complex = 1 - 2j, s: [3] = [0.5, 0, -1.5]
    reset when r
    z' = z * cis(2*pi/5) + x[0] * 0.1
    a, b = split(concat(x, x), 2)
    row = E[token][1:] + E[:, 2] * diag(x)[:, 0] - a[-1] ** 2 + b // 3 % 2
    s' = where(token[t-1] > 3, s, full([3], sum(x[t-2]))) @ [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    output row
    output m = mean(row) / (2*H) + one_hot(token, H)[3]
""")
    traced = c.build()
    assert list(traced.roots()) == list(text.roots())
    by_name = {state.name: state for state in text.states}
    assert {state.name: state for state in traced.states} == by_name


def test_grids_with_states_along_several_axes() -> None:
    c = trace.cell("grid", sizes=("K",), axes=("y", "x"))
    u = c.input("u", "K")
    R, S = c.state("R", "K", along="x"), c.state("S", along=("y", "x"))
    c.next(R, trace.tanh(R + u))
    c.next(S, S.along("y") * S.along("x") + trace.sum(R.next))
    c.output("S", S.next)
    same(
        c.build(),
        from_text("""
cell grid(K) over y, x:
    input u: [K]
    state R: [K] along x, S: [] along y, x
    R' = tanh(R + u)
    S' = S[y-1] * S[x-1] + sum(R')
    output S'
"""),
    )


def test_graphs() -> None:
    c = trace.cell("messages", sizes=("K",), axes=("graph",))
    u, m, g = c.input("u", "K", domain="node"), c.input("m", domain="edge"), c.input("g", domain="turn")
    C = c.state("C", "K", domain="edge")
    c.next(C, trace.sum_in(g * trace.read(C, "turn.in")) + m * trace.read(u, "edge.from"))
    c.output("o", trace.sum_in(m * C * trace.read(u, "edge.to")))
    same(
        c.build(),
        from_text("""
cell messages(K) over graph:
    node input u: [K]
    edge input m: []
    turn input g: []
    edge state C: [K]
    C' = sum_in(g * C) + m * u
    output o = sum_in(m * C * u)
"""),
    )


def test_cells_are_used_in_cells() -> None:
    loaded = load_library("std/mingru")
    mingru = elaborate.elaborate(loaded.program, loader=loaded.loader)
    c = trace.cell("twice", sizes=("D", "H"))
    x = c.input("x", "D")
    (a,) = c.use(mingru, x, D="D", H="H")
    (b,) = c.use(mingru, a, D="H", H="H", reverse=True)
    c.output("y", a + b)
    same(
        c.build(),
        from_text("""
from std import mingru
cell twice(D, H):
    input x: [D]
    a = mingru(D, H)(x)
    output y = a + reverse mingru(H, H)(a)
"""),
    )


def test_a_generated_program_runs() -> None:
    """A product of rotations by fractions of pi, against complex powers."""
    c = trace.cell("rotations")
    x = c.input("x")
    for n in range(1, 5):
        z = c.state(f"z{n}", kind="complex")
        c.next(z, trace.cis(2 * trace.pi * n / 5) * z + x)
        c.output(f"o{n}", trace.re(z.next))
    x_values = np.random.default_rng(0).normal(size=(1, 6))
    outputs = run(c.build(), {}, {}, {"x": x_values}).outputs
    for n in range(1, 5):
        powers = np.exp(2j * np.pi * n / 5 * np.arange(6))
        expected = [np.sum(x_values[0, : t + 1] * powers[t::-1]).real for t in range(6)]
        np.testing.assert_allclose(outputs[f"o{n}"][0], expected, rtol=1e-12)


def test_slices_are_required_to_lie_within_their_axes() -> None:
    c = trace.cell("c", sizes=("H",))
    c.output("o", c.input("x", "H")[2:5])
    built = c.build()
    assert bind_sizes(built, {"H": 5}) == {"H": 5}
    with pytest.raises(DimError, match="the slice 2:5 does not lie within an axis of H"):
        bind_sizes(built, {"H": 4})


def declared() -> tuple[trace.TracedCell, trace.Traced, trace.Traced, trace.TracedState]:
    c = trace.cell("c", sizes=("D", "H"))
    return c, c.input("x", "D"), c.param("W", "H", "D"), c.state("h", "H")


MISTAKES = {
    "shapes differ: found [H] and [D], expected equal shapes, or a scalar": lambda c, x, W, h: h + x,
    "the inner sizes of `@` differ: found [H, D] @ [H]": lambda c, x, W, h: W @ h,
    "has no truth value while the program is built; use where(condition, a, b)": lambda c, x, W, h: (
        1 if x[0] > 0 else 2
    ),
    "has no number of elements to go through; use split(x, parts)": lambda c, x, W, h: list(x),
    "the state h has no next value yet": lambda c, x, W, h: h.next,
    "no next value is given for the state h": lambda c, x, W, h: (c.output("o", x), c.build()),
    "the cell c has no size K; its sizes are D, H": lambda c, x, W, h: c.input("k", "K"),
    "x is declared twice": lambda c, x, W, h: c.param("x"),
    "the next value of h has another shape: found [D], expected [H]": lambda c, x, W, h: c.next(h, x),
    "the next value of h is given twice": lambda c, x, W, h: (c.next(h, h), c.next(h, h)),
    "the cell c has no output": lambda c, x, W, h: (c.next(h, h), c.build()),
    "'x' is no value": lambda c, x, W, h: x + "x",
    "3 indices for an array of 2 axes": lambda c, x, W, h: W[0, 0, 0],
    "is no size": lambda c, x, W, h: trace.zeros([x]),
    "lag reads a named value": lambda c, x, W, h: c.lag(x * 2),
    "there is no distribution uniform with 3 arguments": lambda c, x, W, h: trace.uniform(1, 2, 3),
    "max of several values goes element by element": lambda c, x, W, h: trace.max(x, x, axis=0),
    "there is no axis 2 in [D]": lambda c, x, W, h: trace.sum(x, axis=2),
    "a complex value where float is declared": lambda c, x, W, h: c.next(h, h * 1j),
    "travels along t, not along y": lambda c, x, W, h: h.along("y"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_explained(message: str) -> None:
    with pytest.raises(trace.TraceError) as caught:
        MISTAKES[message](*declared())
    assert message in str(caught.value)


def test_sizes_are_dims() -> None:
    c, x, W, _ = declared()
    assert (W.T @ W).shape == (Dim.of("D"), Dim.of("D"))
    assert c.size("H // 2 + 1").value.attr("dim") == Dim.of("H") // 2 + 1
    assert x[1 : c.size("D")].shape == (Dim.of("D") - 1,)
