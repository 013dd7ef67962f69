"""ONNX models compute what the modules do to the last bit, by the specification and in onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

import lsrl
from lsrl.weights import ArchitectureError, CompiledWeights
from lsrl.weights import compile as compile_weights
from support.token_words import answers, prompts

PROGRAMS = Path(__file__).parent / "programs"
MAJORITY = lsrl.load(PROGRAMS / "majority.lsrl")
MATCHING = lsrl.load(PROGRAMS / "token_matching.lsrl")


def by_runtime(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def by_specification(path: Path, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # in the branch that its sigmoid does not take
        found: np.ndarray = ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    return found


def by_torch(compiled: CompiledWeights, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = compiled.module(torch.tensor(x)).numpy()
    return found


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [
        ("linear-rnn", "float32"),
        ("linear-rnn", "float64"),
        ("rnn", "float32"),
        ("rnn", "float64"),
        ("rnn-tanh", "float32"),
        ("rnn-tanh", "float64"),
        ("lstm", "float32"),
        ("gru", "float32"),
        ("gru", "float64"),
    ],
)
def test_runtime_answers_every_query(arch: str, dtype: str, tmp_path: Path) -> None:
    compiled = compile_weights(MATCHING, arch, dtype=dtype, horizon=200)
    compiled.save_onnx(tmp_path / "new" / "model.onnx")
    for pairs in (25, 7):  # batch and length are free
        asked, values = prompts(3, 10, pairs, seed=0)
        x = asked[..., None].astype(dtype)
        found = by_runtime(tmp_path / "new" / "model.onnx", x)
        np.testing.assert_array_equal(answers(found[..., 0], 3), values)
        np.testing.assert_array_equal(found, by_torch(compiled, x))


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [("linear-rnn", "float64"), ("rnn-tanh", "float32"), ("lstm", "float32"), ("lstm", "float64"), ("gru", "float32")],
)
def test_model_is_the_module(arch: str, dtype: str, tmp_path: Path) -> None:
    compiled = compile_weights(MATCHING, arch, dtype=dtype, horizon=100)
    compiled.save_onnx(tmp_path / "model.onnx")
    asked, _ = prompts(3, 10, 4, seed=1)
    x = asked[..., None].astype(dtype)
    found = by_specification(tmp_path / "model.onnx", x)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, by_torch(compiled, x))


@pytest.mark.parametrize("arch", ["rnn-tanh", "lstm", "gru"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gates_that_are_not_saturated(arch: str, dtype: str, tmp_path: Path) -> None:
    """Random weights: the equations of the cells, and a tanh that is right near 0, at 1/2 and in saturation."""
    compiled = compile_weights(MAJORITY, arch, dtype=dtype, horizon=50)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in compiled.module.parameters():
            weight.copy_(2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    compiled.save_onnx(tmp_path / "model.onnx")
    x = np.array([1e-9, 1e-4, 0.1, 1, 30])[:, None, None] * np.random.default_rng(0).normal(size=(5, 20, 1))
    found, expected = by_runtime(tmp_path / "model.onnx", x.astype(dtype)), by_torch(compiled, x.astype(dtype))
    assert np.abs(np.diff(expected, axis=1)).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


def test_products_and_several_inputs(tmp_path: Path) -> None:
    program = lsrl.parse("cell two():\n    input x: [2], y: []\n    output z = relu(x) * y, w = x[0] - y\n")
    compiled = compile_weights(program, "gated-linear-rnn", given=("x=-2:2", "y=-1:1"))
    compiled.save_onnx(tmp_path / "model.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (3, 4, 3)).astype(np.float32)
    expected = np.concatenate([np.maximum(x[..., :2], 0) * x[..., 2:], x[..., :1] - x[..., 2:]], -1)
    np.testing.assert_allclose(by_runtime(tmp_path / "model.onnx", x), expected, atol=1e-6)


def test_trained_weights_are_written(tmp_path: Path) -> None:
    compiled = compile_weights(MAJORITY, "rnn")
    for name in "ab":
        compiled.save_onnx(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with torch.no_grad():
        compiled.module.readout.bias += 0.25
    compiled.save_onnx(tmp_path / "a")
    x = np.array([[[1], [0], [1]]], np.float32)
    np.testing.assert_array_equal(by_runtime(tmp_path / "b", x)[0, :, 0], [1, 0, 1])
    np.testing.assert_array_equal(by_runtime(tmp_path / "a", x)[0, :, 0], [1.25, 0.25, 1.25])


def test_mixers_of_transformers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="Hawk is no operator of ONNX"):
        compile_weights(MAJORITY, "hawk").save_onnx(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arch", ["rnn-tanh", "gru"])
def test_thresholds_are_sharp_in_the_runtime(arch: str, tmp_path: Path) -> None:
    compiled = compile_weights(lsrl.load("std/exact/modulo"), arch)
    compiled.save_onnx(tmp_path / "model.onnx")
    bits = np.random.default_rng(0).integers(0, 2, (2, 500))
    found = by_runtime(tmp_path / "model.onnx", bits[..., None].astype(np.float32))
    np.testing.assert_array_equal(found[..., 0], np.cumsum(bits, 1) % 3)
