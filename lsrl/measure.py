"""Wall times of several ways to do the same thing, taken in turns so that a busy machine slows all of them alike."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path
from statistics import quantiles
from time import perf_counter

WARM_UPS = 1


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call over several rounds.

    Attributes:
        median, lower, upper: the quartiles.
        rounds: how many calls they are of.
        first: the very first call, compilation included.
    """

    median: float
    lower: float
    upper: float
    rounds: int
    first: float


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    seconds: float = 2.0,
    most: int = 30,
    clock: Callable[[], float] = perf_counter,
    known: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """The time of each way; a call returns when its work is done.

    Args:
        seconds: about how long each way may be measured; at least three rounds are.
        most: rounds at most.
        clock: `time.process_time` counts this process alone, for one thread on a machine that others use too.
        known: seconds of a call of each way that was made before; then none is made to warm up.
    """
    first = known or {name: _timed(call, clock) for name, call in ways.items()}
    warm = known or {name: min(_timed(call, clock) for _ in range(WARM_UPS)) for name, call in ways.items()}
    rounds = {name: max(3, min(most, round(seconds / max(warm[name], 1e-6)))) for name in ways}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(max(rounds.values(), default=0)):
        for name, call in ways.items():
            if turn < rounds[name]:
                taken[name].append(_timed(call, clock))
    return {name: _timing(times, first[name]) for name, times in taken.items()}


def _timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _timing(times: list[float], first: float) -> Timing:
    lower, median, upper = quantiles(times, n=4, method="inclusive")
    return Timing(median, lower, upper, len(times), first)


def machine(*packages: str) -> dict[str, str]:
    """What the times were taken on: processor, cores, Python, and the versions of packages that are there."""
    found = {"processor": _processor(), "cores": str(cpu_count()), "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
