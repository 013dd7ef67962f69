"""Newton's method in kernels, run by Triton's interpreter and compared with the reference."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lsrl import stages
from lsrl.backends import scan_kernel_tiles
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.machine_code import LIMITS, resources_of
from lsrl.backends.module_loader import load_module
from support.comparing import agree, arrays, expected
from support.golden import ROOT, Golden
from support.newton_cells import CASES
from support.programs import Case, bound
from support.torch_modules import tensors

WINDOW = 4

CHAOS = """
cell chaos(D=2):
    \"\"\"Lanes with a steep map, for which Newton's method does not converge, beside gentle ones.\"\"\"
    input x: [D]
    param a: [D]
    state h: [D] = 0
    h' = sin(a * h + x)
    output h', before = h
"""

BACKWARD = """
cell squares(D):
    input x: [D]
    state h: [D] = 0
    h' = tanh(0.5 * h * h + x)
    output y = h' + h

cell backward(D=2):
    input x: [D]
    output y = reverse squares(D)(x)
"""


def source(case: Case, dtype: str = "float64", window: int = WINDOW, gradients: bool = False) -> str:
    cell, sizes = bound(case)
    plan = stages.make(cell, sizes, "triton", f"newton(window={window})").plan
    return emit_triton(plan, dtype, gradients=gradients)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is slow."""
    monkeypatch.setattr(scan_kernel_tiles, "FEWEST", WINDOW)


def solved(module: ModuleType, params: Any, inputs: Any, state: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Outputs, last states, and what is told of the run."""
    with np.errstate(all="ignore"):
        outputs, final, told = module.apply_statistics(tensors(params), tensors(inputs), tensors(state))
    arrays_of = [{name: tensor.numpy() for name, tensor in group.items()} for group in (outputs, final)]
    return arrays_of[0], arrays_of[1], told


@pytest.mark.parametrize("length", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1])
def test_any_length(length: int) -> None:
    case = replace(CASES["paragru"], sizes=(("D", 2), ("H", 2)))
    module = load_module(source(case), "emitted_newton")
    assert "Newton's method in a Triton kernel, windows of 4 positions" in module.SCHEDULE["h"]
    params, inputs, state = arrays(case, length)
    outputs, final, told = solved(module, params, inputs, state)
    wanted = expected(case, params, inputs, state, length)
    agree(outputs, wanted.outputs, 1e-11)
    agree(final, wanted.state, 1e-11)
    assert told["h"]["fallback"].tolist() == [0, 0]
    assert all(turns <= WINDOW + 1 for turns in told["h"]["iterations"].tolist())


@pytest.mark.parametrize("name", ["paralstm", "second"])
def test_blocks(name: str) -> None:
    module = load_module(source(CASES[name]), "emitted_newton")
    params, inputs, state = arrays(CASES[name], 6)
    outputs, final, _ = solved(module, params, inputs, state)
    wanted = expected(CASES[name], params, inputs, state, 6)
    agree(outputs, wanted.outputs, 1e-11)
    agree(final, wanted.state, 1e-11)


def test_from_the_end() -> None:
    case = Case(BACKWARD)
    params, inputs, state = arrays(case, 6)
    outputs, final, _ = solved(load_module(source(case), "emitted_newton"), params, inputs, state)
    wanted = expected(case, params, inputs, state, 6)
    agree(outputs, wanted.outputs, 1e-11)
    agree(final, wanted.state, 1e-11)


def test_lanes_that_do_not_converge_take_their_steps_alone() -> None:
    """Within eight turns a window of 16 is solved for the gentle lane, not for the steep one."""
    case = Case(CHAOS)
    module = load_module(source(case, window=16), "emitted_newton")
    _, inputs, state = arrays(case, 16)
    params = {"a": np.array([0.5, 40.0])}
    outputs, final, told = solved(module, params, inputs, state)
    wanted = expected(case, params, inputs, state, 16)
    assert told["h"]["fallback"].tolist() == [0.5, 0.5]
    assert max(told["h"]["residual"].tolist()) < 1e-12
    # The reference and the interpreter both compute in NumPy, in the same order: so even chaos is the same.
    agree(outputs, wanted.outputs, 1e-11)
    agree(final, wanted.state, 1e-11)


def test_nothing_spreads_between_lanes() -> None:
    case = replace(CASES["paragru"], sizes=(("D", 2), ("H", 2)))
    module = load_module(source(case), "emitted_newton")
    params, inputs, state = arrays(case, 3)
    state["h"][0, 1] = np.nan
    with np.errstate(all="ignore"):
        outputs, _, told = solved(module, params, inputs, state)
        wanted = expected(case, params, inputs, state, 3)
    assert np.isnan(outputs["h"][0, :, 1]).all()
    agree({"h": outputs["h"][1]}, {"h": wanted.outputs["h"][1]}, 1e-11)
    agree({"h": outputs["h"][0, :, 0]}, {"h": wanted.outputs["h"][0, :, 0]}, 1e-11)
    assert told["h"]["fallback"].tolist() == [0.5, 0]


def test_gradients() -> None:
    case = Case(CHAOS)
    module = load_module(source(case, gradients=True), "emitted_newton")
    given = {"a": torch.tensor([0.5, 0.9], dtype=torch.float64, requires_grad=True)}
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)

    def run(a: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, final = module.apply({"a": a}, {"x": x})
        return (*outputs.values(), *final.values())

    assert torch.autograd.gradcheck(run, (given["a"], x), fast_mode=True)


LARGE = replace(CASES["paragru"], sizes=(("D", 32), ("H", 256)))


def test_text(golden: Golden) -> None:
    """The kernel of the forward pass and its launch, without what surrounds them."""
    text = source(LARGE, "float32", 128)
    start, end = text.index("@triton.jit(do_not_specialize"), text.index("\n@Operator") + 1
    golden.check(ROOT / "paragru" / "newton.txt", text[start:end].rstrip() + "\n")


def test_kernels_fit() -> None:
    (kernels,) = resources_of([source(LARGE, "float32", 128)], list(LIMITS))
    assert [kernel.warps for kernel in kernels] == [4] * len(LIMITS)
    assert all(kernel.fits for kernel in kernels)
