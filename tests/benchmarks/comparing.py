"""Ways to compute the same, side by side: compared with a reference, probed for memory, and run in turns.

What a benchmark gives is a `Case` and how to make it again in another process; what it gets is a row for each pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from probing import Limits, Probe, probe
from ways import FORWARD, PASSES, Arrays, Calls, Way, calls

from lsrl.measure import in_turns

SLOWEST = 3.0  # seconds of a call that is measured in turns
LIMITS = {"torch": Limits(30, 3 * 10**9), "jax": Limits(90, 3 * 10**9)}  # JAX compiles
_METHOD = dict(zip(PASSES, ("forward", "training")))


@dataclass(frozen=True)
class Case:
    """Ways, by name, to compute a function of these arrays, whose output is weighted by the cotangent.

    Attributes:
        missing: why there are no others.
    """

    ways: Mapping[str, Way]
    arrays: Arrays
    cotangent: np.ndarray
    missing: Mapping[str, str] = field(default_factory=dict)

    def calls(self, name: str, device: str) -> Calls:
        """One way with its arrays in place."""
        return calls(self.ways[name], self.arrays, self.cotangent, device)


@dataclass(frozen=True)
class Bench:
    """Where and how long: the device, the clock, and about how many seconds each way is measured."""

    device: str
    clock: Callable[[], float]
    seconds: float


def check(make: Callable[[], Case], reference: Callable[[Arrays, np.ndarray], Arrays], device: str) -> None:
    """Every way of a case in float64 against the output, named "", and the gradients of a reference."""
    import jax

    with jax.enable_x64(True):
        case = make()
        right = reference(case.arrays, case.cotangent)
        for name, way in case.ways.items():
            made = case.calls(name, device)
            found = {"": made.forward(), **made.training()}
            error = max(disagreement(made.numpy(found[each]), array) for each, array in right.items())
            assert error < 1e-10, (name, error)
            print(f"{way.framework}, {name}: {error:.0e} from the reference", flush=True)


def compare(label: str, make: Callable[[], Case], bench: Bench, lost: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each pass: times, memory, and why a way has none.

    Args:
        make: makes the case, here and in each process that probes a way; it is pickled.
        lost: which ways took too much in a smaller case, and what; those of this one are added.
    """
    case = make()
    probes: dict[str, dict[str, Probe]] = {}
    for name in [name for name in case.ways if name not in lost]:
        one, limits = partial(_one, make, name, bench.device), LIMITS[case.ways[name].framework]
        probes[name], fate = probe(one, bench.device, bench.clock, limits)
        print(f"{label}, {name}: {probes[name]} {fate}", flush=True)
        if fate:
            lost[name] = f"{fate} at {label}"
    for each in PASSES:
        here = {name: found[each] for name, found in probes.items() if each in found}
        quick = {name: case.calls(name, bench.device) for name in here if here[name].again <= SLOWEST}
        if each == FORWARD:
            _agree(quick)
        chosen = {name: getattr(made, _METHOD[each]) for name, made in quick.items()}
        times = in_turns(chosen, bench.seconds, clock=bench.clock)
        for name, timing in sorted(times.items(), key=lambda item: item[1].median):
            print(f"{label}, {each}: {timing.median * 1e3:10.2f} ms  {name}", flush=True)
        yield {
            "pass": each,
            "times": {name: asdict(timing) for name, timing in times.items()},
            "once": {name: found.again for name, found in here.items() if name not in times},
            "memory": {name: found.memory for name, found in here.items()},
            "missing": {**case.missing, **{name: lost[name] for name in case.ways if name not in here}},
        }
    slow = [name for name, found in probes.items() if any(each.again > SLOWEST for each in found.values())]
    lost |= dict.fromkeys(slow, f"over {SLOWEST:.0f} s at {label}")


def _one(make: Callable[[], Case], name: str, device: str) -> Calls:
    return make().calls(name, device)


def _agree(made: Mapping[str, Calls]) -> None:
    """All ways give the same output on the arrays that are measured, up to float32."""
    found = {name: each.numpy(each.forward()) for name, each in made.items()}
    first = next(iter(found.values()))
    for name, array in found.items():
        assert disagreement(array, first) < 1e-4, (name, disagreement(array, first))


def disagreement(found: np.ndarray, right: np.ndarray) -> float:
    """The distance of two arrays as a part of the second's size; infinite where something is not a number."""
    if found.shape != right.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.linalg.norm(found - right) / max(np.linalg.norm(right), 1e-30))


def save(file: Path, rows: list[dict[str, Any]], keys: tuple[str, ...], about: Mapping[str, Any]) -> None:
    """Write rows to a file; those of the same keys that it has are replaced, others stay."""
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    whole = {tuple(row[key] for key in keys): row for row in (*old, *rows)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**about, "rows": [whole[key] for key in sorted(whole)]}, indent=1) + "\n")
