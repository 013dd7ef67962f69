"""Loops in C against the reference: every operation, random graphs, whole programs, any batch and number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from random import Random
from types import ModuleType

import numpy as np
import pytest
import torch

import lsrl
from lsrl import stages
from lsrl.backends.emit_cpu import emit_cpu
from lsrl.backends.module_loader import load_module
from lsrl.backends.native.operations import PRINTERS
from lsrl.backends.reference import run as reference
from lsrl.ir import ops
from lsrl.ir.cell import Cell
from lsrl.ir.plan import make_plan
from lsrl.ir.value import Kind, postorder
from support.comparing import agree, arrays, expected, extent
from support.golden import ROOT, Golden
from support.graphs import random_cell
from support.operations import NAMES, SIZES, cell_of, grown, with_recurrence
from support.programs import PROGRAMS, Case, bound
from support.running import random_arrays
from support.torch_gradients import check_gradients
from support.torch_modules import run, tensors

WITHOUT = ("conv", "conv_dw", "conv_dx", "scatter", "solve")
"""Operations that have no form in C: their loops run in plain PyTorch, which the module says."""
NARROW = [("lstm", "bfloat16"), ("gla", "bfloat16"), ("lru", "float16"), ("mlstm", "float16")]
REVIEWED = ("mingru", "lstm", "mlstm", "lru", "gated_delta", "reversed")
LARGE: Mapping[str, dict[str, int]] = {
    "lstm": {"D": 32, "H": 64},
    "mingru": {"D": 32, "H": 256},
    "mlstm": {"N": 4, "K": 64, "V": 64},
    "lru": {"D": 32, "N": 64},
    "gated_delta": {"N": 4, "K": 128, "V": 128},
    "reversed": {"V": 256, "D": 32, "H": 64},
}


def source(case: Case, dtype: str, schedule: str = "sequential", sizes: dict[str, int] | None = None) -> str:
    cell, numbers = bound(case)
    plan = stages.make(cell, {**numbers, **(sizes or {})}, "cpu", schedule).plan
    where = case.source if "\n" not in case.source else f"{cell.name}.lsrl"
    return emit_cpu(plan, dtype, where, f"lsrl compile {where} --target cpu")


@cache
def module(name: str, dtype: str) -> ModuleType:
    return load_module(source(PROGRAMS[name], dtype), f"emitted_native_{name}_{dtype}")


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(cell: Cell, seed: int) -> str:
    """Hold a cell's module to the reference; how its loops run."""
    params, inputs, state = random_arrays(cell, SIZES, batch=2, length=3, seed=seed)
    with np.errstate(all="ignore"):
        wanted = reference(cell, SIZES, params, inputs, state)
    emitted = load_module(emit_cpu(make_plan(cell, SIZES, hoist_elementwise=False), "float64"), "emitted_operation")
    outputs, final = run(emitted, params, inputs, state)
    for found, truth in ((outputs, wanted.outputs), (final, wanted.state)):
        assert found.keys() == truth.keys()
        for name, array in truth.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-12, err_msg=name)
            assert found[name].dtype == array.dtype
    return " ".join(emitted.SCHEDULE.values())


@pytest.mark.parametrize("op", NAMES)
def test_every_operation_inside_a_loop(op: str) -> None:
    seed = NAMES.index(op)
    value, state = with_recurrence(grown(op, 100 * seed))
    cell = cell_of([value, ops.leaf("input", "x", (), Kind.FLOAT)], (state,))
    assert ("no form in C" in compare(cell, seed)) == (op in WITHOUT)


def test_no_row_is_for_nothing() -> None:
    assert set(PRINTERS) - {"re", "im", "conj"} <= set(NAMES)


