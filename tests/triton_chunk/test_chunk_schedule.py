"""A module says where chunks run without kernels."""

from __future__ import annotations

import pytest

import lsrl

DELTA = """
cell delta(K, V):
    input q, k: [K], v: [V]
    state S: [K, V] = 0
    S' = S - outer(k, k @ S) + outer(k, v)
    output o = {read}
"""


@pytest.mark.parametrize(
    ("schedule", "dtype", "read", "told"),
    [
        ("chunk(16)", "float32", "q @ S'", '"chunks of 16 positions"'),
        ("chunk(24)", "float32", "q @ S'", "in plain PyTorch: tiles are of powers of two"),
        ("chunk(128)", "bfloat16", "q @ S'", "in plain PyTorch: a tile holds 64 positions at most"),
        ("parallel", "float32", "q @ S'", "in plain PyTorch: a tile holds 64 positions at most"),
        ("chunk", "float64", "q @ S'", "in plain PyTorch: kernels compute in float32"),
        ("chunk", "float32", "S' @ v", "in plain PyTorch: it is read along columns"),
    ],
)
def test_what_runs_without_kernels_is_told(schedule: str, dtype: str, read: str, told: str) -> None:
    program = lsrl.parse(DELTA.format(read=read))
    source = lsrl.compile(program, "triton", {"K": 4, "V": 3}, schedule=schedule, dtype=dtype).source
    table = source.partition("SCHEDULE = {")[2].partition("}")[0]
    assert told in table
