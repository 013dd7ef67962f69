"""Compiled kernels on a GPU, at sizes one would use and many positions, against the plain form in double precision."""

from __future__ import annotations

import pytest

from support.on_gpu import check_on_gpu
from support.programs import PROGRAMS, Case

pytestmark = pytest.mark.gpu
BATCH, LENGTH = 5, 200
SIZES = {
    "rnn": {"D": 32, "H": 128},
    "lstm": {"D": 32, "H": 100},
    "gru": {"D": 32, "H": 64},
    "mingru": {"D": 32, "H": 300},
    "lru": {"D": 32, "N": 130},
    "selective_ssm": {"E": 96, "N": 16, "R": 4},
    "gla": {"N": 4, "K": 64, "V": 48},
    "gated_delta": {"N": 4, "K": 128, "V": 128},
    "mlstm": {"N": 4, "K": 64, "V": 64},
    "slstm": {"N": 4, "P": 48},
    "resets": {"D": 64},
    "reversed": {"V": 256, "D": 32, "H": 64},
    "picture": {"C": 4, "Y": 16, "X": 16},
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", SIZES)
def test_compiled_kernels(name: str, dtype: str) -> None:
    """On the GPU by kernels; the same numbers in float64 on the CPU by the plain form, and its gradients."""
    case = Case(PROGRAMS[name].source, tuple(SIZES[name].items()))
    check_on_gpu(case, dtype, BATCH, LENGTH, TOLERANCE[dtype])
