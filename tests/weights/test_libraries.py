"""What is not installed is a refusal that says what to install."""

import sys
from pathlib import Path

import pytest

import lsrl
from lsrl.ir.fault import Refusal
from lsrl.weights import MissingLibrary
from lsrl.weights import compile as compile_weights
from support.process import run_python

MAJORITY = lsrl.load("std/exact/majority")

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it fails
from lsrl.cli import main
try:
    main("compile std/exact/majority --target weights --arch lstm -o no".split())
except SystemExit as ended:
    print("exit status", ended.code)
import lsrl
try:
    lsrl.weights
except ImportError as missing:
    print(missing)
"""


def test_without_torch(tmp_path: Path) -> None:
    printed = run_python("-c", WITHOUT_TORCH, cwd=tmp_path)
    said = "the target weights needs torch, which is not installed: pip install 'lsrl[torch]'"
    assert printed == f"exit status 1\n{said}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arch", ["mamba", "hawk"])
def test_without_transformers(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingLibrary, match=r"transformers, which is not installed: pip install 'transformers>=5'$"):
        compile_weights(MAJORITY, arch)


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in ("onnx_model", "onnx_cells", "onnx_graph"):
        monkeypatch.delitem(sys.modules, f"lsrl.backends.weights.{name}", raising=False)
    compiled = compile_weights(MAJORITY, "rnn")
    with pytest.raises(Refusal, match=r"^an ONNX model needs onnx, .*: pip install 'lsrl\[onnx\]'$"):
        compiled.save_onnx(tmp_path / "model.onnx")
