"""A diagonal linear recurrence, `h' = a * h + x`: ours beside scans of JAX and PyTorch and accelerated-scan.

    python tests/benchmarks/diagonal.py [--quick] [--device cuda] [-o FILE.json]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

import peers_torch
from drawing import Source, batch_major, time_last, time_major, time_second
from families import CPU, CUDA, FLOAT, Family, Missing, Row, Work, both
from running import run
from ways import Arrays, Layer, Way

PROGRAM = """
cell diagonal(D):
    input a, x: [D]
    state h: [D] = 0
    h' = a * h + x
    output y = h'
"""
LOOP, COMPILED, TREE = "PyTorch loop", "torch.compile of the loop", "torch associative_scan"
SCAN, ASSOCIATIVE, REFERENCE = "lax.scan", "lax.associative_scan", "accelerated-scan"


def _row(batch: int, length: int, width: int, peers: tuple[str, ...] = (), **more: object) -> Row:
    name = ", ".join([f"B={batch}, T={length}, D={width}", *map(str, filter(None, [more.get("dtype")]))])
    return Row(name, PROGRAM, batch, length, {"D": width}, peers=peers, **more)  # type: ignore[arg-type]


ROWS = (
    _row(8, 4096, 1024, schedules=("sequential", "scan"), peers=(TREE,)),
    *(_row(8, length, 64) for length in (256, 1024, 4096, 16384)),
    _row(8, 64, 64, peers=(COMPILED,)),
    _row(1, 4096, 64),
    _row(8, 4096, 4),
    _row(4, 512, 64, peers=(REFERENCE,), quick=True),
    *(
        _row(8, length, width, device=CUDA, dtype=dtype, peers=(REFERENCE,), quick=length == 4096)
        for length, width in ((4096, 1024), (16384, 2048), (65536, 512))
        for dtype in ("bfloat16", "float32")
    ),
)


def draw(row: Row) -> tuple[Arrays, Arrays]:
    source, shape = Source(), (row.batch, row.length, row.sizes["D"])
    return {}, {"a": source.gate(*shape), "x": source.normal(*shape)}


def work(row: Row) -> Mapping[str, Work]:
    """Forward a, x and h; backward h, a and the cotangent, and two gradients."""
    unit = row.batch * row.length * row.sizes["D"] * FLOAT[row.dtype]
    return both(Work(3 * unit, 0, row.length), Work(8 * unit, 0, 2 * row.length))


def peers(row: Row) -> Iterator[Way | Layer | Missing]:
    if row.device == CPU:
        yield from _jax()
        yield Way(LOOP, "torch", peers_torch.diagonal_loop, time_major, batch_major)
    if COMPILED in row.peers:
        yield Way(COMPILED, "torch", peers_torch.compiled(peers_torch.diagonal_loop), time_major, batch_major)
    if TREE in row.peers:
        yield Way(TREE, "torch", peers_torch.diagonal_tree, time_major, batch_major, differentiable=False)
    if REFERENCE in row.peers:
        yield from _accelerated(row)


def _jax() -> Iterator[Way]:
    import peers_jax

    yield Way(SCAN, "jax", peers_jax.diagonal_step, time_major, batch_major)
    yield Way(ASSOCIATIVE, "jax", peers_jax.diagonal_tree, time_major, batch_major)


def _accelerated(row: Row) -> Iterator[Way | Missing]:
    """Its plain form on a CPU, its kernels on a GPU; it has the time last."""
    if find_spec("accelerated_scan") is None:
        yield Missing(REFERENCE, "accelerated-scan is not installed")
        return
    for form, kind in peers_torch.accelerated(row.device).items():
        name = REFERENCE if row.device == CPU else f"{REFERENCE}, {form}"
        yield Way(name, "torch", kind, time_last, time_second)


FAMILY = Family(
    name="diagonal",
    about="a diagonal linear recurrence beside scans of JAX and PyTorch",
    rows=ROWS,
    draw=draw,
    peers=peers,
    work=work,
    packages=("accelerated-scan",),
)

if __name__ == "__main__":
    run(FAMILY)
