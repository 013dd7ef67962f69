"""Emitted PyTorch and Triton modules of whole programs, kernels interpreted: the reference's numbers and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType

import numpy as np
import pytest
import torch

from lsrl import stages
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from support.comparing import BATCH, LENGTH, Named, agree, arrays, expected, extent
from support.programs import PROGRAMS, Case, bound
from support.torch_gradients import check_gradients
from support.torch_modules import numpy, run, tensors

MORE = ("lstm", "mlstm", "lru", "lags", "resets", "stack", "noisy", "autonomous", "pointwise", "table")
DERIVED = (*MORE, "reversed", "learner", "picture", "selective_ssm", "slstm")
NARROW = [(name, "bfloat16") for name in ("lstm", "gru", "gru2014", "slstm", "gated_delta", "selective_ssm", "stack")]
NARROW += [(name, "float16") for name in ("lstm", "lru", "noisy", "mlstm", "reversed")]
# Sizes that fill several blocks, or part of one, or one lane; with the number of sequences.
SHAPES: Mapping[str, tuple[str, dict[str, int], int]] = {
    "dense, padded": ("std/lstm", {"D": 3, "H": 24}, 1),
    "dense, read at every step": ("std/gru", {"D": 3, "H": 100}, 2),
    "dense, one unit": ("std/rnn", {"D": 2, "H": 1}, 3),
    "heads with matrices": ("std/slstm", {"N": 3, "P": 7}, 5),
    "channels in several blocks": ("std/mingru", {"D": 3, "H": 300}, 4),
    "many short heads": ("std/rg_lru", {"N": 33, "P": 3}, 2),
    "complex channels": ("std/lru", {"D": 2, "N": 130}, 1),
    "matrix state in several blocks": ("std/gated_delta", {"N": 2, "K": 48, "V": 33}, 2),
    "matrix state of one row": ("std/mlstm", {"N": 1, "K": 1, "V": 5}, 3),
    "dense, products at each position": ("std/lstm", {"D": 3, "H": 200}, 2),
    "dense, products that need each other": ("std/gru2014", {"D": 3, "H": 150}, 1),
    "state space in several blocks": ("std/selective_ssm", {"E": 70, "N": 16, "R": 3}, 1),
}
STEPPED = {
    "backwards": """
cell blur(X=5):
    input x: [1, X]
    param R: [1, 1, 3] ~ normal(0.3)
    state h: [1, X] = 0
    h' = tanh(x + conv(h, R))
    output h'

cell backwards(X=5):
    input x: [1, X]
    output y = reverse blur(X)(x)
""",
    "without inputs": """
cell waves(X=5):
    param R: [1, 1, 3] ~ normal(0.3)
    state h: [1, X] = 1
    h' = tanh(conv(h, R)) + 0.1
    output h'
""",
    "complex": """
