"""Whole emitted files, for people to review, at sizes that one would use; each runs, and compiles for two GPUs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import pytest

from lsrl import stages
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.machine_code import LIMITS, KernelResources, MachineCodeError, resources, resources_of
from lsrl.backends.module_loader import load_module
from support.comparing import agree, arrays, expected
from support.golden import ROOT, Golden
from support.programs import PROGRAMS, Case, bound
from support.torch_modules import run

SIZES: Mapping[str, dict[str, int]] = {
    "rnn": {"D": 32, "H": 128},
    "lstm": {"D": 32, "H": 64},
    "gru": {"D": 32, "H": 100},
    "gru2014": {"D": 32, "H": 128},
    "mingru": {"D": 32, "H": 256},
    "minlstm": {"D": 32, "H": 100},
    "rg_lru": {"N": 4, "P": 64},
    "lru": {"D": 32, "N": 64},
    "selective_ssm": {"E": 96, "N": 16, "R": 4},
    "retention": {"N": 4, "K": 64, "V": 64},
    "gla": {"N": 4, "K": 64, "V": 64},
    "gated_delta": {"N": 4, "K": 128, "V": 128},
    "mlstm": {"N": 4, "K": 64, "V": 64},
    "slstm": {"N": 4, "P": 64},
    "lags": {"D": 64},
    "resets": {"D": 64},
    "noisy": {"D": 64},
    "reversed": {"V": 256, "D": 32, "H": 64},
    "picture": {"C": 4, "Y": 16, "X": 16},
}
DTYPES = {"float32": "triton.py", "bfloat16": "triton_bfloat16.py"}
REVIEWED = [(name, "float32") for name in ("mingru", "lstm", "mlstm", "lru", "selective_ssm", "gated_delta")]
REVIEWED += [(name, "float32") for name in ("reversed", "lags", "resets", "noisy", "picture")] + [("slstm", "bfloat16")]
SLACK = 40  # registers that another version of the compiler may need more


def sized(name: str) -> Case:
    return replace(PROGRAMS[name], sizes=tuple(SIZES[name].items()))


def source(name: str, dtype: str) -> str:
    case = sized(name)
    cell, sizes = bound(case)
    where = case.source if "\n" not in case.source else f"{name}.lsrl"
    return emit_triton(stages.make(cell, sizes, "triton").plan, dtype, where, f"lsrl compile {where} --target triton")


@pytest.mark.parametrize(("name", "dtype"), REVIEWED)
def test_text(name: str, dtype: str, golden: Golden) -> None:
    golden.check(ROOT / name / DTYPES[dtype], source(name, dtype))


@pytest.mark.parametrize("name", SIZES)
def test_reviewed_files_run(name: str) -> None:
    case = sized(name)
    params, inputs, state = arrays(case, 2, 1)
    params = {key: a / np.sqrt(a.shape[-1]) if a.ndim > 1 else a for key, a in params.items()}
    outputs, final = run(load_module(source(name, "float32"), "emitted_golden"), params, inputs, state)
    wanted = expected(case, params, inputs, state, 2, 1)
    agree(outputs, wanted.outputs, 1e-5)
    agree(final, wanted.state, 1e-5)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_every_kernel_fits(dtype: str, golden: Golden) -> None:
    """Machine code for each GPU: nothing spilled, no more than recorded, shared memory within the GPU's."""
    found = resources_of([source(name, dtype) for name in SIZES], list(LIMITS))
    for name, kernels in zip(SIZES, found, strict=True):
        assert kernels, name
        assert [kernel for kernel in kernels if not kernel.fits] == []
        path = ROOT / name / f"resources_{dtype}.json"
        if golden.update:
            golden.check(path, json.dumps([asdict(kernel) for kernel in kernels], indent=1) + "\n")
        for kernel, recorded in zip(kernels, json.loads(path.read_text()), strict=True):
            same = ("kernel", "target", "warps")
            assert [getattr(kernel, key) for key in same] == [recorded[key] for key in same]
            assert kernel.registers <= recorded["registers"] + SLACK
            assert kernel.shared <= 2 * recorded["shared"] + 1024


def test_a_small_kernel_fits() -> None:
    kernels = resources(source("mingru", "float32"), "sm_90")
    assert [kernel.kernel for kernel in kernels] == ["h_kernel", "d_h_kernel"]
    for kernel in kernels:
        assert (kernel.target, kernel.warps, kernel.spilled) == ("sm_90", 1, 0)
        assert 16 <= kernel.registers <= 64
        assert kernel.fits


def test_beside_large_matrices_fewer_positions_are_read_ahead() -> None:
    """The matrices of the derivative of gru take 96 KiB of shared memory; three positions more would not fit."""
    assert source("gru", "bfloat16").count('"num_stages": 2') == 1
    assert "num_stages" not in source("lstm", "bfloat16") + source("gru", "float32")


def test_spills_are_seen() -> None:
    text = source("lstm", "float32").replace('"num_warps": 8', '"num_warps": 1')
    for kernel in resources(text, "sm_80"):
        assert kernel.spilled > 0
        assert not kernel.fits


@pytest.mark.parametrize(("registers", "spilled", "shared"), [(256, 0, 0), (32, 8, 0), (32, 0, 166913)])
def test_limits(registers: int, spilled: int, shared: int) -> None:
    assert KernelResources("k", "sm_80", 4, 255, 0, 166912).fits
    assert not KernelResources("k", "sm_80", 4, registers, spilled, shared).fits


def test_a_kernel_that_does_not_compile_is_an_error() -> None:
    text = source("mingru", "float32").replace("b_h = b_h_next", "b_h = b_h_next[:, None]")
    with pytest.raises(MachineCodeError, match="Loop-carried variable b_h"):
        resources(text, "sm_80")
