"""From a program to functions: `lsrl.compile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsrl import stages
from lsrl.ir import text as graph_text
from lsrl.ir.cell import Cell
from lsrl.program import Program
from lsrl.schedule import AUTO, Schedule
from lsrl.tuning import TUNED, Setting, tuned

if TYPE_CHECKING:
    from lsrl.compiled import Compiled


@dataclass(frozen=True)
class Written:
    """A program as text, for one target and fixed sizes."""

    target: str
    dtype: str
    cell: Cell
    sizes: Mapping[str, int]
    schedule: Schedule
    source: str


def compile_program(
    program: Program,
    target: str = "jax",
    sizes: Mapping[str, int] | None = None,
    schedule: str = AUTO,
    dtype: str | None = None,
    device: str | None = None,
    batch: int | None = None,
    length: int | None = None,
) -> Compiled:
    """A program as a function.

    Args:
        target: `jax`, `triton` (a function of PyTorch with Triton kernels), `cpu` (one with loops in C), or
            `reference` (NumPy).
        sizes: numbers for the sizes without a default, and for others if wanted.
        schedule: `auto`, one schedule for every recurrence (`scan`), or `STATE=chunk(64)` for single ones; `tuned` is
            what was fastest when `lsrl tune` measured it.
        dtype: `float32`, `float64`, `bfloat16` or `float16`; None is float32, for the reference float64.  `exact`
            stands for rational numbers, which only the reference computes with.
        device: what `auto` chooses for: `cpu`, `a100`, `h100` or `h200`; None is `h100` for Triton, else `cpu`.
        batch, length: what `auto` reckons with, 8 and 1024 where nobody tells; others can be run all the same.

    Raises:
        LsrlError: the program cannot be built for these sizes.
        Refusal: a size, the schedule, the type or the target does not fit the program; the message says how.
    """
    # What runs modules loads arrays, which writing them does without.
    from lsrl.compiled import Compiled
    from lsrl.engines import load_engine

    text = write_program(program, target, sizes, schedule, dtype, device, batch, length)
    engine = load_engine(target, text.dtype, text.cell, text.sizes, text.source)
    return Compiled(target, text.dtype, text.cell, text.sizes, text.schedule, text.source, engine)


def write_program(
    program: Program,
    target: str,
    sizes: Mapping[str, int] | None = None,
    schedule: str = AUTO,
    dtype: str | None = None,
    device: str | None = None,
    batch: int | None = None,
    length: int | None = None,
    *,
    gradients: bool = True,
) -> Written:
    """A program as the text of a module, or, for the reference, of its graph; see `compile_program`."""
    stages.check_target(target, dtype)
    cell, bound = program.bind(sizes)
    precision = dtype or stages.DEFAULT_DTYPES[target]
    if target == "reference":
        chosen = stages.reference_schedule(cell, bound, schedule)
        return Written(target, precision, cell, bound, chosen, graph_text.show(cell))
    run = stages.assumed_run(target, precision, device, batch, length)
    setting = Setting(target, precision, bound, run.batch, run.length)
    made = stages.made(cell, bound, target, tuned(cell, setting) if schedule == TUNED else schedule, run)
    plain = schedule == AUTO and run == stages.assumed_run(target, precision)
    command = _command(program, target, bound, AUTO if plain else str(made.schedule), precision)
    source = stages.write(made.plan, target, precision, program.origin, command, gradients=gradients)
    return Written(target, precision, cell, bound, made.schedule, source)


def _command(program: Program, target: str, sizes: Mapping[str, int], schedule: str, dtype: str) -> str:
    """The words that make the module once more; empty for a program that is in no file."""
    if not program.origin:
        return ""
    words = ["lsrl", "compile", program.origin, "--target", target]
    words += ["--cell", program.main] if program.main else []
    words += ["--set", *(f"{name}={number}" for name, number in sizes.items())] if sizes else []
    words += ["--schedule", schedule] if schedule != AUTO else []
    words += ["--dtype", dtype] if dtype != stages.DEFAULT_DTYPES[target] else []
    return " ".join(words)
