"""The command that every family has: all ways of a row compared with ours, then taken in turns, beside their floor.

    python tests/benchmarks/FAMILY.py [--quick] [--device cpu|cuda] [--row WORDS] [-o FILE.json]

On a CPU times are wall times of all its cores.  A way that takes longer than some seconds runs once, when it is
compared; that one time is recorded.  A row whose ways disagree is left out, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import emitted
import numpy as np
import torch
from calibration import Rates, measure
from comparing import disagreement, save
from families import CPU, CUDA, DEVICES, Family, Missing, Row
from ways import FORWARD, TRAINING, Arrays, Calls, Layer, Way, calls

from lsrl.measure import in_turns, machine

HERE = Path(__file__).parent
QUICK = HERE.parents[1] / "build/benchmarks"
TARGETS = {CPU: "cpu", CUDA: "triton"}
"""What ours is on each device, unless `--target` names another."""
BESIDE = {CPU: ("jax",), CUDA: ()}
"""Targets that are measured beside it."""
SLOWEST = 3.0  # seconds of a call that is measured in turns
NEAR = {"float32": {FORWARD: 1e-4, TRAINING: 1e-3}}
ROUGH = {FORWARD: 3e-2, TRAINING: 1e-1}  # of 16-bit numbers
KEYS = ("row", "pass")
PACKAGES = ("torch", "jax", "triton", "numpy")


class BenchmarkError(Exception):
    """Ours is refused, or a way computes something else than ours."""


@dataclass(frozen=True)
class Bench:
    """How rows are measured.

    Attributes:
        target: what `ours` is.
        seconds: for each way, about.
        rates: of the machine, by type of number.
        beside: targets that are measured beside it.
    """

    target: str
    seconds: float
    rates: Mapping[str, Rates]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ready:
    """A row with its arrays in place: each way and its calls, ours first, and why others cannot run.

    What fails when it is called joins those.
    """

    ways: Mapping[str, Way | Layer]
    calls: Mapping[str, Calls]
    missing: dict[str, str]
    schedule: str


def prepared(family: Family, row: Row, target: str, beside: tuple[str, ...]) -> Ready:
    """Every way of a row; see `Bench`.

    Raises:
        BenchmarkError: ours is refused.
    """
    params, inputs = family.draw(row)
    own = emitted.ways(row, params, target, beside)
    first, schedule = own[0]
    if isinstance(first, Missing):
        raise BenchmarkError(f"{row.name}: {first.why}")
    every = [*(each for each, _ in own), *family.peers(row)]
    found = [way for way in every if not isinstance(way, Missing)]
    arrays = {**params, **inputs}
    cotangent = _cotangent(first, arrays, row)
    return Ready(
        {way.name: way for way in found},
        {way.name: calls(way, arrays, cotangent, row.device, _dtype(row, way)) for way in found},
        {each.name: each.why for each in every if isinstance(each, Missing)},
        schedule,
    )


def _dtype(row: Row, way: Way | Layer) -> str | None:
    return row.dtype if way.framework == "torch" and row.dtype != "float32" else None


def _cotangent(first: Way, arrays: Arrays, row: Row) -> np.ndarray:
    """A weight for each number of the output."""
    shape = calls(first, arrays, np.zeros(()), row.device, _dtype(row, first)).forward().shape
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def measured(family: Family, row: Row, bench: Bench) -> Iterator[dict[str, Any]]:
    """A record for each pass of a row."""
    ready = prepared(family, row, bench.target, bench.beside)
    foreign = family.elsewhere(row)
    for each in family.passes:
        once = compared(ready, each, row)
        quick = {name: _call(ready.calls[name], each) for name, seconds in once.items() if seconds <= SLOWEST}
        times = in_turns(quick, bench.seconds, known=once)
        yield {
            "row": row.name,
            "pass": each,
            "target": bench.target,
            "schedule": ready.schedule,
            "batch": row.batch,
            "length": row.length,
            "sizes": dict(row.sizes),
            "dtype": row.dtype,
            "products": row.products,
            "times": {name: asdict(timing) for name, timing in times.items()},
            "once": {name: seconds for name, seconds in (once | foreign).items() if name not in times},
            "missing": dict(ready.missing),
            "floor": family.work(row)[each].floor(bench.rates[row.dtype]),
        }
        gc.collect()


def _call(made: Calls, each: str) -> Callable[[], Any]:
    return made.forward if each == FORWARD else made.training


def compared(ready: Ready, each: str, row: Row) -> dict[str, float]:
    """Seconds of a call of each way: of the first, or of the second where compilation may be what took so long.

    A peer that fails is foreign code on a machine that it may not know: what it says is recorded.

    Raises:
        BenchmarkError: a way computes something else than the first.
    """
    near = NEAR.get(row.dtype, ROUGH)[each]
    seconds: dict[str, float] = {}
    right: Arrays | None = None
    for name, made in ready.calls.items():
        if (each == TRAINING and not ready.ways[name].differentiable) or name in ready.missing:
            continue
        begin = perf_counter()
        try:
            found = _call(made, each)()
        except Exception as fault:
            if name.startswith("ours"):
                raise
            ready.missing[name] = f"{type(fault).__name__}: {' '.join(str(fault).split())[:200]}"
            continue
        seconds[name] = perf_counter() - begin
        arrays = {"": found} if each == FORWARD else found
        numbers = {key: made.numpy(array) for key, array in arrays.items() if not key.startswith("own ")}
        right = numbers if right is None else right
        wrong = errors(numbers, right) if ready.ways[name].same else {}
        if any(error > near for error in wrong.values()):
            raise BenchmarkError(f"{row.name}, {each}: {name} differs from ours by {wrong}")
        del found, arrays, numbers
        if seconds[name] > SLOWEST or ready.ways[name].framework == "jax":
            begin = perf_counter()
            _call(made, each)()
            seconds[name] = perf_counter() - begin
    return seconds


def errors(found: Arrays, right: Arrays) -> dict[str, float]:
    """The distance of each array from the right one, as a part of that one's size.

    An array whose numbers are a thousandth of the others' counts as that large: a gradient that is zero is rounding.
    """
    sizes = {key: max(_size(array), 1e-30) for key, array in right.items()}
    least = 1e-3 * max(sizes.values())
    return {key: disagreement(array, right[key]) * sizes[key] / max(sizes[key], least) for key, array in found.items()}


def _size(array: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def show(record: Mapping[str, Any]) -> Iterator[str]:
    """A record in lines: the fastest way first, each with its ratio to ours, and the floor."""
    own = record["times"].get("ours", {}).get("median") or record["once"]["ours"]
    every = {name: timing["median"] for name, timing in record["times"].items()} | record["once"]
    yield f"{record['row']}, {record['pass']}  [{record['target']}: {record['schedule']}]"
    for name, seconds in sorted(every.items(), key=lambda item: item[1]):
        yield f"    {seconds * 1e3:10.3f} ms  {seconds / own:8.2f}  {name}"
    for name, why in record["missing"].items():
        yield f"    {'-':>13}  {'-':>8}  {name}: {why}"
    kind = max(record["floor"], key=record["floor"].__getitem__)
    yield f"    {record['floor'][kind] * 1e3:10.3f} ms  ours : floor {own / record['floor'][kind]:.1f} ({kind})"


def run(family: Family, words: Sequence[str] | None = None) -> None:
    """The command of a family; its words are those of the command line if none are given."""
    parser = argparse.ArgumentParser(description=family.about)
    parser.add_argument("--quick", action="store_true", help="small rows, seconds in all")
    parser.add_argument("--device", choices=DEVICES, default=CPU)
    parser.add_argument("--target", help="what is ours; default: the device's own")
    parser.add_argument("--row", metavar="WORDS", help="only rows whose name has these words")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each way, about")
    parser.add_argument("--emit", action="store_true", help="write our modules, for a machine without the compiler")
    parser.add_argument("-o", type=Path, help="default: tests/benchmarks/results/FAMILY_DEVICE.json, quick ones: build")
    given = parser.parse_args(words)
    rows = [row for row in family.rows if row.device == given.device and (row.quick or not given.quick)]
    rows = [row for row in rows if given.row is None or given.row in row.name]
    target = given.target or TARGETS[given.device]
    if given.emit:
        emit(family, rows, target)
        return
    file = given.o or (QUICK if given.quick else HERE / "results") / f"{family.name}_{given.device}.json"
    rates = {dtype: measure(given.device, dtype) for dtype in sorted({row.dtype for row in rows})}
    about = {"family": family.name, "machine": machine(*PACKAGES, *family.packages)}
    about |= {"load": os.getloadavg()[0], "threads": torch.get_num_threads()}
    about |= {"rates": {dtype: asdict(each) for dtype, each in rates.items()}}
    if given.row is None:
        file.unlink(missing_ok=True)
    bench = Bench(target, given.seconds, rates, BESIDE[given.device])
    failed = [fault for row in rows if (fault := _kept(family, row, bench, file, about))]
    if failed:
        sys.exit("\n".join(failed))


def _kept(family: Family, row: Row, bench: Bench, file: Path, about: Mapping[str, Any]) -> str:
    """Measure a row, print it and write it down; a row whose ways disagree is left out, and what is said is why."""
    try:
        records = list(measured(family, row, bench))
    except BenchmarkError as fault:
        print(fault, flush=True)
        return str(fault)
    for record in records:
        print("\n".join(show(record)), flush=True)
    save(file, records, KEYS, about)
    return ""


def emit(family: Family, rows: list[Row], target: str) -> None:
    """Write the modules of all rows."""
    for row in rows:
        for name in (target, *BESIDE[row.device]):
            schedules = ("auto", *row.schedules) if name == target else ("auto",)
            for schedule in schedules:
                found = emitted.written(row, name, schedule)
                print(f"{family.name}: {row.name}, {name}, {found.schedule or found.refused}")
