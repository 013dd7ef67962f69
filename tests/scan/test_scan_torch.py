"""Scans in emitted PyTorch modules without kernels: the numbers and gradients of the reference, for every algebra."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lsrl.backends import reference
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from lsrl.ir.laws import simplify
from lsrl.ir.plan import Plan, make_plan
from lsrl.ir.products import fuse_products, split_products
from support.comparing import BATCH, agree, arrays, cotangents_of, expected, extent
from support.programs import bound
from support.scan_programs import SCANS, scans

EDGES = ("max_plus", "lru", "mixed", "history", "backwards")
TOLERANCE = 1e-10
Named = Mapping[str, Any]
pytestmark = pytest.mark.filterwarnings("ignore:.*plain PyTorch form")


def scanned(name: str) -> Plan:
    """The plan in which every recurrence that a scan serves is a loop that is one."""
    cell, sizes = bound(SCANS[name])
    cell = fuse_products(split_products(simplify(cell)), in_loops=False)
    return make_plan(cell, sizes, hows=scans(cell), inline=(), hoist_elementwise=False)


@cache
def module(name: str) -> ModuleType:
    found = load_module(emit_triton(scanned(name), "float64", name), f"torch_scanned_{name}")
    found.INTERPRETED = False  # type: ignore[attr-defined]  # so that it runs without kernels
    return found


def tensors(group: Named, smooth: bool) -> dict[str, torch.Tensor]:
    found = {key: torch.as_tensor(array) for key, array in group.items()}
    return {key: x.requires_grad_(smooth and (x.is_floating_point() or x.is_complex())) for key, x in found.items()}


def run(name: str, params: Named, inputs: Named, state: Named, length: int, smooth: bool) -> tuple[Any, ...]:
    given = [tensors(group, smooth) for group in (params, inputs, state)]
    outputs, final = module(name).apply(*given, **extent(bound(SCANS[name])[0], length))
    return given, {**outputs, **{f"state.{key}": x for key, x in final.items()}}


@pytest.mark.parametrize("name", SCANS)
def test_results_and_gradients(name: str) -> None:
    """The length is no multiple of anything, and takes more than one tile."""
    case, length = SCANS[name], 37
    cell, sizes = bound(case)
    params, inputs, state = arrays(case, length)
    wanted = expected(case, params, inputs, state, length)
    results = {**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}}
    weights = cotangents_of(results)
    numbers = None if cell.inputs else {"B": BATCH, "T": length}
    truth = reference.gradients(cell, sizes, params, inputs, state, weights, extent=numbers)
    given, found = run(name, params, inputs, state, length, True)
    agree({key: x.detach() for key, x in found.items()}, results, TOLERANCE)
    sum(((torch.as_tensor(weight).conj() * found[key]).real.sum()) for key, weight in weights.items()).backward()  # type: ignore[union-attr]
    for mine, theirs in zip(given, (truth.params, truth.inputs, truth.state), strict=True):
        own = {key: torch.zeros_like(x) if x.grad is None else x.grad for key, x in mine.items() if x.requires_grad}
        agree(own, {key: theirs[key] for key in own}, TOLERANCE)


@pytest.mark.parametrize("length", [0, 1, 64, 65, 1000])
@pytest.mark.parametrize("name", EDGES)
def test_lengths(name: str, length: int) -> None:
    params, inputs, state = arrays(SCANS[name], length)
    _, found = run(name, params, inputs, state, length, False)
    wanted = expected(SCANS[name], params, inputs, state, length)
    agree(found, {**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}}, TOLERANCE)


@pytest.mark.parametrize("short", [2, 5, 1000])
def test_tiles_of_any_size(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From tiles of two positions, and tiles of tiles, to one for the whole sequence."""
    for name in ("mixed", "backwards", "log_sum"):
        params, inputs, state = arrays(SCANS[name], 203)
        monkeypatch.setattr(module(name), "SHORT", short)
        _, found = run(name, params, inputs, state, 203, False)
        agree({key: x.detach() for key, x in found.items()}, {**_wanted(name, params, inputs, state)}, TOLERANCE)


def _wanted(name: str, params: Named, inputs: Named, state: Named) -> dict[str, np.ndarray[Any, Any]]:
    wanted = expected(SCANS[name], params, inputs, state, 203)
    return {**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}}
