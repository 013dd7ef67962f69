"""Every legal schedule against what people write by hand, on the machine at hand, as ratios within one run.

    python tests/benchmarks/schedules.py [--quick] [--family diagonal] [-o tests/benchmarks/results/schedules_cpu.json]

For each family, target, length and width: the time of each schedule and of each peer, forward and forward with
backward, in turns.  Before anything is measured, every way is compared with the first one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers_jax
import peers_torch
import torch

import lsrl
from lsrl.measure import in_turns, machine
from lsrl.schedule import ScheduleError

PACKAGES = ("jax", "torch", "triton", "numpy", "fla-core")
LONGEST_COMPILED = 64
SLOWEST = 20.0
HERE = Path(__file__).parent

PROGRAMS = {
    "diagonal": """
cell diagonal(D):
    input a, x: [D]
    state h: [D] = 0
    h' = a * h + x
    output y = h'
""",
    "gated_delta": """
cell gated_delta(N, K) heads N:
    input q, k, v: [K], a, b: []
    state S: [K, K] = 0
    S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
    output y = q @ S'
""",
    "diagonal_gru": """
cell diagonal_gru(D):
    input uz, ur, uh: [D]
    param az, ar, ah: [D]
    state h: [D] = 0
    z = sigmoid(az * h + uz)
    r = sigmoid(ar * h + ur)
    h' = z * tanh(ah * (h * r) + uh) + (1 - z) * h
    output y = h'
""",
}


@dataclass(frozen=True)
class Point:
    """One setting of a family: batch, length, and the sizes of the program."""

    family: str
    batch: int
    length: int
    sizes: Mapping[str, int]


FULL = (
    *(Point("diagonal", 8, length, {"D": 64}) for length in (64, 256, 1024, 4096, 16384)),
    *(Point("diagonal", 8, 4096, {"D": width}) for width in (4, 1024)),
    *(Point("gated_delta", 2, length, {"N": 4, "K": 64}) for length in (256, 1024, 4096)),
    *(Point("gated_delta", 2, 1024, {"N": 4, "K": width}) for width in (16, 128)),
    *(Point("diagonal_gru", 4, length, {"D": 256}) for length in (256, 1024, 4096)),
    Point("diagonal_gru", 1, 8192, {"D": 2}),
)
QUICK = (
    Point("diagonal", 4, 512, {"D": 64}),
    Point("gated_delta", 1, 256, {"N": 2, "K": 32}),
    Point("diagonal_gru", 2, 256, {"D": 64}),
)


def draw(point: Point) -> dict[str, np.ndarray]:
    """Inputs (and for `diagonal_gru` params) with ordinary gates, float32."""
    rng = np.random.default_rng(0)
    lead = (point.batch, point.length)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    gate = lambda *shape: (1 / (1 + np.exp(-2 - normal(*shape)))).astype(np.float32)  # noqa: E731
    if point.family == "diagonal":
        return {"a": gate(*lead, point.sizes["D"]), "x": normal(*lead, point.sizes["D"])}
    if point.family == "diagonal_gru":
        width = point.sizes["D"]
        found = {name: 0.82 * normal(*lead, width) for name in ("uz", "ur", "uh")}
        return found | {name: 0.056 * normal(width) for name in ("az", "ar", "ah")}
    heads, width = point.sizes["N"], point.sizes["K"]
    key = normal(*lead, heads, width)
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    found = {"q": normal(*lead, heads, width), "k": key, "v": normal(*lead, heads, width)}
    return found | {"a": gate(*lead, heads), "b": gate(*lead, heads)}


def schedules(point: Point, target: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every schedule that the program takes on this target, and what `auto` takes for this batch and length."""
    program = lsrl.parse(PROGRAMS[point.family])
    run = {"device": "cpu", "batch": point.batch, "length": point.length}
    for schedule in ("auto", "sequential", "scan", "chunk", "newton"):
        try:
            made = lsrl.compile(program, target, point.sizes, schedule, "float32", **run)
        except ScheduleError:
            continue
        yield f"{schedule} ({made.schedule})" if schedule == "auto" else schedule, made


