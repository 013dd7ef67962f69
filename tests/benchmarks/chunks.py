"""Matrix memories in chunks: ours beside flash-linear-attention and mlstm_kernels.

    python tests/benchmarks/chunks.py [--quick] [--device cuda] [-o FILE.json]

On a CPU the peers are their plain PyTorch forms, on a GPU their kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import chunks_peers
from chunks_peers import FLA, LOOP, MLSTM, SCAN
from drawing import Source
from families import CUDA, FLOAT, Family, Missing, Row, Work, both
from running import run
from ways import Arrays, Layer, Way

PRODUCTS = {"gated_delta": 3, "delta": 3, "kda": 3, "gla": 2, "simple_gla": 2, "retention": 2, "mlstm": 2}
"""Reads and writes of a whole memory in a step."""
GIVEN = {
    "gated_delta": (3, 2),
    "delta": (3, 1),
    "kda": (4, 1),
    "gla": (4, 0),
    "simple_gla": (3, 1),
    "retention": (3, 0),
    "mlstm": (3, 2),
}
"""Vectors and numbers that a head reads at a position."""


def _row(cell: str, batch: int, length: int, heads: int, width: int, **more: object) -> Row:
    sizes = {"N": heads, "K": width, "V": width}
    more = {"output": "h" if cell == "mlstm" else "o", **more}
    name = f"{cell}, B={batch}, T={length}, N={heads}, K={width}"
    return Row(name, f"std/{cell}", batch, length, sizes, **more)  # type: ignore[arg-type]


ON_CPU = (
    _row("gated_delta", 2, 1024, 4, 64, schedules=("sequential", "chunk"), peers=(FLA, SCAN, LOOP)),
    *(_row("gated_delta", 2, length, 4, 64, peers=(FLA, SCAN)) for length in (256, 4096)),
    *(_row("gated_delta", 2, 1024, 4, width, peers=(FLA, SCAN)) for width in (16, 128)),
    *(_row(cell, 2, 1024, 4, 64, peers=(FLA,)) for cell in ("simple_gla", "retention", "kda")),
    _row("gla", 2, 256, 4, 64, peers=(FLA,)),
    _row("mlstm", 2, 1024, 4, 64, peers=(MLSTM,)),
    _row("gated_delta", 1, 256, 2, 32, peers=(FLA, SCAN), quick=True),
    _row("mlstm", 1, 128, 2, 32, peers=(MLSTM,), quick=True),
)
# The shapes of the library's own benchmarks.
ON_GPU = tuple(
    _row(cell, *shape, device=CUDA, dtype="bfloat16", peers=(FLA,), quick=shape == (8, 1024, 8, 64))
    for cell in ("retention", "simple_gla", "gla", "delta", "gated_delta", "kda")
    for shape in ((4, 2048, 16, 128), (8, 2048, 32, 256), (8, 1024, 8, 64), (2, 16384, 16, 128))
)
ROWS = (
    *ON_CPU,
    *ON_GPU,
    _row("mlstm", 4, 2048, 16, 128, device=CUDA, dtype="bfloat16", peers=(MLSTM,)),
)


def draw(row: Row) -> tuple[Arrays, Arrays]:
    source, lead = Source(), (row.batch, row.length, row.sizes["N"])
    width = row.sizes["K"]
    found = {"q": source.normal(*lead, width), "k": source.key(*lead, width), "v": source.normal(*lead, width)}
    match row.program.removeprefix("std/"):
        case "gated_delta":
            return {}, {**found, "a": source.gate(*lead), "b": source.gate(*lead)}
        case "delta":
            return {}, {**found, "b": source.gate(*lead)}
        case "kda":
            return {}, {**found, "a": source.gate(*lead, width), "b": source.gate(*lead)}
        case "gla":
            return {}, {**found, "log_a": -source.gate(*lead, width) / 8}
        case "simple_gla":
            return {}, {**found, "g": -source.gate(*lead) / 8}
        case "retention":
            return {"gamma": chunks_peers.decays(row.sizes["N"])}, found
        case "mlstm":
            return {}, {**found, "i": source.normal(*lead), "f": 3 + source.normal(*lead)}
    raise ValueError(f"{row.program} is no program of this benchmark")


def work(row: Row) -> Mapping[str, Work]:
    """Every array once; each read and write of the memory two operations for each of its numbers."""
    cell, width = row.program.removeprefix("std/"), row.sizes["K"]
    places = row.batch * row.length * row.sizes["N"]
    vectors, numbers = GIVEN[cell]
    unit = FLOAT[row.dtype] * places * ((vectors + 1) * width + numbers)
    operations = 2 * places * width**2 * PRODUCTS[cell]
    return both(Work(unit, operations, 1), Work(3 * unit, 3 * operations, 2))


def peers(row: Row) -> Iterator[Way | Layer | Missing]:
    if FLA in row.peers:
        yield chunks_peers.fla(row)
    if SCAN in row.peers:
        import peers_jax

        yield Way(SCAN, "jax", peers_jax.gated_delta_step)
    if LOOP in row.peers:
        import peers_torch

        yield Way(LOOP, "torch", peers_torch.gated_delta_loop)
    if MLSTM in row.peers:
        yield chunks_peers.mlstm_kernels(row)


FAMILY = Family(
    name="chunks",
    about="matrix memories in chunks beside flash-linear-attention and mlstm_kernels",
    rows=ROWS,
    draw=draw,
    peers=peers,
    work=work,
    packages=("fla-core", "mlstm_kernels"),
)

if __name__ == "__main__":
    run(FAMILY)
