"""What each schedule of a recurrence costs on a device: seconds, and what they come from.

    seconds = launches * launch + steps * (step + operations of a step) + the larger of arithmetic and traffic

A run is forward and backward, as in training: the backward pass computes everything anew and derives it, three times
the work of the forward pass, and a loop keeps the states that its derivative needs.

The multiplications of `chunk` are those of the two-phase form: per position and head, with K rows, V columns, rank r,
one writer, and chunks of C positions, K V (2 + 2 r) + C (K (1 + r)^2 + V (1 + 2 r) + r^2 K) + (r C)^2 r / 3 (Yang et
al., 2024, "Parallelizing Linear Transformers with the Delta Rule", section 3, with the Grams counted).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, log2

from lsrl.ir.schedules.device import Device, Runtime, device
from lsrl.ir.schedules.how import Chunk, How, Newton, Quadratic, Scan, Sequential
from lsrl.ir.schedules.work import Work

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
CHUNKS = (16, 32, 64, 128)
ITERATIONS = 5  # of Newton on tame cells: 4 to reach float32, one to see it (Danieli et al., 2025, ParaRNN: 3 to 5)
WINDOW = 256
PLAIN = 80  # operations of PyTorch in a Newton iteration beside the step and its Jacobian, most of them the scan's
DECAYING = 12  # operations for each number of a decay at each level of the Grams, measured on a CPU
TRAINING = 3  # forward, forward once more, backward


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
class Setting:
    """A run with its device looked up."""

    run: Run
    device: Device
    runtime: Runtime

    def seconds(self, work: Amount) -> float:
        """The time of what was counted."""
        rate = self.device.products16 if BYTES[self.run.dtype] == 2 else self.device.products
        slow = 2 if self.run.dtype == "float64" else 1
        filled = min(1.0, work.width / self.device.lanes)
        arithmetic = slow * (work.products / rate + work.pointwise / self.device.vector) / filled
        near = work.resident <= self.device.cache
        traffic = work.bytes / (self.device.bandwidth * (self.device.cached if near else 1))
        turn = self.runtime.step + work.operations * self.runtime.operation + work.heavy * self.runtime.product
        waiting = work.steps * turn
        return work.launches * self.runtime.launch + waiting + max(arithmetic, traffic)


@dataclass(frozen=True, slots=True)
class Amount:
    """What a schedule does: arithmetic, bytes, steps of `operations` each and `heavy` products, launches.

    Attributes:
        width: numbers that can be computed at the same time.
        resident: bytes touched again and again.
    """

    products: float
    pointwise: float
    bytes: float
    steps: int
    operations: int
    heavy: int
    launches: int
    width: float
    resident: float

    def trained(self, kept: float = 0.0) -> Amount:
        """Forward and backward; `kept` bytes are written by one and read by the other."""
        return replace(
            self,
            products=TRAINING * self.products,
            pointwise=TRAINING * self.pointwise,
            bytes=TRAINING * self.bytes + 2 * kept,
            steps=TRAINING * self.steps,
            launches=TRAINING * self.launches,
        )


def cost(how: How, work: Work, run: Run, runtime: Runtime | None = None) -> Cost:
    """What a schedule costs; with the chunk size that is best where the schedule leaves it open.

    Args:
        runtime: what the framework adds, where that is not what it adds over time.

    Raises:
        DeviceError: the run is on a device that is not described.
    """
    if how == Chunk(None):
        return min((cost(Chunk(size), work, run, runtime) for size in CHUNKS), key=lambda each: each.seconds)
    place = device(run.device)
    runtime = runtime or place.runtimes[run.target]
    looped = isinstance(how, Sequential) or (isinstance(how, Scan) and runtime.in_order)
    if looped:
        own = (runtime.vector or place.vector, runtime.bandwidth or place.bandwidth)
        place = replace(place, vector=own[0], bandwidth=own[1])
    setting = Setting(run, place, runtime)
    amount = (_sequential if looped else _AMOUNTS[type(how)])(how, work, setting)
    return Cost(
        how,
        setting.seconds(amount),
        amount.products + amount.pointwise,
        amount.bytes,
        amount.steps,
        amount.launches,
    )


def _sequential(how: How, work: Work, setting: Setting) -> Amount:
    """The loop, and the states that its derivative needs."""
    run = setting.run
    positions, width = run.batch * run.length, BYTES[run.dtype]
    moved = positions * width * (work.reads + work.kept)
    return Amount(
        products=positions * work.products,
        pointwise=positions * work.pointwise,
        bytes=moved * setting.runtime.copies,
        steps=run.length,
        operations=work.operations,
        heavy=work.heavy,
        launches=1,
        width=run.batch * work.elements,
        resident=moved,
    ).trained(kept=positions * width * work.elements)


def _scan(how: How, work: Work, setting: Setting) -> Amount:
    return _scanned(work, setting, setting.run.length).trained()


def _scanned(work: Work, setting: Setting, length: int) -> Amount:
    """Coefficients and states of some positions: made, read, composed, written.

    On a CPU one loop in JAX and some of PyTorch over tiles; on a GPU a tree in JAX and one kernel in Triton.
    """
    run, cells = setting.run, work.elements * max(work.block, 1)
    positions = run.batch * length
    levels = ceil(log2(max(length, 2)))
    fused = run.target == "triton" and not setting.runtime.eager
    loops = not (fused or setting.runtime.eager or setting.runtime.tree)
    moved = positions * BYTES[run.dtype] * (2 * work.elements + cells)
    return Amount(
        products=0,
        pointwise=positions * (work.pointwise + 2 * cells * max(work.block, 1)),
        bytes=moved * (1 if fused else 2),
        steps=length if loops else levels,
        operations=4,
        heavy=0,
        launches=1 if fused else 2 if loops else 4 * levels,
        width=run.batch * work.elements * (1 if loops else length),
        resident=moved,
    )


def _chunk(how: How, work: Work, setting: Setting) -> Amount:
    """Grams, systems and values of all chunks, then the states one chunk after the other."""
    run = setting.run
    asked = how.size if isinstance(how, Chunk) and how.size else run.length
    size = max(1, min(asked, run.length))
    rows, columns, rank = work.rows, work.columns, work.rank
    positions = run.batch * run.length * work.lanes
    grams = rows * (1 + rank) ** 2 + columns * (1 + 2 * rank) + rank**2 * rows
    products = rows * columns * (2 + 2 * rank) + size * grams + (rank * size) ** 2 * rank / 3
    each = 3 * (rows + columns) * (1 + rank) + size * (1 + rank) + rows * columns / size
    moved = positions * BYTES[run.dtype] * each
    levels = ceil(log2(max(size, 2)))
    return Amount(
        products=positions * 2 * products,
        pointwise=positions * (2 * size * (1 + rank) + DECAYING * levels * work.decays),
        bytes=2 * moved,
        steps=ceil(run.length / size),
        operations=4 + 2 * rank,
        heavy=2 + rank,
        launches=(2 + 2 * rank) * levels,
        width=run.batch * work.lanes * size * rows,
        resident=moved,
    ).trained()


def _newton(how: How, work: Work, setting: Setting) -> Amount:
    """In each window, each iteration: the step, its Jacobian (twice the step), a scan; PyTorch without kernels.

    Backward there is one scan, of the Jacobian at the solution, and no iteration.
    """
    assert isinstance(how, Newton)
    run = setting.run
    window = max(1, min(how.window or WINDOW, run.length))
    turns, rounds = ceil(run.length / window), min(ITERATIONS, window)
    within = _scanned(work, setting, window)
    positions = run.batch * run.length
    moved = positions * BYTES[run.dtype] * (work.reads + work.kept)
    plain = 3 * work.operations + PLAIN
    return Amount(
        products=(rounds + 1) * 3 * positions * work.products,
        pointwise=(rounds + 1) * (3 * positions * work.pointwise + turns * within.pointwise),
        bytes=(rounds + 1) * (2 * moved + turns * within.bytes),
        steps=(turns * rounds + 1) * within.steps,
        operations=within.operations,
        heavy=0,
        launches=(turns * rounds + 1) * (plain if run.target == "triton" else within.launches),
        width=within.width,
        resident=within.resident,
    )


_AMOUNTS: Mapping[type[How], Callable[[How, Work, Setting], Amount]] = {
    Sequential: _sequential,
    Scan: _scan,
    Chunk: _chunk,
    Newton: _newton,
    Quadratic: _chunk,
}
