"""Emitted text as a module, without a file."""

from __future__ import annotations

import linecache
import sys
from hashlib import sha256
from types import ModuleType


def load_module(source: str, name: str) -> ModuleType:
    """Execute `source` as a new module called `name`.

    The text is registered with `linecache`, so that tracebacks show its lines and `inspect.getsource` finds its
    functions (Triton compiles kernels from there), and the module with `sys.modules`, so that its classes pickle.
    A module of that name that was there before is replaced; if its text is another one, that stays registered, since
    Triton reads a kernel's text only when it first runs.
    """
    filename = f"<{name} {sha256(source.encode()).hexdigest()[:8]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = ModuleType(name)
    module.__file__ = filename
    sys.modules[name] = module
    exec(compile(source, filename, "exec"), module.__dict__)  # noqa: S102 - to run emitted code is the purpose
    return module