@pytest.mark.parametrize("seed", range(12))
def test_random_cell(seed: int) -> None:
    cell = random_cell(Random(seed), operations=15)
    if any(v.op in ("mod", "floordiv") and v.kind is Kind.INT for v in postorder(cell.all_roots())):
        cell = random_cell(Random(seed + 1000), operations=8)  # whole numbers divided by 0 are an error in PyTorch
    compare(cell, seed)


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
    check_gradients(PROGRAMS[name], module(name, dtype), 1e-2, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("name", ["lstm", "gru", "slstm", "gla", "lru", "mingru", "selective_ssm"])
@pytest.mark.parametrize(("batch", "length", "number"), [(1, 5, 3), (5, 2, 2), (70, 2, 2), (3, 0, 2)])
def test_any_batch_length_and_number_of_threads(name: str, batch: int, length: int, number: int) -> None:
    """One sequence for several threads, tiles that are not full, more sequences than a tile, no position at all."""
    case = PROGRAMS[name]
    given = arrays(case, length, batch)
    wanted = expected(case, *given, length, batch)
    with threads(number):
        outputs, final = run(module(name, "float64"), *given)
    agree(outputs, wanted.outputs, 1e-10)
    agree(final, wanted.state, 1e-10)


@pytest.mark.parametrize("name", ["lstm", "mlstm", "gated_delta", "rg_lru"])
def test_what_is_compiled_is_the_same_for_all_sizes(name: str) -> None:
    case = PROGRAMS[name]
    _, sizes = bound(case)
    more = {size: 2 * number + 3 for size, number in sizes.items()}
    assert c_texts(source(case, "float32")) == c_texts(source(case, "float32", sizes=more))


def c_texts(text: str) -> list[str]:
    """The C of a module."""
    return text.split('r"""\n')[1:2] + [part.split('"""')[0] for part in text.split('r"""\n')[1:]][1:]


def test_numbers_made_of_sizes_are_arguments() -> None:
    program = lsrl.parse(
        "cell scaled(D):\n    input x: [D]\n    state h: [D] = 0\n"
        "    h' = h / sqrt(D) + where(x > 1/D, x, tanh(h) * (D + 1))\n    output h'\n"
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 7))
    wanted = program.reference({}, {"x": x}, sizes={"D": 7}).outputs["h"]
    found = lsrl.compile(program, "cpu", {"D": 7}, "sequential", "float64")({}, {"x": x}).outputs["h"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_words_of_c_are_names_like_others() -> None:
    program = lsrl.parse(
        "cell words(T, B, int_, threads):\n    input double, register: [T], i_t: [T]\n"
        "    param sum: [T, T] ~ normal(1)\n"
        "    state real: [T] = 0\n    maximum = sum @ real\n    free = max(maximum, double * register)\n"
        "    real' = tanh(free) * i_t\n    output step = real'\n"
    )
    sizes = {"T": 3, "B": 2, "int_": 1, "threads": 1}
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(2, 4, 3)) for name in ("double", "register", "i_t")}
    params = {"sum": rng.normal(size=(3, 3))}
    wanted = program.reference(params, inputs, sizes=sizes).outputs["step"]
    found = lsrl.compile(program, "cpu", sizes, "sequential", "float64")(params, inputs).outputs["step"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_without_a_compiler_loops_run_in_plain_pytorch_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    case = PROGRAMS["lstm"]
    plain = load_module(source(case, "float64"), "emitted_without_compiler")
    monkeypatch.setenv("CC", "there-is-no-such-compiler")
    monkeypatch.setenv("PATH", "")
    given = arrays(case)
    wanted = expected(case, *given)
    with pytest.warns(UserWarning, match="no C compiler was found"):
        outputs, _ = run(plain, *given)
    agree(outputs, wanted.outputs, 1e-10)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # PyTorch does it itself
def test_a_compiler_traces_around_the_loop() -> None:
    case = PROGRAMS["lstm"]
    params, inputs, _ = arrays(case)
    own = module("lstm", "float64")
    compiled = torch.compile(own.apply, fullgraph=True, backend="aot_eager")
    found, _ = compiled(tensors(params), tensors(inputs))
    wanted, _ = own.apply(tensors(params), tensors(inputs))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", REVIEWED)
def test_text(name: str, golden: Golden) -> None:
    text = source(PROGRAMS[name], "float32", sizes=LARGE[name])
    golden.check(ROOT / name / "cpu.py", text)
