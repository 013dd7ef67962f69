"""Scans at sizes that one would use: a file for people to review, and what the kernels need of two GPUs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

import pytest

from lsrl import stages
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.machine_code import LIMITS, resources_of
from support.golden import ROOT, Golden
from support.programs import bound
from support.scanned import SCANNED

SIZES: Mapping[str, dict[str, int]] = {
    "mingru": {"D": 32, "H": 256},
    "minlstm": {"D": 32, "H": 100},
    "rg_lru": {"N": 4, "P": 64},
    "lru": {"D": 32, "N": 64},
    "selective_ssm": {"E": 96, "N": 16, "R": 4},
    "highest": {"D": 128},
    "spring": {"N": 4, "P": 32},
}
QUICK = [("mingru", "float32"), ("lru", "bfloat16")]
ALL = [(name, dtype) for name in SIZES for dtype in ("float32", "bfloat16")]
SLACK = 40  # registers that another version of the compiler may need more


def source(name: str, dtype: str) -> str:
    case = replace(SCANNED[name], sizes=tuple(SIZES[name].items()))
    cell, sizes = bound(case)
    where = case.source if "\n" not in case.source else f"{name}.lsrl"
    command = f"lsrl compile {where} --target triton --schedule scan"
    return emit_triton(stages.make(cell, sizes, "triton", "scan").plan, dtype, where, command)


@pytest.mark.parametrize("name", ["mingru", "selective_ssm"])
def test_text(name: str, golden: Golden) -> None:
    """The kernels of the forward pass and their launch, without what surrounds them."""
    text = source(name, "float32")
    start, end = text.index("@triton.jit(do_not_specialize"), text.index("\n@Operator") + 1
    golden.check(ROOT / name / "scan.txt", text[start:end].rstrip() + "\n")


@pytest.mark.parametrize(
    ("name", "dtype"), [pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow) for pair in ALL]
)
def test_kernels_fit(name: str, dtype: str, golden: Golden) -> None:
    """Machine code for each GPU, forward and backward: nothing spilled, no more than recorded."""
    (kernels,) = resources_of([source(name, dtype)], list(LIMITS))
    assert len(kernels) >= 3 * len(LIMITS)
    assert [kernel for kernel in kernels if not kernel.fits] == []
    path = ROOT / name / f"resources_scan_{dtype}.json"
    if golden.update:
        golden.check(path, json.dumps([asdict(kernel) for kernel in kernels], indent=1) + "\n")
    for kernel, recorded in zip(kernels, json.loads(path.read_text()), strict=True):
        same = ("kernel", "target", "warps")
        assert [getattr(kernel, key) for key in same] == [recorded[key] for key in same]
        assert kernel.registers <= recorded["registers"] + SLACK
        assert kernel.shared <= 2 * recorded["shared"] + 1024
