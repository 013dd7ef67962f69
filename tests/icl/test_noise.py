"""The published programs in all their forms, and the noise study on small tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lsrl
from lsrl.backends.weights.execute import execute
from lsrl.icl_draws import Copies, exact_copy
from lsrl.icl_functions import blend
from lsrl.icl_noise import noise_sweep, perturbed
from lsrl.icl_published import CONDITIONALS, tok2tok
from lsrl.icl_sweeps import grouped, number, run_sweep
from lsrl.icl_tasks import DERIVED, FORMS, MILD, Approximating, Translating
from lsrl.icl_training import Training, train

WORDS = Translating(tokens=2, pairs=5, vocabulary=6, queries=4)
CELLS = Approximating(resolution=4, queries=6)


@pytest.mark.parametrize("conditional", CONDITIONALS)
def test_published_words(conditional: str) -> None:
    """As text, in the reference: the value of each key, which also the brute-force search finds."""
    words = WORDS.words(0)
    run = lsrl.compile(tok2tok(conditional), target="reference", sizes={"T": 2})
    found = run({}, {"x": WORDS.inputs("published " + conditional, 0)[..., 0]}).outputs["y"]
    expected = [next(value for key, value in words if (key == query).all()) for query in words[:4, 0]]
    np.testing.assert_allclose(found[:, -2:], expected, atol=1e-3)
    assert np.abs(found[:, :2]).max() < 1e-3  # nothing before the match


@pytest.mark.parametrize("form", [*MILD, "published multiplicative", DERIVED])
def test_networks_of_all_forms_translate(form: str) -> None:
    network = WORDS.posed(form).network(WORDS.length)
    outputs, _ = execute(network, WORDS.inputs(form, 3))
    assert WORDS.score(3, outputs) == 0
    assert WORDS.score(3, outputs + 1) == 100


@pytest.mark.parametrize("form", ["published multiplicative", "mild optimized", DERIVED])
def test_networks_of_all_forms_look_functions_up(form: str) -> None:
    """Queries that are not near a border get the value of their cell; the score is the distance from the function."""
    outputs, _ = execute(CELLS.posed(form).network(CELLS.length), CELLS.inputs(form, 0))
    queries = CELLS.points(0)
    inner = (np.abs(queries * 4 - np.rint(queries * 4)) > 4 / 128).all(-1)
    assert inner.sum() >= 4
    function = blend(0)
    values = function((np.floor(queries * 4) + 0.5) / 4)
    np.testing.assert_allclose(outputs[inner, -1], values[inner], atol=1e-5)
    by_hand = np.mean([np.hypot(*(found - function(query[None])[0])) for found, query in zip(outputs[:, -1], queries)])
    assert CELLS.score(0, outputs) == pytest.approx(by_hand)


def test_forms_are_what_they_are_called() -> None:
    assert FORMS["published optimized"].constants == {"K": 1000, "BIG": 10**10}
    assert len(FORMS) == 2 * len(CONDITIONALS)


def test_derived_constants_withstand_what_published_ones_do_not(tmp_path: Path) -> None:
    forms = ("published multiplicative", DERIVED, "rnn")
    made = noise_sweep(("words",), forms, (0.0, 1e-5), 6, taught=(True, False), tasks={"words": WORDS})
    rows = run_sweep(made, tmp_path / "noise.csv")
    wrong = {
        (form, taught, noise): np.mean([number(row, "wrong") for row in rows if _is(row, form, taught, noise)])
        for form, taught in ((forms[0], "yes"), (DERIVED, "yes"), (DERIVED, "no"), ("rnn", "no"))
        for noise in (0.0, 1e-5)
    }
    assert {key: value for key, value in wrong.items() if key[2] == 0 or key[0] != forms[0]} == {
        key: 0 for key in wrong if key[2] == 0 or key[0] != forms[0]
    }
    assert wrong["published multiplicative", "yes", 1e-5] > 40


def _is(row: object, form: str, taught: str, noise: float) -> bool:
    return (row["form"], row["taught"], row["noise"]) == (form, taught, noise)  # type: ignore[index]


def test_a_seed_gives_the_same_whatever_is_measured_with_it(tmp_path: Path) -> None:
    """So that a study that was interrupted ends as one that was not."""
    tasks = {"cells": CELLS}
    whole = noise_sweep(("cells",), (DERIVED,), (1e-3, 1e-2), 3, tasks=tasks)
    part = noise_sweep(("cells",), (DERIVED,), (1e-2,), 2, tasks=tasks)
    run_sweep(part, tmp_path / "parts.csv")
    rows = run_sweep(whole, tmp_path / "parts.csv")
    at_once = run_sweep(whole, tmp_path / "whole.csv")
    assert [row["wrong"] for row in rows] == [row["wrong"] for row in at_once]
    assert len({row["wrong"] for row in rows}) == 6


def test_modules_are_perturbed_where_they_are_not_zero() -> None:
    module = torch.nn.Linear(50, 40)
    with torch.no_grad():
        module.weight[:, ::2] = 0
    noisy, again = perturbed(module, 0.1, 5), perturbed(module, 0.1, 5)
    off = (noisy.weight - module.weight).detach()
    assert (off[:, ::2] == 0).all()
    assert off[:, 1::2].std().item() == pytest.approx(0.1, rel=0.1)
    assert (noisy.bias != module.bias).all()
    assert (noisy.weight == again.weight).all()


def test_training_under_noise_makes_words_robust(tmp_path: Path) -> None:
    """On words that it was not trained on; numbers that are 0 stay so, and without noise nothing is lost."""
    short = Translating(tokens=1, pairs=3, vocabulary=4, queries=3)
    derived = exact_copy(short.posed(DERIVED).network(short.length))
    trained = train(short, derived, Training(noise=5e-3, steps=120, copies=8))
    for before, after in zip(derived.numbers(), trained.numbers()):
        assert ((before == 0) <= (after == 0)).all()
    seeds = range(40)
    inputs = torch.tensor(np.stack([short.inputs(DERIVED, seed) for seed in seeds]))

    def wrong(network: Copies, noise: float) -> float:
        noisy = network.noisy(noise, len(seeds), torch.Generator().manual_seed(0))
        outputs = noisy.run(inputs)[0].numpy()
        return float(np.mean([short.score(seed, found) for seed, found in zip(seeds, outputs)]))

    assert wrong(derived, 0) == wrong(trained, 0) == 0
    assert wrong(trained, 5e-3) < 0.5 * wrong(derived, 5e-3)


def test_the_multiplicative_conditionals_are_one_network() -> None:
    """The branch that is 0 is not in the normal form; that of `direct` and `optimized` differ."""
    networks = {name: CELLS.posed(f"published {name}").network(CELLS.length) for name in CONDITIONALS}
    assert networks["multiplicative"].layers == networks["multiplicative_optimized"].layers
    assert networks["direct"].layers != networks["optimized"].layers != networks["step_optimized"].layers


def test_networks_and_their_copies_are_rounded(tmp_path: Path) -> None:
    """Tokens that bfloat16 does not have, as odd ones above 256, cannot come out of a network of that type."""
    many = Translating(tokens=1, pairs=4, vocabulary=600, queries=4)
    made = noise_sweep(
        ("words",), (DERIVED, "rnn"), (0.0,), 3, dtypes=("float32", "bfloat16"), tasks={"words": many}
    )
    rows = run_sweep(made, tmp_path / "noise.csv")
    for row in rows:
        tokens = torch.tensor(many.wanted(int(row["seed"])))
        there = 100 * (tokens.to(getattr(torch, row["dtype"])) == tokens).double().mean().item()
        assert number(row, "wrong") >= 100 - there
        assert number(row, "wrong") == 0 or row["dtype"] == "bfloat16"
    for form, own in grouped(rows, "form", "dtype"):
        assert (max(number(row, "wrong") for row in own) > 0) == (form[1] == "bfloat16")
