"""pLSTM over grids against the published implementation and loops over places, as ratios within one run.

    git clone https://github.com/ml-jku/plstm
    python tests/benchmarks/grids.py --plstm plstm [--quick] [--device cuda] [-o FILE.json]

Before anything is measured, every way is compared with the reference in float64, values and gradients.  Then each runs
in a process of its own, which tells its memory and whether it ends in time, and those that do run in turns: on the CPU
with one thread, in processor time.  Rows of the file that are measured again are replaced.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import grids_ways
import numpy as np
import published
from comparing import Bench, Case, check, compare, save
from probing import preload
from ways import Arrays, prepare_process

import lsrl
from lsrl.measure import machine

HERE = Path(__file__).parent
PACKAGES = ("jax", "torch", "triton", "numpy", "opt_einsum")
FRAMEWORKS = ("torch", "jax")
UNROLLED = 64  # chunks of a published program in JAX: 256 take minutes to compile
KEYS = ("framework", "size", "side", "pass")


@dataclass(frozen=True)
class Point:
    """A grid of side x side places with memories of size x size."""

    side: int
    size: int


FULL = tuple(Point(side, size) for side in (16, 32, 64, 128) for size in (16, 64))
QUICK = (Point(16, 16), Point(32, 16))


def case(folder: Path, device: str, framework: str, extents: tuple[int, int], size: int, dtype: str) -> Case:
    """Every way in a framework on a grid."""
    arrays, cotangent = grids_ways.draw(*extents, size, dtype)
    levels, missing = forms(extents, framework)
    found = (
        *grids_ways.own(framework, arrays, device),
        grids_ways.loop(framework),
        *grids_ways.theirs(framework, folder, levels, device),
    )
    return Case({way.name: way for way in found}, arrays, cotangent, missing)


def forms(extents: tuple[int, int], framework: str) -> tuple[dict[str, int], dict[str, str]]:
    """The published forms and their levels, and why others are left out."""
    top = min(extents).bit_length() - 1
    levels = {"recurrent": 0, **{f"chunks of {2**level}": level for level in range(2, min(5, top))}, "parallel": top}
    counts = {name: extents[0] * extents[1] // 4**level for name, level in levels.items()}
    unrolled = {name for name, count in counts.items() if framework == "jax" and count > UNROLLED}
    missing = {f"published, {name}": f"a program of {counts[name]} chunks, unrolled" for name in sorted(unrolled)}
    return {name: level for name, level in levels.items() if name not in unrolled}, missing


def reference(arrays: Arrays, cotangent: np.ndarray) -> Arrays:
    """The output, named "", and the gradients by all inputs."""
    sizes = {"N": 1, "K": arrays["k"].shape[-1], "V": arrays["v"].shape[-1]}
    made = lsrl.compile(lsrl.load(grids_ways.PROGRAM), "reference", sizes)
    gradients = made.gradients({}, arrays, cotangents={"o": cotangent}).inputs
    return {"": made({}, arrays).outputs["o"], **gradients}


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plstm", type=Path, required=True, help="a clone of github.com/ml-jku/plstm")
    parser.add_argument("--quick", action="store_true", help="small grids, minutes in all")
    parser.add_argument("--framework", choices=FRAMEWORKS, action="append", help="only this one")
    parser.add_argument("--side", type=int, action="append", help="only grids of this side")
    parser.add_argument("--size", type=int, action="append", help="only memories of this size")
    parser.add_argument("--without", metavar="WAY", action="append", default=[], help='leave out "published, parallel"')
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: PyTorch alone")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each way, about")
    parser.add_argument("-o", type=Path, help="default: tests/benchmarks/results/grids_DEVICE.json")
    given = parser.parse_args()
    bench = Bench(given.device, prepare_process(given.device), given.seconds)
    frameworks = given.framework or (FRAMEWORKS if given.device == "cpu" else ("torch",))
    points = [
        point
        for point in (QUICK if given.quick else FULL)
        if point.side in (given.side or [point.side]) and point.size in (given.size or [point.size])
    ]
    file = given.o or HERE / "results" / f"grids_{given.device}.json"
    about = {"machine": machine(*PACKAGES), "published": published.commit(given.plstm)}
    with tempfile.TemporaryDirectory() as compiled:  # by JAX in one process and used in the next
        os.environ |= {"JAX_COMPILATION_CACHE_DIR": compiled, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1"}
        preload(["lsrl.compiled", *frameworks])
        for framework in frameworks:
            small = partial(case, given.plstm, given.device, framework, (2, 4), 3, "float64")  # no square
            check(small, reference, given.device)
            lost = {point.size: dict.fromkeys(given.without, "not run") for point in points}
            for point in points:
                extents = (point.side, point.side)
                make = partial(case, given.plstm, given.device, framework, extents, point.size, "float32")
                label = f"{framework} {point.side} x {point.side}, {point.size} x {point.size}"
                about_row = {"framework": framework, **asdict(point)}
                rows = [about_row | row for row in compare(label, make, bench, lost[point.size])]
                save(file, rows, KEYS, about)


if __name__ == "__main__":
    main()
