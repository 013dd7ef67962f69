"""What the machine at hand can do, measured: rates that floors are computed from, and a loop that times are told in.

    python tests/benchmarks/calibration.py [--device cuda]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

ROUNDS = 7
NUMBERS = {"cpu": 1 << 24, "cuda": 1 << 28}  # of an array, larger than every cache
SIDE = {"cpu": 1536, "cuda": 8192}  # of the matrices
NEAR = 1 << 15  # of an array that a core's own cache holds twice
COPIES = 64
STEPS = 1 << 20
TURNS = 1 << 18  # of the empty loop


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine does at best.

    Attributes:
        memory: bytes per second, read and written, of the fastest of a copy and a triad.
        near: the same of what stays in a cache, all cores together.
        cache: bytes that stay there.
        matrix: operations per second of a large product of matrices.
        step: seconds from one addition to the next that needs its result.
        loop: seconds of one turn of an empty loop in Python.
        whole: seconds of one go at everything above, with the sizes that it has here: what a time is divided by
            before it is compared with one that was taken on another day.
    """

    memory: float
    near: float
    cache: int
    matrix: float
    step: float
    loop: float
    whole: float


def measure(device: str = "cpu", dtype: str = "float32") -> Rates:
    """The rates of a device for numbers of this type."""
    number: torch.dtype = getattr(torch, dtype)
    copied, moved = _memory(device)
    step, stepped = _steps(device)
    side = SIDE[device]
    left, right = (torch.randn(side, side, device=device).to(number) for _ in range(2))
    product = _best(lambda: left @ right, device)
    loop = _best(_empty, "cpu")
    whole = copied + stepped + product + loop
    far = moved / copied
    near, cache = (_near(), _cache()) if device == "cpu" else (far, 0)
    return Rates(far, max(near, far), cache, 2 * side**3 / product, step, loop / TURNS, whole)


def _memory(device: str) -> tuple[float, float]:
    """Seconds and bytes of the faster of a copy and a triad (McCalpin, 1995, STREAM)."""
    a, b, c = (torch.rand(NUMBERS[device], device=device) for _ in range(3))
    ways: dict[int, Callable[[], object]] = {2: lambda: a.copy_(b), 3: lambda: torch.add(b, c, alpha=0.5, out=a)}
    times = {count: _best(call, device) for count, call in ways.items()}
    count = min(times, key=lambda count: times[count] / count)
    return times[count], count * a.nbytes


def _near() -> float:
    """Bytes per second of copies that stay in a core's own cache, times the cores."""
    source, target = np.ones(NEAR, np.float32), np.empty(NEAR, np.float32)

    def copies() -> None:
        for _ in range(COPIES):
            np.copyto(target, source)

    return 2 * source.nbytes * COPIES / _best(copies, "cpu") * torch.get_num_threads()


def _cache() -> int:
    """Bytes of the last cache before memory; 32 MB where the system does not tell."""
    sizes = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return max((int(path.read_text().strip()[:-1]) * 1024 for path in sizes), default=32 << 20)


def _steps(device: str) -> tuple[float, float]:
    """Seconds of one addition after another, and of all."""
    if device == "cpu":
        numbers, sums = np.ones(STEPS, np.float32), np.empty(STEPS, np.float32)
        whole = _best(lambda: np.add.accumulate(numbers, out=sums), device)
    else:
        from calibration_kernel import chain

        chained = torch.zeros(1, device=device)
        whole = _best(lambda: chain[(1,)](chained, STEPS), device)
    return whole / STEPS, whole


def _empty() -> None:
    for _ in range(TURNS):
        pass


def _best(call: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of some rounds."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for _ in range(ROUNDS):
        begin = perf_counter()
        call()
        wait()
        times.append(perf_counter() - begin)
    return min(times)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=tuple(SIDE), default="cpu")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    for name, rate in asdict(measure(given.device, given.dtype)).items():
        print(f"{name:<8} {rate:.3g}")


if __name__ == "__main__":
    main()
