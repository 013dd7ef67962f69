"""A GRU whose units do not see each other, its input parts given: ours beside loops and the published Newton solver.

    python tests/benchmarks/diagonal_gru.py [--quick] [--device cuda] [-o FILE.json]

The published solver (Danieli et al., 2025, "ParaRNN") is github.com/apple/ml-pararnn, a CUDA extension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import peers_torch
from drawing import Source, batch_major, time_last, time_major, time_second
from families import CPU, CUDA, FLOAT, Family, Missing, Row, Work, both
from running import run
from ways import Arrays, Layer, Way

PROGRAM = """
cell diagonal_gru(D):
    input uz, ur, uh: [D]
    param az, ar, ah: [D]
    state h: [D] = 0
    z = sigmoid(az * h + uz)
    r = sigmoid(ar * h + ur)
    h' = z * tanh(ah * (h * r) + uh) + (1 - z) * h
    output y = h'
"""
LOOP, SCAN, PUBLISHED = "PyTorch loop", "lax.scan", "ml-pararnn, fused"
GATES = ("z", "r", "h")


def _row(batch: int, length: int, width: int, **more: object) -> Row:
    name = f"B={batch}, T={length}, D={width}"
    return Row(name, PROGRAM, batch, length, {"D": width}, **more)  # type: ignore[arg-type]


ROWS = (
    _row(4, 1024, 256, schedules=("sequential", "newton"), peers=(LOOP,)),
    *(_row(4, length, 256) for length in (256, 4096)),
    _row(1, 8192, 2),
    _row(2, 256, 64, quick=True, peers=(LOOP,)),
    *(
        _row(batch, length, width, device=CUDA, schedules=("sequential", "newton"), quick=length == 1024)
        for batch, length, width in ((4, 1024, 256), (8, 4096, 2048), (1, 65536, 1024))
    ),
)


def draw(row: Row) -> tuple[Arrays, Arrays]:
    source, width = Source(), row.sizes["D"]
    params = {f"a{name}": source.normal(width, scale=0.056) for name in GATES}
    return params, {f"u{name}": source.normal(row.batch, row.length, width, scale=0.82) for name in GATES}


def work(row: Row) -> Mapping[str, Work]:
    """Forward three inputs and h; backward those four, the cotangent and three gradients."""
    unit = row.batch * row.length * row.sizes["D"] * FLOAT[row.dtype]
    return both(Work(4 * unit, 0, row.length), Work(12 * unit, 0, 2 * row.length))


def peers(row: Row) -> Iterator[Way | Layer | Missing]:
    if row.device == CPU:
        import peers_jax

        yield Way(SCAN, "jax", peers_jax.gru_step, time_major, batch_major)
        yield Missing(PUBLISHED, "loading it loads its CUDA library")
    if LOOP in row.peers:
        yield Way(LOOP, "torch", peers_torch.gru_loop, time_major, batch_major)
    if row.device == CUDA and find_spec("pararnn") is None:
        yield Missing(PUBLISHED, "ml-pararnn is not installed")
    elif row.device == CUDA:
        yield Way(PUBLISHED, "torch", _published, time_last, time_second, differentiable=False)


def _published(arrays: dict[str, Any]) -> Any:
    """Its fused kernel: A [D, 3] and what the inputs give [B, D, T, 3], in the order z, r, h, to h [B, D, T]."""
    import torch
    from pararnn.rnn_cell.gru_diag_mh import GRUDiagMHImpl

    decays = torch.stack([arrays[f"a{name}"] for name in GATES], -1)
    inputs = torch.stack([arrays[f"u{name}"] for name in GATES], -1)
    return GRUDiagMHImpl._fused_parallel_fwd(decays, inputs)


FAMILY = Family(
    name="diagonal_gru",
    about="a GRU without coupling between units beside loops and the published Newton solver",
    rows=ROWS,
    draw=draw,
    peers=peers,
    work=work,
)

if __name__ == "__main__":
    run(FAMILY)
