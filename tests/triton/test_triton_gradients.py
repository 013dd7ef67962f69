"""Gradients of PyTorch and Triton modules: memory policies, types, lengths, random cells."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest
import torch

from lsrl import stages
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from lsrl.ir.plan import make_plan
from support.graphs import random_cell
from support.process import peak_memory
from support.programs import PROGRAMS, Case, bound
from support.running import random_arrays
from support.torch_gradients import check_cell, check_gradients

MATRICES = """
cell memory(N=2, K=3, V=2) heads N:
    \"\"\"States of several kinds, all of them needed to run a piece anew.\"\"\"
    input q, k: [K], v: [V]
    param g: [K]
    state S: [K, V] = 0, z: [V] complex = 1, n: [] int = 0
    a = where(n % 2 == 1, 0.5, 0.25)
    S' = a * tanh(S) + outer(k * g, v)
    z' = 0.5 * z * z + q @ S'
    n' = n + 1
    output o = re(z') + q @ S, size = n
"""
BACKWARDS = f"""
{MATRICES}

cell backwards(N=2, K=3, V=2):
    input q, k: [N, K], v: [N, V]
    m = reverse memory(N, K, V)(q, k, v)
    output o = m.o
"""
CLASHES = """
cell clashes(D=2):
    input every, tensors: [D]
    param derivative: [D] ~ normal(1)
    state cotangents, found: [D] = 0
    state ctx: [D] = 0, output_: [] int = 0
    cotangents' = tanh(cotangents * derivative + every) + found * ctx
    found' = sin(found) + cotangents * tensors
    ctx' = ctx * found + tensors
    output_' = output_ + 1
    output inputs = cotangents' * ctx, at = found', d_cotangents = ctx
"""
KEPT = ("sequential", "sequential(save)", "sequential(recompute=1)", "sequential(recompute=3)")


@cache
def module(case: Case, dtype: str = "float64", schedule: str = "sequential") -> ModuleType:
    cell, sizes = bound(case)
    plan = stages.make(cell, sizes, "triton", schedule).plan
    return load_module(emit_triton(plan, dtype), f"emitted_{cell.name}_{dtype}")


@pytest.mark.parametrize("schedule", KEPT)
@pytest.mark.parametrize("name", ["gated_delta", "gru", "autonomous"])
def test_what_is_kept_changes_no_gradient(name: str, schedule: str) -> None:
    """States of every position, of the first of every so many, by the rule; pieces need not fit the length."""
    check_gradients(PROGRAMS[name], module(PROGRAMS[name], schedule=schedule), 1e-9, length=7)


@pytest.mark.parametrize("schedule", KEPT[1::2])
def test_names_of_the_program_shadow_nothing(schedule: str) -> None:
    check_gradients(Case(CLASHES), module(Case(CLASHES), schedule=schedule), 1e-9)


@pytest.mark.parametrize("length", [0, 1, 7])
@pytest.mark.parametrize("text", [MATRICES, BACKWARDS], ids=["forwards", "backwards"])
def test_states_of_several_kinds_in_pieces(text: str, length: int) -> None:
    check_gradients(Case(text), module(Case(text), schedule="sequential(recompute=3)"), 1e-9, length)


NARROW = (
    *(("lstm", "bfloat16"), ("gru", "bfloat16"), ("gated_delta", "bfloat16"), ("selective_ssm", "bfloat16")),
    *(("slstm", "float16"), ("lru", "float16"), ("stack", "float16")),
)


@pytest.mark.parametrize(("name", "dtype"), NARROW)
def test_16_bits(name: str, dtype: str) -> None:
    """Data of 16 bits, states and their cotangents of 32: gradients have the types of what they are for."""
    case = PROGRAMS[name]
    check_gradients(case, module(case, dtype), 1e-2, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("seed", range(41, 57))
def test_random_cell(seed: int) -> None:
    """Every operation on random operands."""
    sizes = {"H": 2, "D": 10}
    cell = random_cell(Random(seed), operations=12)
    emitted = load_module(emit_triton(make_plan(cell, sizes), "float64"), "emitted_random_cell")
    given = random_arrays(cell, sizes, batch=2, length=3, seed=seed)
    with np.errstate(all="ignore"):
        check_cell(cell, sizes, emitted, given, 3, 1e-9)


LONG = """
import sys, warnings
from pathlib import Path
import torch
from lsrl.backends.module_loader import load_module
warnings.simplefilter("ignore")
module = load_module(Path(sys.argv[1]).read_text(), "standalone")
generator = torch.Generator().manual_seed(0)
q, k, v, g = (torch.randn(1, 65536, 1, 64, generator=generator) for _ in range(4))
inputs = {"q": q, "k": k, "v": v, "log_a": torch.nn.functional.logsigmoid(g)}
inputs = {name: x.requires_grad_() for name, x in inputs.items()}
module.apply({}, inputs)[0]["o"].sum().backward()
assert all(x.grad.isfinite().all() for x in inputs.values())
"""


@pytest.mark.slow
def test_a_long_sequence_of_matrices_fits_into_memory(tmp_path: Path) -> None:
    """Forward and backward over 65,536 positions of a 64 x 64 state, whose states alone would take a GiB."""
    case = Case("std/gla", (("N", 1), ("K", 64), ("V", 64)))
    cell, sizes = bound(case)
    text = emit_triton(stages.make(cell, sizes, "triton", "sequential").plan, "float32")
    (tmp_path / "module.py").write_text(text)
    assert peak_memory(LONG, str(tmp_path / "module.py")) < 1.0
