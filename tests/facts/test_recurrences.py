"""What is derived about recurrences is true: every claim about every program against numbers."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.ir.cell import Cell
from lsrl.ir.facts.structure import Along, AxisStructure, Structure, Transition
from support.elaborated import cell_of_text
from support.graphs import random_cell
from support.programs import PROGRAMS, Case, bound
from support.recurrences import check_recurrences, check_structure


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_claims_hold(case: Case) -> None:
    cell, sizes = bound(case)
    check_recurrences(cell, sizes)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_claims_hold_for_random_graphs(seed: int) -> None:
    cell = random_cell(Random(seed), operations=25)
    check_recurrences(cell, {"H": 4, "D": 6}, seed)


def line(random: Random, names: list[str]) -> str:
    """An update of a matrix state S by operations that recurrences are made of."""
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


def program(random: Random) -> Cell:
    """A random recurrence of one matrix."""
    names, body = ["S"], []
    for place in range(random.randrange(1, 5)):
        body.append(f"    y{place} = {line(random, names)}")
        names.append(f"y{place}")
    text = "\n".join(
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
    return cell_of_text(text)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_claims_hold_for_random_updates(seed: int) -> None:
    check_recurrences(program(Random(seed)), {"K": 4, "V": 3}, seed)


@pytest.mark.parametrize("along", [Along.NONE, Along.IDENTITY, Along.DIAGONAL, Along.LOW_RANK])
def test_false_claims_are_caught(along: Along) -> None:
    claimed = Structure(Transition.DENSE, (AxisStructure(along, along, rank=1),), complex=False, coefficients=())
    with pytest.raises(AssertionError):
        check_structure(claimed, np.random.default_rng(0).normal(size=(4, 4)))
