"""How an emitted module compiles the C that it carries, keeps what was compiled, and loads it."""

import atexit
import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings


@functools.cache
def compiler():
    """The command of the system's C compiler, None where there is none; the variable CC goes first."""
    wanted = [shlex.split(command) for command in (os.environ.get("CC", ""), "cc", "gcc", "clang")]
    commands = [(shutil.which(program), *options) for program, *options in filter(None, wanted)]
    return next((command for command in commands if command[0]), None)


@functools.cache
def announce_plain(reason):
    """Says once why loops do not run in C."""
    warnings.warn(f"{reason}: loops run in plain PyTorch, which is slower", stacklevel=2)


@functools.cache
def compiling():
    """The command that compiles C text from its standard input, but for what it says of threads and of the result.

    Comparisons do not trap and functions set no errno, so that loops vectorise; nothing else about numbers is relaxed.
    What is not there is an error of compiling, not of loading.
    """
    system = os.uname()
    machine = "-mcpu=native" if system.machine in ("aarch64", "arm64") else "-march=native"
    numbers = ("-O3", machine, "-fno-math-errno", "-fno-trapping-math")
    whole = ("-Werror=implicit-function-declaration", *(("-Wl,-z,defs",) if system.sysname == "Linux" else ()))
    return [*compiler(), *numbers, *whole, "-fPIC", "-shared", "-x", "c"]


@functools.cache
def compiler_and_machine():
    """What the compiler would run: its words name its version, and what it knows of this machine's processor."""
    asked = subprocess.run([*compiling(), "-###", "-E", os.devnull], capture_output=True, text=True, cwd=os.sep)
    return asked.stdout + asked.stderr


def straight():
    """Keeps GCC from making paths of choices that hang together: a vector would take each of them in turn."""
    return ["-fno-thread-jumps"] if "gcc version" in compiler_and_machine() else []


@functools.cache
def library(code):
    """The library that C text compiles to: compiled once, and kept for later processes.

    It is kept under a name that tells the text, the compiler and the machine apart.
    """
    if compiler() is None:
        raise RuntimeError("there is no C compiler: none of $CC, cc, gcc and clang can be run")
    name = hashlib.sha256(f"{code}\0{compiling()}\0{straight()}\0{compiler_and_machine()}".encode()).hexdigest()
    path = os.path.join(kept_in(), f"{name[:32]}.so")
    if not os.path.exists(path):
        compile_to(path, code)
    return ctypes.CDLL(path)


def compile_to(path, code):
    """Compiles C text to a shared library, which appears under its name when it is whole.

    Where the compiler has no OpenMP, as on macOS, it is compiled for one thread.
    """
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        built = os.path.join(folder, "built.so")
        for threads in ("-fopenmp", "-fopenmp-simd"):
            command = [*compiling(), *straight(), threads, "-", "-o", built, "-lm"]
            run = subprocess.run(command, input=code, capture_output=True, text=True)
            if run.returncode == 0:
                os.replace(built, path)
                return
    raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr}")


@functools.cache
def kept_in():
    """The folder of compiled libraries: one for this process alone where ours cannot be written, or others can."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.abspath(os.path.join(os.environ.get("LSRL_CACHE") or os.path.join(cache, "lsrl"), "native"))
    if not is_ours(folder):
        folder = tempfile.mkdtemp(prefix="lsrl-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_ours(folder):
    """Whether a folder, which is made where there is none, can be written by this user and by nobody else."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.stat(folder)
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022 and os.access(folder, os.W_OK | os.X_OK)


def runs_native(tensor):
    """Whether C functions run where the tensor is: on a CPU with a compiler."""
    if tensor.device.type == "cpu" and compiler() is not None:
        return True
    announce_plain("no C compiler was found (set CC)" if tensor.device.type == "cpu" else f"on {tensor.device.type}")
    return False


def run_native(function, tensors, numbers):
    """Calls a C function: pointers first, then whole numbers as `long` and others as `double`, threads last."""
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    following = (ctypes.c_double(x) if isinstance(x, float) else ctypes.c_long(x) for x in numbers)
    function.restype = None
    function(*pointers, *following)
