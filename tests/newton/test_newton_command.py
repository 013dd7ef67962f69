"""`lsrl run --schedule newton`: what it writes, and what it tells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from support.commands import Run, run

__all__ = ["run"]

PROGRAM = """cell diagonal(D):
    input x: [D]
    param a: [D]
    state h: [D] = 0
    h' = tanh(a * h + x)
    output h'
"""


def test_the_run_tells_how_it_went(run: Run) -> None:
    generator = np.random.default_rng(2)
    Path("diagonal.lsrl").write_text(PROGRAM)
    x, a = generator.normal(size=(2, 9, 3)), np.array([0.1, -0.2, 0.3])
    np.savez("in.npz", x=x)
    np.savez("p.npz", a=a)
    words = ("--inputs", "in.npz", "--params", "p.npz", "--target", "jax", "-o", "out.npz")
    done = run("run", "diagonal.lsrl", *words, "--schedule", "h=newton(window=4)")
    assert done.status == 0
    assert re.search(r"^h: 3 iterations at most, 0 of lanes step by step, residual \d", done.err, re.MULTILINE)
    h, wanted = np.zeros((2, 3)), []
    for t in range(9):
        h = np.tanh(a * h + x[:, t])
        wanted.append(h)
    np.testing.assert_allclose(np.load("out.npz")["h"], np.stack(wanted, 1), rtol=0, atol=1e-5)
