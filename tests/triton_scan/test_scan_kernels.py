"""Scans in tiles of positions, run by Triton's interpreter and compared with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import ModuleType

import pytest

from lsrl import stages
from lsrl.backends import scan_kernel_tiles
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from lsrl.ir.cell import Cell
from lsrl.ir.pipeline import components
from lsrl.ir.plan import make_plan
from lsrl.ir.schedules.how import How, NotLegal, Scan
from lsrl.ir.schedules.scan_form import scan_form
from support.comparing import agree, arrays, expected, extent
from support.programs import Case, bound
from support.scanned import SCANNED
from support.torch_modules import run

TOLERANCES = {"float64": 1e-11, "float32": 1e-5, "bfloat16": 4e-2}


def legal_scans(cell: Cell, sizes: Mapping[str, int]) -> Iterator[tuple[str, How]]:
    for part in components(cell):
        with suppress(NotLegal):
            scan_form(cell, part, sizes)
            yield part.states[0].name, Scan()


def source(case: Case, dtype: str = "float64", gradients: bool = False) -> str:
    """The module of a program with every recurrence scanned where that is legal."""
    cell, sizes = bound(case)
    whole = stages.make(cell, sizes, "triton").plan.cell
    hows = dict(legal_scans(whole, sizes))
    plan = make_plan(whole, sizes, hoist_elementwise=False, hows=hows, inline=())
    return emit_triton(plan, dtype, gradients=gradients)


def emitted(case: Case, dtype: str = "float64") -> ModuleType:
    return load_module(source(case, dtype), "emitted_scan")


def cut(size: int) -> Callable[..., tuple[int, int]]:
    """In place of the rule: pieces of `size` positions."""
    return lambda length, tile, programs, device: (max(1, -(-length // size)), size)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of four positions, so that a few positions fill several; the interpreter is slow."""
    monkeypatch.setattr(scan_kernel_tiles, "FEWEST", 4)
    monkeypatch.setattr(scan_kernel_tiles, "MOST", 4)


def compare(module: ModuleType, case: Case, length: int, tolerance: float = 1e-11) -> None:
    params, inputs, state = arrays(case, length)
    outputs, final = run(module, params, inputs, state, **extent(bound(case)[0], length))
    wanted = expected(case, params, inputs, state, length)
    agree(outputs, wanted.outputs, tolerance)
    agree(final, wanted.state, tolerance)


@pytest.mark.parametrize("name", SCANNED)
def test_scans_equal_the_reference(name: str) -> None:
    """In one piece and in several, whose last is shorter; in tiles the last of which is not full."""
    module = emitted(SCANNED[name])
    assert any(how.startswith("a scan by Triton kernels") for how in module.SCHEDULE.values())
    compare(module, SCANNED[name], 6)
    module.pieces_of_time = cut(5)
    compare(module, SCANNED[name], 7)


@pytest.mark.parametrize("length", [0, 1, 4, 9])
@pytest.mark.parametrize("name", ["mingru", "highest", "both"])
def test_any_length(name: str, length: int) -> None:
    compare(emitted(SCANNED[name]), SCANNED[name], length)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["mingru", "rg_lru", "lru", "selective_ssm", "highest", "spring"])
def test_narrow_data(name: str, dtype: str) -> None:
    compare(emitted(SCANNED[name], dtype), SCANNED[name], 9, TOLERANCES[dtype])
