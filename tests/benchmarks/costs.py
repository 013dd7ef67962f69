"""What a user waits for, and holds, besides a run: imports, the first call of a module, memory of training.

    python tests/benchmarks/costs.py [--quick] [-o FILE.json]

Each import and each first call is a process of its own, its wall time the best of some rounds.  A first call with a
cold cache has an empty folder for compiled code; one with a warm cache, the folder of another process before it.
Memory is the most that a second call holds beyond what was held before it, as `probing.py` counts it, of what runs in
PyTorch: JAX keeps what was freed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import dense
import diagonal
import emitted
from families import CPU, Family, Row
from probing import Limits, preload, probe
from running import BESIDE, TARGETS, prepared
from ways import Calls

from lsrl.measure import machine

HERE = Path(__file__).parent
IMPORTS = {
    "python": "pass",
    "import lsrl": "import lsrl",
    "lsrl check": "import runpy, sys; sys.argv = ['lsrl', 'check', 'std/gru']; runpy.run_module('lsrl.__main__')",
    "import torch": "import torch",
    "import torch._dynamo": "import torch._dynamo",
    "import jax": "import jax",
}
FIRST: tuple[tuple[Family, Row], ...] = (
    (diagonal.FAMILY, next(row for row in diagonal.ROWS if row.device == CPU and row.quick)),
    (dense.FAMILY, next(row for row in dense.ROWS if row.device == CPU and row.quick)),
)
HEAVY: tuple[tuple[Family, Row], ...] = (
    (diagonal.FAMILY, next(row for row in diagonal.ROWS if row.length == 4096 and row.sizes["D"] == 64)),
    (dense.FAMILY, next(row for row in dense.ROWS if row.name == "lstm, B=16, T=64, H=64")),
)
LIMITS = Limits(120, 8 * 10**9)
CALL = """
import importlib, importlib.util, sys, time
import numpy as np
arrays, framework = np.load(sys.argv[2]), importlib.import_module(sys.argv[3])
make = framework.numpy.asarray if sys.argv[3] == "jax" else framework.as_tensor
params, inputs = ({n[2:]: make(arrays[n]) for n in arrays.files if n[0] == kind} for kind in "pi")
begin = time.perf_counter()
spec = importlib.util.spec_from_file_location("emitted", sys.argv[1])
module = sys.modules["emitted"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
outputs = module.apply(params, inputs)[0]
[np.asarray(output) for output in outputs.values()]
print(time.perf_counter() - begin)
"""


@dataclass(frozen=True)
class First:
    """Seconds from loading an emitted module to its first result, the framework loaded before."""

    row: str
    target: str
    cold: float
    warm: float


@dataclass(frozen=True)
class Held:
    """Bytes that one pass of a way holds at most."""

    row: str
    way: str
    each: str
    memory: int


def imports(rounds: int) -> dict[str, float]:
    """Seconds of a process that does nothing but an import."""
    return {name: min(_process(words) for _ in range(rounds)) for name, words in IMPORTS.items()}


def _process(words: str) -> float:
    begin = perf_counter()
    subprocess.run([sys.executable, "-c", words], check=True, capture_output=True)
    return perf_counter() - begin


def first_calls(targets: tuple[str, ...], rounds: int) -> Iterator[First]:
    """Cold and warm, for each program and target that takes it."""
    import numpy as np

    for family, row in FIRST:
        params, inputs = family.draw(row)
        named = {**{f"p.{n}": a for n, a in params.items()}, **{f"i.{n}": a for n, a in inputs.items()}}
        for target in targets:
            found = emitted.written(row, target)
            if found.refused:
                continue
            with tempfile.TemporaryDirectory() as folder:
                source, arrays = Path(folder, "emitted.py"), Path(folder, "arrays.npz")
                source.write_text(found.source)
                np.savez(arrays, **named)  # type: ignore[arg-type]
                yield _first(row, target, source, arrays, Path(folder), rounds)


def _first(row: Row, target: str, source: Path, arrays: Path, folder: Path, rounds: int) -> First:
    cold, warm = [], []
    for turn in range(rounds):
        cache = folder / f"cache_{turn}"
        cold.append(_call(target, source, arrays, cache))
        warm.append(_call(target, source, arrays, cache))
    return First(row.name, target, min(cold), min(warm))


def _call(target: str, source: Path, arrays: Path, cache: Path) -> float:
    words = [sys.executable, "-W", "ignore", "-c", CALL, str(source), str(arrays), emitted.framework(target)]
    folders = {"LSRL_CACHE": cache / "lsrl", "JAX_COMPILATION_CACHE_DIR": cache / "jax", "TRITON_CACHE_DIR": cache}
    environment = {**os.environ, **{name: str(path) for name, path in folders.items()}}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def memory(target: str, chosen: tuple[tuple[Family, Row], ...]) -> Iterator[Held]:
    """Every way of some rows that is one of PyTorch, each in a process of its own."""
    preload(["torch", "running"])
    for family, row in chosen:
        ready = prepared(family, row, target, BESIDE[CPU])
        for name in (name for name, way in ready.ways.items() if way.framework == "torch"):
            found, fate = probe(partial(_calls, family.name, row.name, target, name), CPU, process_time, LIMITS)
            if fate:
                raise RuntimeError(f"{row.name}, {name}: {fate}")
            yield from (Held(row.name, name, each, probed.memory) for each, probed in found.items())


def _calls(family: str, row: str, target: str, name: str) -> Calls:
    """In the process: what functions a family has cannot be pickled, its name can."""
    chosen = {"diagonal": diagonal.FAMILY, "dense": dense.FAMILY}[family]
    return prepared(chosen, next(each for each in chosen.rows if each.name == row), target, BESIDE[CPU]).calls[name]


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--target", default=TARGETS[CPU], help="what ours is")
    parser.add_argument("-o", type=Path, default=HERE / "results" / "costs_cpu.json")
    given = parser.parse_args()
    rounds = 1 if given.quick else 2
    targets = tuple(dict.fromkeys((given.target, "jax")))
    found: Mapping[str, object] = {
        "machine": machine("torch", "jax", "numpy"),
        "load": os.getloadavg()[0],
        "imports": imports(rounds),
        "first": [asdict(each) for each in first_calls(targets, rounds)],
        "memory": [asdict(each) for each in memory(given.target, HEAVY[:1] if given.quick else HEAVY)],
    }
    print(json.dumps(found, indent=1))
    given.o.parent.mkdir(parents=True, exist_ok=True)
    given.o.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