cell turning(N=150, D=2):
    input x: [D]
    param W: [N, N] complex ~ normal(0.01)
    param B: [N, D] complex ~ normal(0.1)
    state z: [N] complex = 0
    z' = 0.05 * (W @ z) + B @ x
    output y = re(z')
""",
}


@cache
def module(name: str, dtype: str) -> ModuleType:
    return emitted(PROGRAMS[name], dtype)


def emitted(case: Case, dtype: str) -> ModuleType:
    cell, sizes = bound(case)
    return load_module(emit_triton(stages.make(cell, sizes, "triton").plan, dtype), f"emitted_{cell.name}_{dtype}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_float64(name: str) -> None:
    case = PROGRAMS[name]
    params, inputs, state = arrays(case)
    for given in (state, None):
        wanted = expected(case, params, inputs, given)
        outputs, final = run(module(name, "float64"), params, inputs, given, **extent(bound(case)[0]))
        agree(outputs, wanted.outputs, 1e-10)
        agree(final, wanted.state, 1e-10)
        assert {key: a.dtype for key, a in outputs.items()} == {key: a.dtype for key, a in wanted.outputs.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_float32(name: str) -> None:
    case = PROGRAMS[name]
    params, inputs, state = arrays(case)
    wanted = expected(case, params, inputs, state)
    outputs, final = run(module(name, "float32"), params, inputs, state, **extent(bound(case)[0]))
    agree(outputs, wanted.outputs, 1e-5)
    agree(final, wanted.state, 1e-5)


@pytest.mark.parametrize(("name", "dtype"), NARROW)
def test_16_bits(name: str, dtype: str) -> None:
    """Data of 16 bits: the reference runs on the rounded arrays."""
    case = PROGRAMS[name]
    type_: torch.dtype = getattr(torch, dtype)
    params, inputs, state = (_rounded(group, type_) for group in arrays(case))
    emitted_ = module(name, dtype)
    outputs, final = emitted_.apply(tensors(params), tensors(inputs), tensors(state))
    wanted = expected(case, params, inputs, state)
    agree(numpy(outputs), wanted.outputs, 1e-2)
    agree(numpy(final), wanted.state, 1e-2)
    assert {tensor.dtype for tensor in outputs.values()} == {type_}
    assert {tensor.dtype for tensor in final.values()} <= {torch.float32, torch.complex64}
    assert {tensor.dtype for tensor in emitted_.init(0).values()} <= {type_, torch.complex64}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str, dtype: str) -> None:
    source, sizes, batch = SHAPES[shape]
    case = Case(source, tuple(sizes.items()))
    params, inputs, state = arrays(case, 3, batch)
    params = {key: a / np.sqrt(a.shape[-1]) if a.ndim > 1 else a for key, a in params.items()}
    if dtype == "bfloat16":
        params, inputs, state = (_rounded(group, torch.bfloat16) for group in (params, inputs, state))
    wanted = expected(case, params, inputs, state, 3, batch)
    emitted_ = emitted(case, dtype)
    assert not any(how.startswith("a loop in plain PyTorch") for how in emitted_.SCHEDULE.values())
    outputs, final = run(emitted_, params, inputs, state)
    tolerance = 1e-10 if dtype == "float64" else 1e-2
    agree(outputs, wanted.outputs, tolerance)
    agree(final, wanted.state, tolerance)


def _rounded(group: Named, type_: torch.dtype) -> dict[str, Array]:
    """Floats as 16 bits hold them."""
    floats = {key: torch.as_tensor(a).to(type_).double().numpy() for key, a in group.items() if a.dtype.kind == "f"}
    return {**group, **floats}


@pytest.mark.parametrize("length", [0, 3])
@pytest.mark.parametrize("name", STEPPED)
def test_products_at_each_position(name: str, length: int) -> None:
    """Loops that are taken apart: from the end, without inputs, with complex products; values and gradients."""
    case = Case(STEPPED[name])
    cell, sizes = bound(case)
    emitted_ = emitted(case, "float64")
    assert all("position by position, products by PyTorch" in how for how in emitted_.SCHEDULE.values())
    params, inputs, state = arrays(case, length)
    wanted = expected(case, params, inputs, state, length)
    outputs, final = run(emitted_, params, inputs, state, **extent(cell, length))
    agree(outputs, wanted.outputs, 1e-10)
    agree(final, wanted.state if length else state, 1e-10)
    numbers = None if cell.inputs else {"B": BATCH, "T": length}
    truth = reference.gradients(cell, sizes, params, inputs, state, extent=numbers)
    leaves = {key: torch.tensor(a, requires_grad=True) for key, a in params.items()}
    outputs, _ = emitted_.apply(leaves, tensors(inputs), tensors(state), **extent(cell, length))
    sum(output.real.sum() for output in outputs.values()).backward()
    found = {key: torch.zeros_like(t) if t.grad is None else t.grad for key, t in leaves.items()}
    agree(numpy(found), truth.params, 1e-10)


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("name", [*MORE, "reversed", "picture"])
def test_short_sequences(name: str, length: int) -> None:
    case = PROGRAMS[name]
    params, inputs, state = arrays(case, length)
    wanted = expected(case, params, inputs, state, length)
    outputs, final = run(module(name, "float64"), params, inputs, state, **extent(bound(case)[0], length))
    agree(outputs, wanted.outputs, 1e-10)
    agree(final, wanted.state if length else state, 1e-10)


@pytest.mark.parametrize("name", MORE)
def test_step_by_step(name: str) -> None:
    """`step` over positions gives what `apply` gives, and a sequence may be cut where one likes."""
    case = PROGRAMS[name]
    cell = bound(case)[0]
    emitted_ = module(name, "float64")
    params, inputs, state = (tensors(group) or {} for group in arrays(case))
    outputs, final = emitted_.apply(params, inputs, state, **extent(cell))
    now, kept = state, []
    for position in range(LENGTH):
        here = {key: tensor[:, position] for key, tensor in inputs.items()}
        here, now = emitted_.step(params, here, now, **({} if cell.inputs else {"batch": BATCH}))
        kept.append(here)
    agree({key: torch.stack([each[key] for each in kept], 1) for key in outputs}, numpy(outputs), 1e-12)
    agree(now, numpy(final), 1e-12)
    front, middle = emitted_.apply(params, _cut(inputs, 0, 4), state, **extent(cell, 4))
    back, end = emitted_.apply(params, _cut(inputs, 4, LENGTH), middle, **extent(cell, LENGTH - 4))
    agree({key: torch.cat([front[key], back[key]], 1) for key in outputs}, numpy(outputs), 1e-12)
    agree(end, numpy(final), 1e-12)


def _cut(inputs: Mapping[str, torch.Tensor], start: int, stop: int) -> dict[str, torch.Tensor]:
    return {name: tensor[:, start:stop] for name, tensor in inputs.items()}


@pytest.mark.parametrize("name", DERIVED)
def test_gradients(name: str) -> None:
    """The derivatives of loops, by their kernels, for random weights of all results."""
    check_gradients(PROGRAMS[name], module(name, "float64"), 1e-10)
