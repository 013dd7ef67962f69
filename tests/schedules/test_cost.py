"""Costs counted by hand, and what the model chooses where the answer is known."""

from __future__ import annotations

import pytest

import lsrl
from lsrl import stages
from lsrl.ir.schedules.choose import choose
from lsrl.ir.schedules.cost import Cost, Run
from lsrl.ir.schedules.device import DEVICES, DeviceError
from lsrl.ir.schedules.work import Work, work

DIAGONAL = """cell diagonal(D):
    input a, x: [D]
    state h: [D] = 0
    h' = a * h + x
    output h'
"""
DELTA = """cell delta(N, K, V) heads N:
    input q, k: [K], v: [V], b: []
    state S: [K, V] = 0
    S' = S - b * outer(k, k @ S) + b * outer(k, v)
    output o = q @ S'
"""
TURNING = """cell turning(D):
    input x: [D]
    param w: [D]
    state h: [D] = 0
    h' = tanh(w * h + x)
    output h'
"""


def asked(text: str, **sizes: int) -> Work:
    cell, bound = lsrl.parse(text).bind(sizes)
    made = stages.make(cell, bound, "jax")
    return work(made.plan.cell, made.recurrences[0].facts.recurrence, bound)


def costs(text: str, run: Run, **sizes: int) -> dict[str, Cost]:
    cell, bound = lsrl.parse(text).bind(sizes)
    (found,) = stages.make(cell, bound, run.target).recurrences
    return {str(each.how).partition("(")[0]: each for each in choose(found, run).costs}


def chosen(text: str, run: Run, **sizes: int) -> str:
    cell, bound = lsrl.parse(text).bind(sizes)
    return str(stages.make(cell, bound, run.target, "auto", run).schedule)


def test_work_of_a_step() -> None:
    """A product and a sum for each element; a and x arrive, h' leaves."""
    found = asked(DIAGONAL, D=6)
    assert (found.elements, found.products, found.pointwise, found.operations) == (6, 0, 12, 2)
    assert (found.reads, found.kept, found.block, found.rank) == (12, 6, 1, 0)


def test_work_of_a_matrix() -> None:
    """For each head k @ S and q @ S' are 2 K V, two outer products K V, and so are two products with b and two sums.

    q, k, v and b arrive, o leaves.
    """
    found = asked(DELTA, N=2, K=4, V=3)
    assert (found.elements, found.lanes, found.rows, found.columns, found.rank) == (24, 2, 4, 3, 1)
    assert (found.reads, found.kept) == (2 * (4 + 4 + 3 + 1), 2 * 3)
    assert (found.products, found.pointwise) == (2 * (2 + 2 + 1 + 1) * 12, 2 * 4 * 12)


def test_transcendental_functions_count_four() -> None:
    """A product, a sum and tanh."""
    assert asked(TURNING, D=5).pointwise == 5 * (1 + 1 + 4)


def test_cost_of_a_loop() -> None:
    """Forward, forward anew and backward; a, x and h' moved three times each, since JAX puts time first; h kept."""
    found = costs(DIAGONAL, Run("jax", "cpu", "float32", 8, 100), D=6)["sequential"]
    assert found.flops == 3 * 8 * 100 * 12
    assert found.bytes == 3 * 3 * 8 * 100 * 4 * 18 + 2 * 8 * 100 * 4 * 6
    assert (found.steps, found.launches) == (3 * 100, 3)
    cpu = DEVICES["cpu"]
    runtime = cpu.runtimes["jax"]
    waiting = 3 * runtime.launch + 300 * (runtime.step + 2 * runtime.operation)
    assert found.seconds == pytest.approx(waiting + max(found.flops / cpu.vector, found.bytes / (4 * cpu.bandwidth)))


def test_half_the_bytes_in_half_the_precision() -> None:
    wide, narrow = (
        costs(DIAGONAL, Run("triton", "h100", dtype), D=64)["scan"].bytes for dtype in ("float32", "bfloat16")
    )
    assert wide == 2 * narrow


@pytest.mark.parametrize("device", ["a100", "h100", "h200"])
def test_a_gpu_scans_what_it_can(device: str) -> None:
    """A step that waits costs half a microsecond at least, a level of a tree no more: 3 * 4096 against 3 * 12."""
    assert chosen(DIAGONAL, Run("triton", device, "bfloat16", 8, 4096), D=1024) == "h=scan"
    found = costs(DIAGONAL, Run("triton", device, "bfloat16", 8, 4096), D=1024)
    assert found["sequential"].seconds > 10 * found["scan"].seconds


@pytest.mark.parametrize(("target", "device"), [("jax", "cpu"), ("triton", "cpu"), ("triton", "h100")])
def test_matrices_run_in_chunks(target: str, device: str) -> None:
    """Measured on a CPU: chunks win from a few hundred positions of 64 by 64 on."""
    assert chosen(DELTA, Run(target, device, "float32", 2, 1024), N=4, K=64, V=64) == "S=chunk"


def test_newton_is_chosen_only_where_it_wins() -> None:
    """Where each step of a loop is a launch, and not where it is a few nanoseconds, nor where lanes fill the device."""
    assert chosen(TURNING, Run("jax", "h100", "float32", 1, 8192), D=2) == "h=newton"
    assert chosen(TURNING, Run("jax", "cpu", "float32", 1, 8192), D=2) == "h=sequential"
    assert chosen(TURNING, Run("triton", "h100", "float32", 64, 1024), D=4096) == "h=sequential"


def test_a_single_position_is_a_step() -> None:
    assert chosen(DELTA, Run("triton", "h100", "float32", 8, 1), N=4, K=64, V=64) == "S=sequential"


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(DeviceError, match="there are cpu, a100, h100, h200"):
        chosen(DIAGONAL, Run("jax", "abacus"), D=6)
