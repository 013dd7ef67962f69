"""What is derived about recurrences is true: every claim about every program against numbers."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.ir.facts.structure import Along, AxisStructure, Structure, Transition
from support.elaborated import cell_of_text
from support.graphs import random_cell
from support.programs import PROGRAMS, Case, bound
from support.recurrences import check_recurrences, check_structure
from support.recurrent_programs import any_update


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_claims_hold(case: Case) -> None:
    cell, sizes = bound(case)
    check_recurrences(cell, sizes)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_claims_hold_for_random_graphs(seed: int) -> None:
    cell = random_cell(Random(seed), operations=25)
    check_recurrences(cell, {"H": 4, "D": 6}, seed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_claims_hold_for_random_updates(seed: int) -> None:
    check_recurrences(cell_of_text(any_update(Random(seed))), {"K": 4, "V": 3}, seed)


@pytest.mark.parametrize("along", [Along.NONE, Along.IDENTITY, Along.DIAGONAL, Along.LOW_RANK])
def test_false_claims_are_caught(along: Along) -> None:
    claimed = Structure(Transition.DENSE, (AxisStructure(along, along, rank=1),), complex=False, coefficients=())
    with pytest.raises(AssertionError):
        check_structure(claimed, np.random.default_rng(0).normal(size=(4, 4)))
