"""The environment of every test, set before anything imports numpy, jax, torch or triton: they read it then."""

import os
import tempfile

_TRITON_CACHE = tempfile.TemporaryDirectory(prefix="lsrl-triton-cache-")
os.environ["TRITON_CACHE_DIR"] = _TRITON_CACHE.name
# Triton decides once, when it is imported, whether kernels are interpreted. They are in this process; a test that
# compiles kernels to machine code does so in a process of its own (`support.process`).
os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"


def pytest_unconfigure() -> None:
    _TRITON_CACHE.cleanup()
