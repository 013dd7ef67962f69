"""Kernels that groups of programs run together: the reference's numbers and gradients, with programs that do wait."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from lsrl import stages
from lsrl.backends import group_tiles, triton_beyond
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.group_form import GroupForm, group_form
from lsrl.backends.kernel_form import KernelForm, NoKernel
from lsrl.backends.machine_code import LIMITS, MOST_REGISTERS, resources_of
from lsrl.backends.module_loader import load_module
from lsrl.backends.runtime import torch_kernels
from support.comparing import agree, arrays, expected
from support.programs import Case, bound
from support.together import programs_together
from support.torch_gradients import check_cell
from support.torch_modules import run

LENGTH = 3
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 2e-2}
LSTM = Case("std/lstm", (("D", 3), ("H", 130)))
TWO_FACTORS = """
cell low(H=130):
    input x: [H]
    param U, V: [H, H] ~ normal(0.1)
    state h: [H] = 0
    h' = tanh(x + U @ (V @ h))
    output h'
"""
# Program, type, sequences, how many tiles of 16 of them run at once, and programs of a tile.
CASES: Mapping[str, tuple[Case, str, int, int, int]] = {
    "lstm, a tile after the other": (LSTM, "float64", 17, 1, 9),
    "lstm, 16 bits": (LSTM, "bfloat16", 2, 1, 9),
    "gru, reset after the product": (Case("std/gru", (("D", 3), ("H", 144))), "float64", 2, 1, 9),
    "gru, two meetings": (Case("std/gru2014", (("D", 2), ("H", 130))), "float64", 2, 1, 9),
    "gru, two meetings, 16 bits": (Case("std/gru2014", (("D", 2), ("H", 130))), "bfloat16", 1, 1, 5),
    "elman": (Case("std/rnn", (("D", 2), ("H", 150))), "float32", 20, 2, 10),
    "as many units of another kind": (Case(TWO_FACTORS), "float64", 1, 1, 9),
    "heads": (Case("std/slstm", (("N", 2), ("P", 130))), "float64", 1, 1, 18),
}
SEVERAL_KINDS = """
cell low(D=2, H=200, R=150):
    input x: [H]
    param U: [H, R] ~ normal(0.1)
    param V: [R, H] ~ normal(0.1)
    state h: [H] = 0
    h' = tanh(x + U @ (V @ h))
    output h'
"""
MEETING_UNITS = """
cell normed(H=200):
    input x: [H]
    param W: [H, H] ~ normal(0.1)
    state h: [H] = 0
    u = W @ h + x
    h' = tanh(u - mean(u))
    output h'
