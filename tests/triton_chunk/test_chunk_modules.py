"""Emitted PyTorch modules that run in chunks: the reference's numbers and gradients, in double precision."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import pytest
import torch

from lsrl.backends import reference
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from lsrl.ir.plan import make_plan
from lsrl.ir.schedules.how import Chunk, How, Quadratic
from support.comparing import agree, arrays, cotangents_of, expected
from support.programs import LIBRARY, Case, bound
from support.torch_modules import numpy, run, tensors

BATCH, LENGTH = 2, 21
INVENTIONS = {
    # Each a step that no library has kernels for.
    "weighted delta": """
cell weighted(N=2, K=4, V=3) heads N:
    input k, c, a, q: [K], v: [V], b: []
    state S: [V, K] = 0
    S' = S @ diag(sigmoid(a)) - b * outer(S @ k, c * k) + outer(v, k)
    output o = S' @ q
""",
    "two householder factors": """
cell product(K=4, V=3):
    input k, p, q: [K], v, u: [V], a, b, g: []
    state S: [K, V] = 0
    first = sigmoid(g) * S - a * outer(k, k @ S) + outer(k, v)
    S' = first - b * outer(p, p @ first) + outer(p, u)
    output o = q @ S'
""",
    "diagonal and low rank": """
cell generalized(K=4, V=3):
    input k, q, f, a, b: [K], v: [V]
    state S: [V, K] = 0
    S' = S @ diag(sigmoid(f)) + outer(S @ a, b) + outer(v, k)
    output o = S' @ q, before = S @ q
""",
    "gates on both sides": """
cell separable(K=4, V=3):
    input k, q, f: [K], v, g: [V]
    state S: [K, V] = 0
    S' = diag(sigmoid(f)) @ S @ diag(tanh(g)) + outer(k, v)
    output o = q @ S', other = S' @ v
""",
    "constants": """
cell constant(K=3, V=2):
    input q: [K], v: [V]
    param k: [K]
    state S: [K, V] = 0
    S' = 0.9 * S - 0.5 * outer(k, k @ S) + outer(k, v)
    output o = q @ S'
""",
    "vectors": """
cell vectors(N=2, K=3) heads N:
    input k, q, a, b: [K], g: []
    state S: [K] = 0
    S' = g * S - a * sum(b * S) + k
    output o = sum(q * S')
""",
    "from the end, with resets": """
cell writer(K=3, V=2):
    input k, q: [K], v: [V], r: [] bool
    state S: [K, V] = 0.5
    reset when r
    S' = S + outer(k, v - k @ S)
    output o = q @ S'

cell backwards(K=3, V=2):
    input k, q: [K], v: [V], r: [] bool
    output o = reverse writer(K, V)(k=k, q=q, v=v, r=r)
""",
}
CASES = {name: LIBRARY[name] for name in ("retention", "gla", "gated_delta", "mlstm")}
CASES |= {name: Case(source) for name, source in INVENTIONS.items()}


def emitted(case: Case, dtype: str, how: How) -> ModuleType:
    cell, sizes = bound(case)
    matrices = {state.name: how for state in cell.states if state.name.split(".")[-1] in ("S", "C", "n")}
    assert matrices, [s.name for s in cell.states]
    plan = make_plan(cell, sizes, hows=matrices)
    return load_module(emit_triton(plan, dtype, "", "lsrl compile"), "emitted_chunks")


@cache
def module(name: str) -> ModuleType:
    return emitted(CASES[name], "float64", Chunk(8))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    case = CASES[name]
    cell, sizes = bound(case)
    params, inputs, state = arrays(case, LENGTH, BATCH)
    wanted = expected(case, params, inputs, state, LENGTH, BATCH)
    weights = cotangents_of({**wanted.outputs, **{f"state.{key}": array for key, array in wanted.state.items()}})
    truth = reference.gradients(cell, sizes, params, inputs, state, weights)
    groups = [
        {key: torch.tensor(a, requires_grad=a.dtype.kind in "fc") for key, a in group.items()}
        for group in (params, inputs, state)
    ]
    outputs, final = module(name).apply(*groups)
    agree(numpy(outputs), wanted.outputs, 1e-10)
    agree(numpy(final), wanted.state, 1e-10)
    results = {**outputs, **{f"state.{key}": tensor for key, tensor in final.items()}}
    pairs = [(results[key], torch.tensor(weight)) for key, weight in weights.items()]
    torch.autograd.backward([result for result, _ in pairs], [weight for _, weight in pairs])
    for group, theirs in zip(groups, (truth.params, truth.inputs, truth.state), strict=True):
        smooth = {key: tensor for key, tensor in group.items() if tensor.requires_grad}
        found = {key: torch.zeros_like(t) if t.grad is None else t.grad for key, t in smooth.items()}
        agree(numpy(found), {key: theirs[key] for key in found}, 1e-10)


@pytest.mark.parametrize("length", [0, 1])
def test_few_positions(length: int) -> None:
    case = CASES["gated_delta"]
    params, inputs, state = arrays(case, length, BATCH)
    wanted = expected(case, params, inputs, state, length, BATCH)
    outputs, final = run(module("gated_delta"), params, inputs, state)
    agree(outputs, wanted.outputs, 1e-12)
    agree(final, wanted.state, 1e-12)


def test_one_chunk_of_all_positions() -> None:
    case = CASES["gla"]
    params, inputs, state = arrays(case, LENGTH, BATCH)
    wanted = expected(case, params, inputs, state, LENGTH, BATCH)
    outputs, final = run(emitted(case, "float64", Quadratic()), params, inputs, state)
    agree(outputs, wanted.outputs, 1e-12)
    agree(final, wanted.state, 1e-12)


def test_split_and_continued() -> None:
    params, inputs, state = arrays(CASES["mlstm"], LENGTH, BATCH)
    whole, last = run(module("mlstm"), params, inputs, state)
    early, middle = run(module("mlstm"), params, {name: array[:, :13] for name, array in inputs.items()}, state)
    late, final = run(module("mlstm"), params, {name: array[:, 13:] for name, array in inputs.items()}, middle)
    agree({name: array[:, :13] for name, array in whole.items()}, early, 1e-12)
    agree({name: array[:, 13:] for name, array in whole.items()}, late, 1e-12)
    agree(last, final, 1e-12)


@pytest.mark.parametrize(("name", "dtype"), [("gated_delta", "bfloat16"), ("gla", "float16")])
def test_data_of_16_bits(name: str, dtype: str) -> None:
    """Kernels, interpreted, on data that 16 bits hold."""
    case = CASES[name]
    data = getattr(torch, dtype)
    params, inputs, state = arrays(case, 40, BATCH)
    contracting = inputs | {key: -abs(inputs[key]) for key in ("log_a",) if key in inputs}
    rounded = {key: torch.tensor(array).to(data).double().numpy() for key, array in contracting.items()}
    wanted = expected(case, params, rounded, state, 40, BATCH)
    outputs, _ = emitted(case, dtype, Chunk(32)).apply(tensors(params), tensors(rounded), tensors(state))
    difference = outputs["o"].double() - torch.tensor(wanted.outputs["o"])
    assert difference.norm() < 1e-2 * torch.tensor(wanted.outputs["o"]).norm()
