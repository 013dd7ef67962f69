"""Scans in tiles of positions, run by Triton's interpreter and compared with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

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


GATES = """
cell gates(D=4):
    \"\"\"Decays straight from their logarithms, and hard resets.\"\"\"
    input x, log_a: [D], drop: [] bool
    state h: [D] = 0
    h' = where(drop, 0, exp(log_a)) * h + x
    output h', before = h
"""


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 5e-6)])
def test_gates_that_close(dtype: str, tolerance: float) -> None:
    """Decays of e^-40, e^-8 and 1 next to each other, and exact zeros."""
    case, generator = Case(GATES), np.random.default_rng(0)
    length = 11
    inputs = {
        "x": generator.normal(size=(2, length, 4)),
        "log_a": generator.choice([-40.0, -8.0, 0.0], size=(2, length, 4)),
        "drop": generator.random((2, length)) < 0.2,
    }
    state = {"h": generator.normal(size=(2, 4))}
    module = emitted(case, dtype)
    wanted = expected(case, {}, inputs, state, length)
    for size in (length, 3):
        module.pieces_of_time = cut(size)
        outputs, final = run(module, {}, inputs, state)
        agree(outputs, wanted.outputs, tolerance)
        agree(final, wanted.state, tolerance)


def test_a_sequence_continues_from_its_state() -> None:
    case = SCANNED["selective_ssm"]
    module = emitted(case)
    params, inputs, state = arrays(case, 7)
    whole, last = run(module, params, inputs, state)
    first, middle = run(module, params, {name: array[:, :3] for name, array in inputs.items()}, state)
    second, final = run(module, params, {name: array[:, 3:] for name, array in inputs.items()}, middle)
    agree({"y": np.concatenate([first["y"], second["y"]], 1)}, whole, 1e-12)
    agree(final, last, 1e-12)


def test_the_rule_for_pieces() -> None:
    """Few programs of long sequences are cut into whole tiles, at least four for each piece; many are not."""
    module = emitted(SCANNED["mingru"])
    gpu = torch.device("cuda", 0)
    module.processors = lambda device: 100
    assert module.pieces_of_time(10**6, 16, 8, gpu) == (100, 10 * 1000)
    assert module.pieces_of_time(10**6, 16, 800, gpu) == (1, 10**6)
    assert module.pieces_of_time(100, 16, 1, gpu) == (2, 64)
    assert module.pieces_of_time(0, 16, 1, gpu) == (1, 64)


SMALL = {
    "mingru": (("D", 1), ("H", 2)),
    "lru": (("D", 1), ("N", 2)),
    "spring": (("N", 1), ("P", 2)),
    "highest": (("D", 2),),
    "square": (("K", 2),),
}


@pytest.mark.parametrize("name", SMALL)
def test_gradients(name: str) -> None:
    """Forward and backward in several pieces."""
    case = replace(SCANNED[name], sizes=SMALL[name])
    module = load_module(source(case, gradients=True), "emitted_scan")
    module.pieces_of_time = cut(3)
    groups = [
        {key: torch.tensor(array, requires_grad=True) for key, array in group.items()} for group in arrays(case, 5, 1)
    ]
    names = [(place, key) for place, group in enumerate(groups) for key in group]

    def results(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given: list[dict[str, torch.Tensor]] = [{}, {}, {}]
        for (place, key), leaf in zip(names, leaves, strict=True):
            given[place][key] = leaf
        outputs, final = module.apply(*given)
        return (*outputs.values(), *final.values())

    with np.errstate(all="ignore"):
        assert torch.autograd.gradcheck(results, tuple(groups[place][key] for place, key in names), fast_mode=True)
