"""`lsrl run --grad rtrl`."""

from __future__ import annotations

import numpy as np
import pytest

from support.commands import Run, run

__all__ = ["run"]


@pytest.fixture
def files(run: Run) -> None:
    generator = np.random.default_rng(7)
    np.savez("in.npz", x=generator.normal(size=(2, 5, 3)))
    np.savez("p.npz", **{name: generator.normal(size=(4, 3)) for name in ("Wa", "Wb")})
    np.savez("c.npz", **{"h": generator.normal(size=(2, 5, 4)), "state.h": generator.normal(size=(2, 4))})


def test_equals_reverse_mode(run: Run, files: None) -> None:
    words = ("--inputs", "in.npz", "--params", "p.npz", "--cotangents", "c.npz")
    assert run("run", "decay.lsrl", *words, "--grad", "rtrl", "-o", "rtrl.npz").status == 0
    assert run("run", "decay.lsrl", *words, "--grad", "reverse", "-o", "reverse.npz").status == 0
    forward, reverse = dict(np.load("rtrl.npz")), dict(np.load("reverse.npz"))
    assert reverse.keys() - forward.keys() == {"grad.x"}
    for name, array in forward.items():
        np.testing.assert_allclose(array, reverse[name], rtol=0, atol=1e-12, err_msg=name)


def test_without_a_method_the_word_that_follows_is_not_taken(run: Run, files: None) -> None:
    words = ("--inputs", "in.npz", "--params", "p.npz", "-o", "out.npz")
    assert run("run", "--grad", "decay.lsrl", *words).status == 0
    assert "grad.x" in np.load("out.npz")


def test_a_dense_recurrence_is_refused(run: Run, files: None) -> None:
    done = run("run", "std/gru", "--inputs", "in.npz", "--set", "H=4", "--grad", "rtrl", "-o", "out.npz")
    assert (done.status, done.out) == (1, "")
    assert "`W_hh @ h` (line 14)" in done.err
