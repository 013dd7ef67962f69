"""Functions that emitted modules define for themselves share one namespace."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from lsrl.backends import jax_prelude
from lsrl.backends.kernel_functions import KERNEL_FUNCTIONS
from lsrl.backends.runtime_source import runtime
from lsrl.backends.scan_kernel_algebra import SCAN_FUNCTIONS
from support.process import ROOT

FILES = sorted((ROOT / "backends" / "runtime").glob("*_*.py"))
OTHERS = {"jax": (*jax_prelude.FUNCTIONS,), "torch": (*KERNEL_FUNCTIONS, *SCAN_FUNCTIONS)}


def target(file: Path) -> str:
    """Triton's functions stand in PyTorch modules; what stands in for them where there are none is called alike."""
    if file.stem.endswith("_alone"):
        return "stand-in"
    return "jax" if file.stem.startswith("jax_") else "torch"


@pytest.mark.parametrize("framework", OTHERS)
def test_names_are_unique(framework: str) -> None:
    found = Counter(OTHERS[framework])
    for file in FILES:
        found.update(list(runtime(file.stem)) if target(file) == framework else ())
    assert [name for name, count in found.items() if count > 1] == []


def test_every_stand_in_stands_in_for_something() -> None:
    for file in FILES:
        if target(file) == "stand-in":
            own = file.stem.removesuffix("_alone")
            assert {*runtime(file.stem)} <= {*runtime(f"{own}_kernels")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_statement_of_a_file_belongs_to_a_definition(file: Path) -> None:
    """Only imports and the docstring are left out of what Python sees in the file."""
    wanted = [n for n in ast.parse(file.read_text()).body if not isinstance(n, ast.Import | ast.ImportFrom)][1:]
    found = [node for text in runtime(file.stem).values() for node in ast.parse(text).body]
    assert sorted(map(ast.dump, found)) == sorted(map(ast.dump, wanted))