def ways_of_jax(point: Point, arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Callable[[], Any]]]:
    """Forward and forward with backward of everything in JAX, compiled once."""
    given = {name: jnp.asarray(array) for name, array in arrays.items()}
    functions = dict(peers_jax.PEERS[point.family])
    for name, made in schedules(point, "jax"):
        functions[name] = lambda inputs, made=made: made(*_apart(made, inputs)).outputs["y"]
    weight = jnp.asarray(np.random.default_rng(1).normal(size=()).astype(np.float32))

    def both(function: Callable[..., jax.Array]) -> Callable[..., Any]:
        return jax.jit(jax.grad(lambda inputs: (weight * function(inputs) ** 2).sum()))

    forward = {name: jax.jit(function) for name, function in functions.items()}
    backward = {name: both(function) for name, function in functions.items()}
    return {
        "forward": {n: lambda f=f: jax.block_until_ready(f(given)) for n, f in forward.items()},
        "forward and backward": {n: lambda f=f: jax.block_until_ready(f(given)) for n, f in backward.items()},
    }


def ways_of_torch(point: Point, arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Callable[[], Any]]]:
    """The same in PyTorch; a compiled loop only where compiling it takes no minutes."""
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    functions = dict(peers_torch.PEERS[point.family])
    if point.length <= LONGEST_COMPILED:
        functions["torch.compile of the loop"] = peers_torch.compiled(functions["PyTorch loop"])
    for name, made in schedules(point, "triton"):
        functions[name] = lambda inputs, made=made: made(*_apart(made, inputs)).outputs["y"]

    def forward(function: Callable[..., torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            return function(given)

    def both(function: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        wanted = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
        (function(wanted) ** 2).sum().backward()
        return [tensor.grad for tensor in wanted.values()]

    return {
        "forward": {n: lambda f=f: forward(f) for n, f in functions.items()},
        "forward and backward": {n: lambda f=f: both(f) for n, f in functions.items()},
    }


def _apart(made: Any, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Params and inputs."""
    names = {param.name for param in made.cell.params}
    params = {name: array for name, array in arrays.items() if name in names}
    return params, {name: array for name, array in arrays.items() if name not in names}


WAYS = {"jax": ways_of_jax, "torch": ways_of_torch}


def measured(point: Point, seconds: float) -> Iterator[dict[str, Any]]:
    """The times of one point, a row for each target and pass."""
    arrays = draw(point)
    for target, ways_of in WAYS.items():
        for what, ways in ways_of(point, arrays).items():
            if what == "forward":
                _agree(point, ways)
            times = in_turns(ways, seconds)
            print(f"{point.family} {point.batch}x{point.length} {dict(point.sizes)} {target} {what}")
            for name, timing in sorted(times.items(), key=lambda each: each[1].median):
                print(f"    {timing.median * 1e3:10.2f} ms  {name}", flush=True)
            yield asdict(point) | {"target": target, "pass": what, "times": {n: asdict(t) for n, t in times.items()}}


def _agree(point: Point, ways: Mapping[str, Callable[[], Any]]) -> None:
    found = {name: np.asarray(call()) for name, call in ways.items()}
    first = next(iter(found.values()))
    for name, array in found.items():
        error = np.linalg.norm(array - first) / np.linalg.norm(first)
        assert error < 1e-4, (point, name, error)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds in all")
    parser.add_argument("--family", choices=PROGRAMS, help="only this one")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way, about")
    parser.add_argument("-o", type=Path, default=HERE / "results" / "schedules_cpu.json")
    given = parser.parse_args()
    points = [p for p in (QUICK if given.quick else FULL) if given.family in (None, p.family)]
    rows = [row for point in points for row in measured(point, given.seconds)]
    given.o.parent.mkdir(parents=True, exist_ok=True)
    given.o.write_text(json.dumps({"machine": machine(*PACKAGES), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
