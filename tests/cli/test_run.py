"""`lsrl run`: what it writes, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from support.commands import Run

Arrays = dict[str, np.ndarray]
B, T, D, H = 2, 5, 3, 4


def arrays() -> tuple[Arrays, Arrays]:
    """Inputs and parameters of decay.lsrl."""
    rng = np.random.default_rng(7)
    return {"x": rng.normal(size=(B, T, D))}, {name: rng.normal(size=(H, D)) for name in ("Wa", "Wb")}


def by_hand(inputs: Arrays, params: Arrays, h: np.ndarray) -> np.ndarray:
    """The outputs [B, T, H] of decay.lsrl, written out."""
    steps = []
    for t in range(inputs["x"].shape[1]):
        a = 1 / (1 + np.exp(-inputs["x"][:, t] @ params["Wa"].T))
        h = a * h + (1 - a) * (inputs["x"][:, t] @ params["Wb"].T)
        steps.append(h)
    return np.stack(steps, 1)


@pytest.fixture
def files(run: Run) -> None:
    inputs, params = arrays()
    np.savez("in.npz", **inputs)
    np.savez("p.npz", **params)


def npz(path: str) -> Arrays:
    with np.load(path) as archive:
        return dict(archive)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ((), 1e-10),
        (("--target", "jax"), 1e-5),
        (("--target", "triton"), 1e-5),
        (("--target", "reference", "--dtype", "float32"), 1e-5),
        (("--target", "jax", "--dtype", "bfloat16"), 2e-2),
        (("--target", "triton", "--dtype", "float16"), 1e-2),
    ],
)
@pytest.mark.usefixtures("files")
def test_outputs_and_final_states(run: Run, options: tuple[str, ...], tolerance: float) -> None:
    done = run("run", "decay.lsrl", "--inputs", "in.npz", "--params", "p.npz", *options, "-o", "out.npz")
    assert done.status == 0, done.err
    found, expected = npz("out.npz"), by_hand(*arrays(), np.zeros((B, H)))
    assert set(found) == {"h", "state.h"}
    close(found["h"], expected, tolerance)
    close(found["state.h"], expected[:, -1], tolerance)
    assert found["h"].dtype == (np.float64 if not options else np.float32)


@pytest.mark.usefixtures("files")
def test_a_run_goes_on_from_a_given_state(run: Run) -> None:
    start = np.random.default_rng(1).normal(size=(B, H))
    np.savez("s.npz", h=start)
    run("run", "decay.lsrl", "--inputs", "in.npz", "--params", "p.npz", "--state", "s.npz", "-o", "out.npz")
    close(npz("out.npz")["h"], by_hand(*arrays(), start), 1e-10)


@pytest.mark.usefixtures("files")
def test_safetensors_are_read_and_written(run: Run) -> None:
    safetensors.numpy.save_file(arrays()[1], "p.safetensors")
    words = ("run", "decay.lsrl", "--inputs", "in.npz", "--params", "p.safetensors", "-o", "out.safetensors")
    assert run(*words).status == 0
    found = safetensors.numpy.load_file("out.safetensors")
    close(found["h"], by_hand(*arrays(), np.zeros((B, H))), 1e-10)


@pytest.mark.parametrize(("target", "tolerance"), [("reference", 1e-6), ("jax", 1e-4), ("triton", 1e-4)])
@pytest.mark.usefixtures("files")
def test_gradients_are_differences(run: Run, target: str, tolerance: float) -> None:
    """Against central differences of the program written out, with cotangents for an output and a final state."""
    rng = np.random.default_rng(3)
    weight, last = rng.normal(size=(B, T, H)), rng.normal(size=(B, H))
    np.savez("c.npz", **{"h": weight, "state.h": last})
    words = ("--inputs", "in.npz", "--params", "p.npz", "--grad", "--cotangents", "c.npz", "--target", target)
    assert run("run", "decay.lsrl", *words, "-o", "out.npz").status == 0
    inputs, params = arrays()
    start = np.zeros((B, H))

    def loss() -> float:
        h = by_hand(inputs, params, start)
        return float((h * weight).sum() + (h[:, -1] * last).sum())

    found = npz("out.npz")
    places = {"grad.x": inputs["x"], "grad.Wa": params["Wa"], "grad.Wb": params["Wb"], "grad.state.h": start}
    assert set(found) == {"h", "state.h", *places}
    for name, array in places.items():
        expected = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            before = array[place]
            array[place] = before + 1e-6
            above = loss()
            array[place] = before - 1e-6
            expected[place] = (above - loss()) / 2e-6
            array[place] = before
        close(found[name], expected, tolerance)


@pytest.mark.usefixtures("files")
def test_without_cotangents_outputs_weigh_one_and_states_nothing(run: Run) -> None:
    words = ("run", "decay.lsrl", "--inputs", "in.npz", "--params", "p.npz", "--grad")
    run(*words, "-o", "plain.npz")
    np.savez("c.npz", h=np.ones((B, T, H)))
    run(*words, "--cotangents", "c.npz", "-o", "ones.npz")
    plain, ones = npz("plain.npz"), npz("ones.npz")
    assert plain.keys() == ones.keys()
    for name in plain:
        np.testing.assert_array_equal(plain[name], ones[name])


@pytest.mark.usefixtures("files")
def test_a_seed_draws_the_same_parameters_for_every_target(run: Run) -> None:
    for target in ("reference", "jax", "triton"):
        run("run", "decay.lsrl", "--inputs", "in.npz", "--seed", 5, "--target", target, "-o", f"{target}.npz")
    close(npz("jax.npz")["h"], npz("reference.npz")["h"], 1e-5)
    close(npz("triton.npz")["h"], npz("reference.npz")["h"], 1e-5)
    run("run", "decay.lsrl", "--inputs", "in.npz", "-o", "zero.npz")
    run("run", "decay.lsrl", "--inputs", "in.npz", "--seed", 0, "-o", "same.npz")
    np.testing.assert_array_equal(npz("zero.npz")["h"], npz("same.npz")["h"])
    run("run", "decay.lsrl", "--inputs", "in.npz", "--seed", 6, "-o", "other.npz")
    assert not np.allclose(npz("other.npz")["h"], npz("reference.npz")["h"])


@pytest.mark.usefixtures("files")
def test_noise_is_the_same_for_every_target(run: Run) -> None:
    Path("noisy.lsrl").write_text(
        "cell noisy(D):\n    input x: [D]\n    noise e: [D] ~ normal(1)\n    state s: [D] = 0\n"
        "    s' = s + e\n    output y = x + s'\n"
    )
    for target in ("reference", "jax", "triton"):
        words = ("--seed", 5, "--target", target, "-o", f"{target}.npz")
        assert run("run", "noisy.lsrl", "--inputs", "in.npz", *words).status == 0
    reference = npz("reference.npz")["y"]
    close(npz("jax.npz")["y"], reference, 1e-5)
    close(npz("triton.npz")["y"], reference, 1e-5)
    walk = np.diff(reference - arrays()[0]["x"], axis=1)
    assert walk.std() > 0.3


@pytest.mark.usefixtures("files")
def test_the_same_bytes_come_out(run: Run) -> None:
    for name in ("one.npz", "two.npz"):
        run("run", "decay.lsrl", "--inputs", "in.npz", "--seed", 0, "--grad", "-o", name)
    assert Path("one.npz").read_bytes() == Path("two.npz").read_bytes()


def test_a_program_without_inputs_is_told_its_extent(run: Run) -> None:
    Path("ticks.lsrl").write_text("cell ticks():\n    state n: [] int = 0\n    n' = n + 1\n    output n'\n")
    for target in ("reference", "jax", "triton"):
        words = ("--target", target, "--batch", 2, "--length", 4, "-o", "out.npz")
        done = run("run", "ticks.lsrl", *words)
        assert done.status == 0, done.err
        np.testing.assert_array_equal(npz("out.npz")["n"], [[1, 2, 3, 4]] * 2)
    done = run("run", "ticks.lsrl", "-o", "out.npz")
    assert done.status == 1
    assert "B and T" in done.err


@pytest.mark.parametrize(
    ("inputs", "params", "words"),
    [
        ({}, {}, "input x is missing: expected float [B, T, D]"),
        ({"x": (B, D)}, {}, f"input x: expected float [B, T, D], found [{B}, {D}]"),
        ({"y": (B, T, D)}, {"Wa": (H, D), "Wb": (H, D)}, "there is no input y"),
        ({"x": (B, T, D)}, {"Wa": (H, D)}, "param Wb is missing: expected float [H=4, D=3]"),
        ({"x": (B, T, D)}, {"Wa": (H, D), "Wb": (H, D), "Wc": (H, D)}, "there is no param Wc; the params are Wa, Wb"),
        ({"x": (B, T)}, {"Wa": (H, D), "Wb": (H, D)}, "input x: expected float [B, T, D=3], found [2, 5]"),
        ({"x": (B, T, D)}, {"Wa": (H, D), "Wb": (D, H)}, "param Wb [H, D] has 3 where H is 4: H=4 by param Wa [H, D]"),
        ({"x": (B, T, D)}, {"Wa": (H, D), "Wb": (H, D + 1)}, "param Wb [H, D] has 4 where D is 3: D=3 by input x [D]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    run: Run, inputs: dict[str, tuple[int, ...]], params: dict[str, tuple[int, ...]], words: str
) -> None:
    np.savez("in.npz", **{name: np.ones(shape) for name, shape in inputs.items()})
    np.savez("p.npz", **{name: np.ones(shape) for name, shape in params.items()})
    done = run("run", "decay.lsrl", "--inputs", "in.npz", "--params", "p.npz", "-o", "out.npz")
    assert done.status == 1
    assert words in done.err
    assert not Path("out.npz").exists()


@pytest.mark.parametrize("target", ["reference", "jax", "triton"])
@pytest.mark.parametrize(
    ("cotangents", "words"),
    [
        ({"g": (B, T, H)}, "there is no output g to have a cotangent; there are h, state.h"),
        ({"h": (B, T)}, "cotangent h: expected [2, 5, 4], found [2, 5]"),
    ],
)
@pytest.mark.usefixtures("files")
def test_cotangents_that_do_not_fit_are_refused(
    run: Run, target: str, cotangents: dict[str, tuple[int, ...]], words: str
) -> None:
    np.savez("c.npz", **{name: np.ones(shape) for name, shape in cotangents.items()})
    done = run(
        *("run", "decay.lsrl", "--inputs", "in.npz", "--seed", 0, "--target", target),
        *("--grad", "--cotangents", "c.npz", "-o", "out.npz"),
    )
    assert done.status == 1
    assert words in done.err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--inputs", "in.npz", "--seed", "0", "--cotangents", "p.npz", "-o", "out.npz"), 2, "--grad"),
        (("--inputs", "in.npz", "--seed", "0"), 2, "-o"),
        (("--inputs", "none.npz", "--seed", "0", "-o", "out.npz"), 1, "none.npz: No such file"),
        (("--inputs", "decay.lsrl", "--seed", "0", "-o", "out.npz"), 1, "decay.lsrl: arrays are kept in files"),
        (("--inputs", "in.npz", "--seed", "0", "-o", "out.csv"), 1, "out.csv: arrays are kept in files"),
        (("--inputs", "in.npz", "--seed", "0", "--dtype", "bfloat16", "-o", "out.npz"), 1, "no bfloat16"),
        (("--inputs", "in.npz", "--seed", "0", "--set", "D=4", "-o", "out.npz"), 1, "D=4 by the given sizes"),
        (("--inputs", "in.npz", "--seed", "0", "--schedule", "scan", "-o", "out.npz"), 1, "so `scan` cannot run it"),
    ],
)
@pytest.mark.usefixtures("files")
def test_wrong_words_are_refused(run: Run, words: tuple[str, ...], status: int, says: str) -> None:
    done = run("run", "decay.lsrl", *words)
    assert done.status == status
    assert says in done.err
    assert not Path("out.npz").exists()


def test_ints_and_bools_have_no_gradient(run: Run) -> None:
    Path("pick.lsrl").write_text(
        "cell pick(V=3, D=2):\n    input i: [] int(V), r: [] bool\n    param E: [V, D] ~ normal(1)\n"
        "    state s: [D] = 0, n: [] int = 0\n    reset when r\n    s' = s + E[i]\n    n' = n + 1\n    output s', n'\n"
    )
    tokens = np.array([[0, 2, 2, 1]])
    np.savez("in.npz", i=tokens, r=np.array([[False, False, True, False]]))
    for target in ("reference", "jax", "triton"):
        done = run("run", "pick.lsrl", "--inputs", "in.npz", "--seed", 0, "--grad", "--target", target, "-o", "out.npz")
        assert done.status == 0, done.err
        found = npz("out.npz")
        assert set(found) == {"s", "n", "state.s", "state.n", "grad.E", "grad.state.s"}
        np.testing.assert_array_equal(found["n"], [[1, 2, 1, 2]])
        # Rows 0 and 2 reach the outputs up to the reset, which cuts what came before.
        close(found["grad.E"], [[2, 2], [1, 1], [3, 3]], 1e-5)
        close(found["grad.state.s"], [[2, 2]], 1e-5)
    np.savez("in.npz", i=np.array([[0, 3]]), r=np.zeros((1, 2), bool))
    done = run("run", "pick.lsrl", "--inputs", "in.npz", "--seed", 0, "-o", "out.npz")
    assert done.status == 1
    assert "3 at [0, 1] is outside int(V=3)" in done.err


@pytest.mark.parametrize("target", ["reference", "jax"])
def test_grids_run(run: Run, target: str) -> None:
    """Both states sum up along their axis: a two-dimensional cumulative sum, with border states for a start."""
    Path("sums.lsrl").write_text(
        "cell sums() over y, x:\n    input v: []\n    state row: [] along x = 0\n    state all: [] along y = 0\n"
        "    row' = row + v\n    all' = all + row'\n    output all'\n"
    )
    v = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.savez("in.npz", v=v)
    np.savez("s.npz", all=np.arange(8.0).reshape(2, 4))
    words = ("--inputs", "in.npz", "--state", "s.npz", "--grad", "--dtype", "float64", "--target", target)
    assert run("run", "sums.lsrl", *words, "-o", "out.npz").status == 0
    found = npz("out.npz")
    expected = v.cumsum(1).cumsum(2) + np.arange(8.0).reshape(2, 1, 4)
    close(found["all"], expected, 1e-12)
    close(found["state.all"], expected[:, -1], 1e-12)
    close(found["state.row"], v.sum(2), 1e-12)
    close(found["grad.v"], np.broadcast_to(np.outer([3, 2, 1], [4, 3, 2, 1]), (2, 3, 4)), 1e-12)


def test_graphs_run_in_the_reference(run: Run) -> None:
    """A state that sums up what lies before a node counts the paths from every other node to it."""
    Path("paths.lsrl").write_text(
        "cell paths() over graph:\n    node input x: []\n    edge state c: [] = 0\n"
        "    c' = sum_in(c) + x\n    output y = sum_in(c)\n"
    )
    edges = np.array([[0, 1], [0, 2], [1, 3], [2, 3], [3, 4]])
    x = np.array([1.0, 10, 100, 1000, 10000])
    np.savez("in.npz", x=x, edges=edges)
    assert run("run", "paths.lsrl", "--inputs", "in.npz", "--grad", "-o", "out.npz").status == 0
    found = npz("out.npz")
    np.testing.assert_array_equal(found["y"], [0, 1, 1, 112, 1112])
    np.testing.assert_array_equal(found["state.c"], [1, 1, 11, 101, 1112])
    np.testing.assert_array_equal(found["grad.x"], [6, 2, 2, 1, 0])
    np.savez("in.npz", x=x, edges=np.array([[0, 1], [1, 0]]))
    done = run("run", "paths.lsrl", "--inputs", "in.npz", "-o", "out.npz")
    assert done.status == 1
    assert "edge" in done.err


@pytest.mark.usefixtures("files")
def test_without_a_gpu_the_plain_form_runs_and_says_so() -> None:
    words = ("run", "decay.lsrl", "--inputs", "in.npz", "--params", "p.npz", "--target", "triton", "-o", "out.npz")
    done = subprocess.run(
        [sys.executable, "-m", "lsrl", *words],
        env=os.environ | {"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("no GPU") == 1
    assert len(done.stderr.splitlines()) == 2
    close(npz("out.npz")["h"], by_hand(*arrays(), np.zeros((B, H))), 1e-5)
