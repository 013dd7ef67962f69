"""Real-time recurrent learning: the gradients of reverse mode, computed forward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

import lsrl
from lsrl.arguments import Arguments
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.ir.dims import shape_text
from lsrl.ir.fault import Refusal
from lsrl.ir.rtrl import forward_cell
from lsrl.ir.value import Kind
from lsrl.online import Online
from support.programs import PROGRAMS, Case, program
from support.running import random_arrays

ELEMENT_WISE_LSTM = """
cell elstm(D=3, H=4):
    \"\"\"An LSTM without products of states, as Irie et al. (2024) have it.\"\"\"
    input x: [D]
    param Wf, Wz, Wo: [H, D]
    param rf, rz, ro, bf, start: [H]
    state c: [H] = start, h: [H] = 0.1
    f = sigmoid(Wf @ x + rf * h + bf)
    c' = f * c + (1 - f) * tanh(Wz @ x + rz * h)
    h' = sigmoid(Wo @ x + ro * c') * tanh(c')
    output h', y = c' * h
"""

INDEPENDENT = """
cell indrnn(D=3, H=4, L=2):
    \"\"\"IndRNN (Li et al., 2018), two layers, with a product between and a number that all units share.\"\"\"
    input x: [D]
    param E: [H, D]
    param slope: []
    x = E @ x
    repeat L:
        param W: [H, H], u, b: [H]
        state h: [H] = 0
        h' = max(slope * (W @ x + u * h + b), W @ x + u * h + b)
        x = h'
    output x
"""

ROWS = """
cell rows(N=2, K=3, D=4):
    \"\"\"Params with all, some and none of the places of a state, one read along its diagonal, one read twice.\"\"\"
    input x: [D], g: [N, K]
    param W: [N, D], A: [N, K], d: [K], U: [K, K], V: [D, D]
    param s: []
    state S: [N, K] = outer(A @ d, d)
    gate = sigmoid(A * S + outer(W @ (V @ x), d))
    S' = gate * S + (1 - gate) * s * tanh(g + outer(W @ x, d * einsum("k k -> k", U)))
    output o = S' @ d, n = 2 * s
"""

CASES: Mapping[str, Case] = {
    **{name: PROGRAMS[name] for name in ("mingru", "minlstm", "rg_lru", "selective_ssm", "retention", "gla", "mlstm")},
    **{name: PROGRAMS[name] for name in ("lags", "stack", "resets", "noisy", "table", "pointwise")},
    "elstm": Case(ELEMENT_WISE_LSTM),
    "indrnn": Case(INDEPENDENT),
    "rows": Case(ROWS),
}
SOME = ("stack", "elstm", "rows")
BATCH, LENGTH = 2, 5


def arrays(case: Case, length: int = LENGTH) -> tuple[Any, Any, Any, Any]:
    """Params, inputs, initial states and cotangents of outputs and final states."""
    cell, sizes = program(case.source).bind(case.numbers)
    params, inputs, state = random_arrays(cell, sizes, BATCH, length)
    result = reference.run(cell, sizes, params, inputs, state, extent={"B": BATCH, "T": length})
    generator = np.random.default_rng(3)
    named = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
    cotangents = {name: generator.normal(size=a.shape) for name, a in named.items() if a.dtype.kind == "f"}
    return params, inputs, state, cotangents


def wanted(case: Case, *given: Any, length: int = LENGTH) -> Any:
    """The reference's gradients, which are those of reverse mode."""
    cell, sizes = program(case.source).bind(case.numbers)
    return reference.gradients(cell, sizes, *given, extent={"B": BATCH, "T": length})


def agree(found: Mapping[str, Any], expected: Mapping[str, Array], tolerance: float = 1e-10) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        scale = max(1.0, float(np.max(np.abs(array), initial=0.0)))
        np.testing.assert_allclose(np.asarray(found[name]), array, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("starts", ["given", "of the program"])
def test_in_the_reference(name: str, starts: str) -> None:
    case = CASES[name]
    params, inputs, state, cotangents = arrays(case)
    given = state if starts == "given" else {}
    function = lsrl.compile(program(case.source), target="reference", sizes=case.numbers)
    found = function.gradients(params, inputs, given, cotangents, method="rtrl")
    expected = wanted(case, params, inputs, given, cotangents)
    agree(found.params, expected.params)
    agree(found.state, expected.state)
    assert found.inputs == {}


@pytest.mark.parametrize(("name", "length"), [*((name, LENGTH) for name in SOME), ("mingru", 0)])
def test_in_jax(name: str, length: int) -> None:
    case = CASES[name]
    params, inputs, _, cotangents = arrays(case, length)
    with jax.enable_x64(True):
        function = lsrl.compile(program(case.source), target="jax", sizes=case.numbers, dtype="float64")
        found = function.gradients(params, inputs, {}, cotangents, method="rtrl")
    expected = wanted(case, params, inputs, {}, cotangents, length=length)
    agree(found.params, expected.params)
    agree(found.state, expected.state)


@pytest.mark.parametrize("name", ["elstm"])
def test_in_torch(name: str) -> None:
    case = CASES[name]
    params, inputs, state, _ = arrays(case)
    function = lsrl.compile(program(case.source), target="triton", sizes=case.numbers, dtype="float64")
    found = function.gradients(params, inputs, state, method="rtrl")
    expected = wanted(case, params, inputs, state, None)
    agree(found.params, expected.params)
    agree(found.state, expected.state)


def test_sixteen_bits_keep_traces_and_gradients_in_32() -> None:
    case = CASES["elstm"]
    params, inputs, _, cotangents = arrays(case)
    rounded = [
        {name: np.asarray(jax.numpy.asarray(a, "bfloat16").astype("float32")) for name, a in given.items()}
        for given in (params, inputs, cotangents)
    ]
    function = lsrl.compile(program(case.source), target="jax", dtype="bfloat16")
    found = function.gradients(rounded[0], rounded[1], {}, rounded[2], method="rtrl")
    expected = wanted(case, rounded[0], rounded[1], {}, rounded[2])
    agree(found.params, expected.params, 1e-2)
    assert {str(array.dtype) for array in found.params.values()} == {"float32"}


@pytest.mark.parametrize(
    ("name", "trace", "shape"),
    [
        ("elstm", "c.Wf", "[H, D]"),  # unit i has row i alone: the size of the parameter
        ("elstm", "h.Wo", "[H, D]"),
        ("elstm", "c.rf", "[H]"),
        ("elstm", "h.state.c", "[H]"),
        ("indrnn", "layers.0.h.slope", "[H]"),  # every unit has the number
        ("indrnn", "layers.0.h.layers.0.W", "[H, H]"),
        ("indrnn", "layers.0.h.E", "[H, H, D]"),  # every unit has every row
        ("indrnn", "layers.1.h.layers.0.W", "[H, H, H]"),
        ("rows", "S.W", "[K, N, D]"),  # row n of the state has row n of the parameter
        ("rows", "S.A", "[N, K]"),
        ("rows", "S.s", "[N, K]"),
        ("rows", "S.V", "[N, K, D, D]"),
        ("mingru", "h.state.h", "[H]"),
    ],
)
def test_what_a_trace_holds(name: str, trace: str, shape: str) -> None:
    cell, _ = program(CASES[name].source).bind(CASES[name].numbers)
    sizes = {state.name.removeprefix("trace."): shape_text(state.shape) for state in forward_cell(cell).states}
    prefix = cell.states[0].name.split(".")[0] if name == "indrnn" else "layers"
    assert sizes[trace.replace("layers", prefix)] == shape


def test_states_that_a_parameter_does_not_reach_have_no_trace_of_it() -> None:
    cell, _ = program(INDEPENDENT).bind({})
    first, second = (state.name for state in cell.states)
    traces = {state.name for state in forward_cell(cell).states}
    assert f"trace.{second}.{second.replace('.h', '.W')}" in traces
    assert f"trace.{first}.{second.replace('.h', '.W')}" not in traces


def test_memory_does_not_grow_with_the_length() -> None:
    case = CASES["elstm"]
    cell, sizes = program(case.source).bind({"D": 16, "H": 16})
    online = Online(cell, sizes, "jax", "float32")

    def temporary(length: int) -> int:
        params, inputs, state = random_arrays(cell, sizes, BATCH, length)
        inputs |= {f"cotangent.{name}": np.ones((BATCH, length, 16), "float32") for name in ("h", "y")}
        extent = {"B": BATCH, "T": length}
        run = jax.jit(lambda xs: online.forward.last_states(Arguments(params, xs, state, extent)))
        floats = {name: array.astype("float32") for name, array in inputs.items()}
        return int(run.lower(floats).compile().memory_analysis().temp_size_in_bytes)

    assert temporary(1000) == temporary(10)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("std/gru", r"the Jacobian of `h` is dense.*`W_hh @ h` \(line 14\)"),
        ("std/gated_delta", r"the Jacobian of `S` is a block per head.*`k @ S` \(line 7\)"),
        (PROGRAMS["picture"].source, r"stencil.*`conv\(h, R\)` \(line 7\)"),
        ("std/lru", "`h` is complex"),
        (PROGRAMS["reversed"].source, "`mingru.h` runs from the end of the sequence"),
    ],
)
def test_refusals_name_the_fact(source: str, message: str) -> None:
    cell = program(source).cell({})
    with pytest.raises(Refusal, match=message):
        forward_cell(cell)


def test_there_is_no_other_method() -> None:
    function = lsrl.compile(program("std/mingru"), target="reference", sizes={"D": 3, "H": 4})
    params, inputs, _ = random_arrays(function.cell, function.sizes, BATCH, LENGTH)
    with pytest.raises(Refusal, match="no method `forward` of gradients; there are reverse, rtrl"):
        function.gradients(params, inputs, method="forward")


def test_a_cotangent_that_fits_nothing() -> None:
    function = lsrl.compile(program("std/mingru"), target="reference", sizes={"D": 3, "H": 4})
    params, inputs, _ = random_arrays(function.cell, function.sizes, BATCH, LENGTH)
    with pytest.raises(Refusal, match="no output y to have a cotangent"):
        function.gradients(params, inputs, None, {"y": np.zeros(1)}, method="rtrl")


def test_only_floats_have_gradients() -> None:
    function = lsrl.compile(program(PROGRAMS["table"].source), target="reference")
    params, inputs, _ = random_arrays(function.cell, function.sizes, BATCH, LENGTH)
    found = function.gradients(params, inputs, method="rtrl")
    assert list(found.params) == [p.name for p in function.cell.params if p.kind is Kind.FLOAT]
    assert found.state == {}
