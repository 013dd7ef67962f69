"""The published implementation of pLSTM, github.com/ml-jku/plstm, of which only the functions are loaded.

It is no package of this project: clone it, and give its folder to the benchmarks.

    git clone https://github.com/ml-jku/plstm
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

PACKAGES = ("plstm", "plstm.torch", "plstm.nnx")


def load(folder: Path, name: str) -> ModuleType:
    """A module of the package by its dotted name.

    The packages' own `__init__` import all layers, which need frameworks that the functions do not; so they are
    replaced by packages that import nothing.

    Raises:
        FileNotFoundError: the folder is no clone of the repository.
    """
    for package in PACKAGES:
        path = folder / "src" / Path(*package.split("."))
        if not path.is_dir():
            raise FileNotFoundError(f"{folder} has no {path.relative_to(folder)}: it is no clone of ml-jku/plstm")
        if package not in sys.modules:
            sys.modules[package] = ModuleType(package)
            sys.modules[package].__path__ = [str(path)]
    return importlib.import_module(name)


def commit(folder: Path) -> str:
    """The commit that is checked out."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
