"""How an emitted module compiles the C that it carries, keeps what was compiled, and loads it."""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-w")


@functools.cache
def compiler():
    """The command of the system's C compiler, None where there is none; the variable CC goes first."""
    commands = [shlex.split(command) for command in (os.environ.get("CC", ""), "cc", "gcc", "clang")]
    return next((command for command in commands if command and shutil.which(command[0])), None)


@functools.cache
def announce_plain():
    """Says once that loops run in plain PyTorch."""
    warnings.warn("no C compiler was found (set CC): loops run in plain PyTorch, which is slower", stacklevel=2)


@functools.cache
def library(code):
    """The library that C text compiles to: compiled once, and kept for later processes."""
    name = hashlib.sha256("\0".join([code, *compiler(), *FLAGS, machine()]).encode()).hexdigest()[:32]
    path = os.path.join(kept(), f"{name}.so")
    if not os.path.exists(path):
        compile_to(path, code)
    return ctypes.CDLL(path)


@functools.cache
def machine():
    """What the compiler makes of this machine: its own version, and what the processor can do."""
    asked = [*compiler(), "-march=native", "-dM", "-E", "-x", "c", os.devnull]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


@functools.cache
def kept():
    """The folder of compiled libraries, this user's alone; one for this process where it cannot be written."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.environ.get("LSRL_CACHE") or os.path.join(cache, "lsrl")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError:
        pass
    return folder if os.access(folder, os.W_OK | os.X_OK) else tempfile.mkdtemp(prefix="lsrl-")


def compile_to(path, code):
    """Compiles C text to a shared library, which appears under its name when it is whole."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        source, built = os.path.join(folder, "loops.c"), os.path.join(folder, "loops.so")
        with open(source, "w", encoding="utf-8") as file:
            file.write(code)
        for parallel in ("-fopenmp", "-fopenmp-simd"):
            run = subprocess.run(
                [*compiler(), *FLAGS, parallel, source, "-o", built, "-lm"], capture_output=True, text=True
            )
            if run.returncode == 0:
                return os.replace(built, path)
    raise RuntimeError(f"the C compiler {' '.join(compiler())} failed:\n{run.stderr}")
