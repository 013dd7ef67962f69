"""What each schedule of a recurrence costs, forward, on a device: seconds, and what they come from.

    seconds = launches * launch + steps * (step + operations of a step) + the larger of arithmetic and traffic

The multiplications of `chunk` are those of the two-phase form: per position and head, with K rows, V columns, rank r,
one writer, and chunks of C positions, K V (2 + 2 r) + C (K (1 + r)^2 + V (1 + 2 r) + r^2 K) + (r C)^2 r / 3 (Yang et
al., 2024, "Parallelizing Linear Transformers with the Delta Rule", section 3, with the Grams counted).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2

from lsrl.ir.schedules.device import Device, Runtime, device
from lsrl.ir.schedules.how import Chunk, How, Newton, Quadratic, Scan, Sequential
from lsrl.ir.schedules.work import Work

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
CHUNKS = (16, 32, 64, 128)
ITERATIONS = 5  # of Newton on tame cells: 4 to reach float32, one to see it (Danieli et al., 2025, ParaRNN: 3 to 5)
WINDOW = 256
PLAIN = 80  # operations of PyTorch in a Newton iteration beside the step and its Jacobian, most of them the scan's
HELD = 227 * 1024  # bytes that one multiprocessor of an A100 or H100 lends a kernel, about


@dataclass(frozen=True, slots=True)
class Run:
    """What is run where.

    Attributes:
        batch, length: sequences at a time and positions of each.  They are assumed where nobody tells.
    """

    target: str = "jax"
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 8
    length: int = 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What a schedule costs for a whole run.

    Attributes:
        how: with its options filled in where they matter.
        seconds: by the model.
        flops: arithmetic, products and all other.
        bytes: to and from memory.
        steps: that wait for each other.
        launches: operations over many positions.
    """

    how: How
    seconds: float
    flops: float
    bytes: float
    steps: int
    launches: int


@dataclass(frozen=True, slots=True)
class _Setting:
    """A run with its device looked up."""

    run: Run
    device: Device
    runtime: Runtime

    def seconds(self, work: _Amount) -> float:
        """The time of what was counted."""
        rate = self.device.products16 if BYTES[self.run.dtype] == 2 else self.device.products
        slow = 2 if self.run.dtype == "float64" else 1
        filled = min(1.0, work.width / self.device.lanes)
        arithmetic = slow * (work.products / rate + work.pointwise / self.device.vector) / filled
        near = work.resident <= self.device.cache
        traffic = work.bytes / (self.device.bandwidth * (self.device.cached if near else 1))
        waiting = work.steps * (self.runtime.step + work.operations * self.runtime.operation)
        return work.launches * self.runtime.launch + waiting + max(arithmetic, traffic)


@dataclass(frozen=True, slots=True)
class _Amount:
    """What a schedule does: arithmetic, bytes, steps of `operations` each, launches.

    Attributes:
        width: numbers that can be computed at the same time.
        resident: bytes touched again and again.
    """

    products: float
    pointwise: float
    bytes: float
    steps: int
    operations: int
    launches: int
    width: float
    resident: float


def cost(how: How, work: Work, run: Run) -> Cost:
    """What a schedule costs; with the chunk size that is best where the schedule leaves it open.

    Raises:
        DeviceError: the run is on a device that is not described.
    """
    if how == Chunk(None):
        return min((cost(Chunk(size), work, run) for size in CHUNKS), key=lambda each: each.seconds)
    place = device(run.device)
    setting = _Setting(run, place, place.runtimes[run.target])
    amount = _AMOUNTS[type(how)](how, work, run)
    return Cost(
        how,
        setting.seconds(amount),
        amount.products + amount.pointwise,
        amount.bytes,
        amount.steps,
        amount.launches,
    )


def _sequential(how: How, work: Work, run: Run) -> _Amount:
    positions, width = run.batch * run.length, BYTES[run.dtype]
    return _Amount(
        products=positions * work.products,
        pointwise=positions * work.pointwise,
        bytes=positions * width * (work.reads + work.kept),
        steps=run.length,
        operations=work.operations + 8 * work.heavy,
        launches=1,
        width=run.batch * work.elements,
        resident=run.batch * width * (work.reads + work.kept),
    )


def _scan(how: How, work: Work, run: Run) -> _Amount:
    """Composition twice over all positions (up and down the tree), a block's with its products."""
    positions, width, block = run.batch * run.length, BYTES[run.dtype], max(work.block, 1)
    fused = run.target == "triton" and run.device != "cpu"
    passes = 1 if fused else 4
    return _Amount(
        products=0,
        pointwise=positions * work.elements * (work.pointwise / max(work.elements, 1) + 4 * (1 + 2 * block**2)),
        bytes=positions * width * work.elements * (2 + block) * passes,
        steps=ceil(log2(max(run.length, 2))),
        operations=4,
        launches=1 if fused else 2 * ceil(log2(max(run.length, 2))),
        width=run.batch * work.elements * run.length,
        resident=positions * width * work.elements * (2 + block),
    )


def _chunk(how: How, work: Work, run: Run) -> _Amount:
    size = how.size if isinstance(how, Chunk) and how.size else run.length
    return _chunked(min(size, max(run.length, 1)), work, run)


def _chunked(size: int, work: Work, run: Run) -> _Amount:
    rows, columns, rank = work.rows, work.columns, work.rank
    positions, width = run.batch * run.length * work.lanes, BYTES[run.dtype]
    grams = rows * (1 + rank) ** 2 + columns * (1 + 2 * rank) + rank**2 * rows
    products = rows * columns * (2 + 2 * rank) + size * grams + (rank * size) ** 2 * rank / 3
    turns = ceil(run.length / size) if run.length else 0
    moved = 3 * (rows + columns) * (1 + rank) + size * (1 + rank) + rows * columns * turns / max(run.length, 1)
    levels = ceil(log2(max(size, 2)))
    return _Amount(
        products=positions * 2 * products,
        pointwise=positions * size * (1 + rank) * 2,
        bytes=positions * width * moved * 2,
        steps=turns,
        operations=4 + 2 * rank,
        launches=(2 + 2 * rank) * levels,
        width=run.batch * work.lanes * size * rows,
        resident=positions * width * moved,
    )


def _newton(how: How, work: Work, run: Run) -> _Amount:
    """In each window, each iteration: the step, its Jacobian (twice the step), a scan; PyTorch without kernels."""
    assert isinstance(how, Newton)
    window = min(how.window or WINDOW, max(run.length, 1))
    turns, rounds = ceil(run.length / window), min(ITERATIONS, window)
    within = _scan(Scan(), work, Run(run.target, run.device, run.dtype, run.batch, window))
    step = _sequential(Sequential(), work, run)
    return _Amount(
        products=rounds * 3 * step.products,
        pointwise=rounds * (3 * step.pointwise + turns * within.pointwise),
        bytes=rounds * (2 * step.bytes + turns * within.bytes),
        steps=turns * rounds,
        operations=3 * work.operations + within.launches,
        launches=turns * rounds * (3 * work.operations + PLAIN if run.target == "triton" else 1),
        width=within.width,
        resident=within.resident,
    )


_AMOUNTS: Mapping[type[How], Callable[[How, Work, Run], _Amount]] = {
    Sequential: _sequential,
    Scan: _scan,
    Chunk: _chunk,
    Newton: _newton,
    Quadratic: _chunk,
}
