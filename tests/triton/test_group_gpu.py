"""Groups of programs on a GPU: the numbers of the plain form, also where not all sequences run at once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pytest
import torch

from support.on_gpu import check_on_gpu
from support.programs import Case

pytestmark = pytest.mark.gpu
LENGTH = 60
# Sequences that fill one tile in part, or more tiles than run at once.
CASES: Mapping[str, tuple[Case, int]] = {
    "lstm": (Case("std/lstm", (("D", 32), ("H", 512))), 5),
    "lstm, padded": (Case("std/lstm", (("D", 32), ("H", 300))), 40),
    "lstm, many sequences": (Case("std/lstm", (("D", 8), ("H", 256))), 400),
    "gru": (Case("std/gru", (("D", 32), ("H", 384))), 16),
    "gru, two meetings": (Case("std/gru2014", (("D", 32), ("H", 200))), 20),
    "elman": (Case("std/rnn", (("D", 32), ("H", 1024))), 3),
    "heads": (Case("std/slstm", (("N", 3), ("P", 200))), 7),
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_groups(name: str, dtype: str) -> None:
    case, batch = CASES[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "too few multiprocessors")
        module = check_on_gpu(case, dtype, batch, LENGTH, TOLERANCE[dtype])
    assert any("that meet" in how for how in module.SCHEDULE.values())


def test_many_runs_agree_to_the_bit() -> None:
    """Programs that read before they may would do so in one run and not in another."""
    module = check_on_gpu(CASES["lstm"][0], "bfloat16", 16, LENGTH, TOLERANCE["bfloat16"])
    params = module.init(0, "cuda")
    x = torch.randn(16, 500, 32, device="cuda", dtype=torch.bfloat16)
    first, _ = module.apply(params, {"x": x})
    for _ in range(20):
        again, _ = module.apply(params, {"x": x})
        assert torch.equal(first["h"], again["h"])
