"""A way in a process of its own: whether it ends in time, how much memory it takes, how long its first call takes."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ways import FORWARD, TRAINING, Calls

_FORKED = multiprocessing.get_context("forkserver")
_EXHAUSTED = 3  # exit status


@dataclass(frozen=True, slots=True)
class Probe:
    """One pass of a way.

    Attributes:
        first: seconds of the first call, compilation included.
        again: seconds of the second call.
        memory: bytes at most beyond those held before the second call.
    """

    first: float
    again: float
    memory: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may take before it is ended: seconds of processor time, and on the CPU bytes of memory."""

    seconds: int
    memory: int


def preload(modules: Sequence[str]) -> None:
    """Import these once, for all processes that probe."""
    _FORKED.set_forkserver_preload([*modules])


def probe(
    make: Callable[[], Calls], device: str, clock: Callable[[], float], limits: Limits
) -> tuple[dict[str, Probe], str]:
    """Both passes of a way, as far as they come, and why they did not end, if so.

    Args:
        make: makes the calls, in the new process; it is pickled.
    """
    receiver, sender = _FORKED.Pipe(duplex=False)
    process = _FORKED.Process(target=_report, args=(sender, make, device, clock, limits.seconds))
    process.start()
    sender.close()
    fate = ""
    while process.is_alive():
        time.sleep(0.02)
        if device == "cpu" and _status(process.pid or 0, "VmRSS") > limits.memory:
            fate = f"over {limits.memory / 1e9:.0f} GB"
            process.kill()
            break
    process.join()
    found = {}
    try:
        while True:
            name, each = receiver.recv()
            found[name] = each
    except EOFError:  # the process has ended
        receiver.close()
    if process.exitcode == -signal.SIGXCPU:
        fate = f"over {limits.seconds} s"
    if process.exitcode == _EXHAUSTED:
        fate = "out of the device's memory"
    if process.exitcode and not fate:
        raise RuntimeError(f"a way failed while it was probed: exit status {process.exitcode}")
    return found, fate


def _report(
    sender: Connection, make: Callable[[], Calls], device: str, clock: Callable[[], float], seconds: int
) -> None:
    """In the process: probe each pass and send it off."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    try:
        found = make()
        for name, call in ((FORWARD, found.forward), (TRAINING, found.training)):
            first = _seconds(call, clock)
            before = _start_counting(device)
            again = _seconds(call, clock)
            sender.send((name, Probe(first, again, _most(device) - before)))
    except RuntimeError as fault:  # what PyTorch raises for this is one, and it is not loaded for JAX
        if type(fault).__name__ != "OutOfMemoryError":
            raise
        raise SystemExit(_EXHAUSTED) from fault


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _start_counting(device: str) -> int:
    """Forget the highest use of memory so far, and give the present one."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed does not count as held
    Path("/proc/self/clear_refs").write_text("5")
    return _status("self", "VmRSS")


def _most(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return _status("self", "VmHWM")


def _status(process: int | str, name: str) -> int:
    """A number of /proc/PID/status in bytes; 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
