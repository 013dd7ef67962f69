"""ONNX models compute what the modules do: to the last bit by the specification, and in onnxruntime where it can."""

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
    with np.errstate(over="ignore"):  # of the exponential in its sigmoid, which is right nevertheless
        found: np.ndarray = ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    return found


def by_torch(compiled: CompiledWeights, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = compiled.module(torch.tensor(x)).numpy()
    return found


@pytest.mark.parametrize("arch", ["linear-rnn", "rnn"])
def test_runtime_answers_every_query(arch: str, tmp_path: Path) -> None:
    compiled = compile_weights(MATCHING, arch, horizon=200)
    compiled.save_onnx(tmp_path / "new" / "model.onnx")
    for pairs in (25, 7):  # batch and length are free
        asked, values = prompts(3, 10, pairs, seed=0)
        x = asked[..., None].astype(np.float32)
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


@pytest.mark.parametrize("arch", ["lstm", "gru"])
def test_runtime_approximates_gates(arch: str, tmp_path: Path) -> None:
    """Its sigmoid never is 0: answers are right once they are rounded."""
    compiled = compile_weights(MATCHING, arch, horizon=200)
    compiled.save_onnx(tmp_path / "model.onnx")
    asked, values = prompts(3, 10, 25, seed=0)
    found = answers(by_runtime(tmp_path / "model.onnx", asked[..., None].astype(np.float32))[..., 0], 3)
    np.testing.assert_allclose(found, values, atol=0.1)


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