"""
COMPLEX = """
cell turning(N=140, D=2):
    input x: [D]
    param W: [N, N] complex ~ normal(0.01)
    param B: [N, D] complex ~ normal(0.1)
    state z: [N] complex = 0
    z' = 0.05 * (W @ z) + B @ x
    output y = re(z')
"""


@pytest.fixture(autouse=True)
def _nothing_in_new_memory() -> Iterator[None]:
    """What nobody has written yet is not a number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def text_of(case: Case, dtype: str) -> str:
    cell, sizes = bound(case)
    return emit_triton(stages.make(cell, sizes, "triton").plan, dtype)


def made(text: str, together: int) -> ModuleType:
    """The module, on a GPU that runs so many tiles at once."""
    module = load_module(text, "emitted_group")
    vars(module)["tiles_at_once"] = lambda *_: together
    return module


def given(case: Case, dtype: str, batch: int) -> tuple[dict[str, Any], ...]:
    params, inputs, state = arrays(case, LENGTH, batch)
    params = {key: a / np.sqrt(a.shape[-1]) if a.ndim > 1 else a for key, a in params.items()}
    type_: torch.dtype = getattr(torch, dtype)
    return tuple(
        {key: torch.as_tensor(a).to(type_).double().numpy() if a.dtype.kind == "f" else a for key, a in group.items()}
        for group in (params, inputs, state)
    )


def check(case: Case, dtype: str, batch: int, module: ModuleType) -> list[int]:
    """Values and gradients; how many programs each launch had."""
    cell, sizes = bound(case)
    groups = given(case, dtype, batch)
    type_: torch.dtype = getattr(torch, dtype)
    with programs_together(seed=1) as launches:
        check_cell(cell, sizes, module, groups, LENGTH, TOLERANCE[dtype], type_)
        values = len(launches)
        if dtype != "bfloat16":
            outputs, final = run(module, *(_stored(group, type_) for group in groups))
            wanted = expected(case, *groups, LENGTH, batch)
            agree(outputs, wanted.outputs, TOLERANCE[dtype])
            agree(final, wanted.state, TOLERANCE[dtype])
    return launches[:values]


def _stored(group: Mapping[str, Any], type_: torch.dtype) -> dict[str, Any]:
    return {k: a.astype(str(type_).removeprefix("torch.")) if a.dtype.kind == "f" else a for k, a in group.items()}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    case, dtype, batch, together, programs = CASES[name]
    launches = check(case, dtype, batch, made(text_of(case, dtype), together))
    tiles = -(-batch // 16)
    assert launches[: -(-tiles // together)] == [programs * min(together, tiles)] * -(-tiles // together)
    assert len(launches) == 2 * -(-tiles // together)


def test_matrices_that_are_read_at_every_position() -> None:
    with mock.patch.object(group_tiles, "AHEAD", 0):
        text = text_of(LSTM, "float64")
    assert "for i_h_all in tl.range(tl.cdiv(H, BH_ALL), num_stages=3):" in text
    assert len(check(LSTM, "float64", 2, made(text, 1))) == 2


@pytest.mark.parametrize("case", [LSTM, Case("std/gru2014", (("D", 2), ("H", 130)))], ids=["steps", "plain"])
def test_what_runs_instead(case: Case) -> None:
    """Where a GPU does not run the programs at once."""
    assert check(case, "float64", 2, made(text_of(case, "float64"), 0)) != [9, 9]


def test_complex_products() -> None:
    check(Case(COMPLEX), "float64", 2, made(text_of(Case(COMPLEX), "float64"), 1))


def test_programs_that_do_not_wait_are_found_out() -> None:
    """Otherwise the tests above would prove nothing."""
    text = text_of(LSTM, "float64")
    hasty = re.sub(r"\n +wait\(.*\)", "", text)
    assert hasty != text
    with pytest.raises(AssertionError):
        check(LSTM, "float64", 2, made(hasty, 1))
    silent = re.sub(r"\n +arrive\(.*\)", "", text)
    with pytest.raises(Exception, match="9 programs wait for each other"):
        check(LSTM, "float64", 2, made(silent, 1))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (SEVERAL_KINDS, "its products sum over several kinds of units"),
        (MEETING_UNITS, "its units meet in other ways than by products with matrices of parameters"),
    ],
)
def test_loops_that_no_group_runs(source: str, reason: str) -> None:
    reasons: list[str] = []

    def tried(form: KernelForm, narrow: frozenset[str]) -> GroupForm:
        try:
            return group_form(form, narrow)
        except NoKernel as refusal:
            reasons.append(str(refusal))
            raise

    with mock.patch.object(triton_beyond, "group_form", tried):
        text = text_of(Case(source), "float64")
    assert reason in reasons
    assert "wait(" not in text


H100 = {"multiprocessor_count": 132, "max_shared_mem": 232448, "max_num_regs": 65536}
SMALL = {"multiprocessor_count": 46, "max_shared_mem": 101376, "max_num_regs": 65536}


@pytest.mark.parametrize(
    ("gpu", "programs", "threads", "shared", "tiles"),
    [
        (H100, 48, 128, 104448, 5),  # two programs on each multiprocessor
        (H100, 48, 128, 116224, 2),  # half of its memory, of which the system takes some
        (H100, 96, 256, 65536, 1),
        (H100, 133, 256, 65536, 0),
        (SMALL, 24, 128, 104448, 0),
        (SMALL, 24, 128, 43008, 3),
    ],
)
def test_how_many_tiles_a_gpu_runs_at_once(
    gpu: dict[str, int], programs: int, threads: int, shared: int, tiles: int
) -> None:
    """Never more programs than are there together: one that waits for another that is not would wait for ever."""
    utils = SimpleNamespace(get_device_properties=lambda _: gpu)
    driver = SimpleNamespace(active=SimpleNamespace(utils=utils))
    torch_kernels.announce_apart.cache_clear()
    with (
        mock.patch.object(torch_kernels, "INTERPRETED", False),
        mock.patch.object(torch_kernels.triton.runtime, "driver", driver),
        nullcontext() if tiles else pytest.warns(UserWarning, match="too few multiprocessors"),
    ):
        assert torch_kernels.tiles_at_once(torch.empty(1), programs, threads, shared) == tiles


PARKED = 32  # bytes of what only stores after the loop need, on the stack meanwhile


def compiled(cases: list[tuple[str, dict[str, int], str]]) -> None:
    """Group kernels fit the GPUs, and the shared memory that their launches count with is enough."""
    texts = [text_of(Case(name, tuple(sizes.items())), dtype) for name, sizes, dtype in cases]
    alone = "\nKERNELS = tuple(each for each in KERNELS if 'arrived' in each[1])\n"
    for text, rows in zip(texts, resources_of([text + alone for text in texts], list(LIMITS)), strict=True):
        told = dict(re.findall(r'"""Run `(\w+)`; [^(]*\n.*\n.*\n.*tiles_at_once\(.*, (\d+)\)', text))
        assert len(told) in (0, 2)  # a small Elman network needs no group
        for row in rows:
            assert row.shared <= int(told[row.kernel]) <= LIMITS[row.target], row
            assert row.registers <= MOST_REGISTERS, row
            assert row.spilled <= PARKED, row
        assert {row.kernel for row in rows} == set(told)


def test_machine_code() -> None:
    compiled([("std/lstm", {"D": 16, "H": 768}, "bfloat16")])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["lstm", "gru", "gru2014", "rnn"])
def test_machine_code_of_many_sizes(name: str, dtype: str) -> None:
    compiled([(f"std/{name}", {"D": 16, "H": units}, dtype) for units in (256, 512, 768, 1024)])
