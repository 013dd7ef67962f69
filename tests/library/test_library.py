"""Every program of the library agrees with an implementation that was not written here, values and gradients."""

import pytest

from support.peers.row import Row, measure
from support.peers.table import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.program}-{row.reference.partition(':')[0]}")
def test_program_is_what_others_compute(row: Row) -> None:
    errors = measure(row)
    assert errors.values <= 1e-10
    assert errors.gradients <= 1e-8
