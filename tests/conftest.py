"""The environment of every test, set before anything imports numpy, jax, torch or triton: they read it then."""

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest

from support.golden import Golden

_TRITON_CACHE = tempfile.TemporaryDirectory(prefix="lsrl-triton-cache-")
os.environ["TRITON_CACHE_DIR"] = _TRITON_CACHE.name
# Triton decides once, when it is imported, whether kernels are interpreted. They are in this process; a test that
# compiles kernels to machine code does so in a process of its own (`support.process`).
os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the files that tests compare texts with")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--update-golden is for a person who reviews the change, not for CI")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with a file, `golden.check(path, text)`."""
    return Golden(update=request.config.getoption("--update-golden"))


@pytest.fixture(autouse=True, scope="module")
def no_old_programs() -> Iterator[None]:
    """What JAX compiled for one file is dropped before the next: a process can map only so many pieces of code."""
    yield
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.clear_caches()


def pytest_unconfigure() -> None:
    _TRITON_CACHE.cleanup()
