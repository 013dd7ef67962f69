"""Gates that are not saturated: gradients, and an error that is predicted."""

import pytest
import torch

import lsrl
from lsrl.weights import ArchitectureError, CompiledWeights
from lsrl.weights import compile as compile_weights

LOOKUP = lsrl.load("std/exact/tok2tok")
CELLS = ("rnn-tanh", "lstm", "gru")


def lookup(arch: str, gate_scale: float | None, dtype: str = "float64") -> CompiledWeights:
    return compile_weights(LOOKUP, arch, {"T": 1, "V": 8}, dtype=dtype, horizon=32, gate_scale=gate_scale)


@pytest.mark.parametrize("arch", CELLS)
def test_errors_are_predicted(arch: str) -> None:
    """They shrink as e^-K does, in the bound and in what is measured, which every value keeps to."""
    bounds = {}
    for gate_scale in (14, 20):
        report = lookup(arch, gate_scale).report
        assert all(error.measured <= error.predicted for error in report.values)
        bounds[gate_scale] = report.values[0].predicted
        assert 0 < report.values[0].measured < 2e-3
        assert report.data()["gate_scale"] == gate_scale
    assert bounds[14] < 1
    assert bounds[20] < bounds[14] / 50
    assert lookup(arch, None).report.data()["gate_scale"] is None


@pytest.mark.parametrize("gate_scale", [3, 9])
@pytest.mark.parametrize("arch", CELLS)
@pytest.mark.parametrize("name", ["majority", "dyck", "copy"])
def test_bounds_hold_for_soft_gates(name: str, arch: str, gate_scale: float) -> None:
    """However soft: a measurement beyond its bound would be an error of the compilation as well."""
    compiled = compile_weights(lsrl.load(f"std/exact/{name}"), arch, horizon=64, gate_scale=gate_scale)
    assert all(error.measured <= error.predicted for error in compiled.report.values)
    assert max(error.measured for error in compiled.report.values) > 0


def gate_gradients(compiled: CompiledWeights) -> torch.Tensor:
    """Of the biases of all gates of the first recurrent layer: of an LSTM i, f and o, of a GRU r and z."""
    rnn = getattr(compiled.module, "rnn", None) or compiled.module.stages[0].rnn
    x = torch.tensor(compiled.samples(4, 17)["x"][..., None], dtype=torch.float64)
    compiled.module(x)[:, -1].sum().backward()
    gates = rnn.bias_ih_l0.grad.reshape(-1, rnn.hidden_size)
    used = rnn.weight_hh_l0.abs().sum(1).reshape(-1, rnn.hidden_size)[-1 if len(gates) == 3 else 2] > 0
    return gates[:2] if len(gates) == 3 else gates[[0, 1, 3]][:, used]


@pytest.mark.parametrize("arch", ["lstm", "gru"])
def test_gates_have_gradients(arch: str) -> None:
    assert gate_gradients(lookup(arch, None)).abs().max() == 0
    assert gate_gradients(lookup(arch, 9)).abs().max() > 1e-6


@pytest.mark.parametrize("arch", ["linear-rnn", "rnn", "mamba", "hawk"])
def test_what_has_no_gates_is_refused(arch: str) -> None:
    with pytest.raises(ArchitectureError, match=rf"^{arch} has no gates .*; rnn-tanh, lstm, gru have$"):
        compile_weights(LOOKUP, arch, gate_scale=9)


def test_scales_beyond_saturation_are_refused() -> None:
    with pytest.raises(ArchitectureError, match=r"^gates are scaled by 1 up to 110, where .*; 200 is not within$"):
        lookup("lstm", 200, "float32")
