"""How long every program of the library takes to compile to each target, without loading a framework.

    python tests/benchmarks/compile_time.py [--rounds 3] [--program std/gru] [-o FILE.json]

Processor time in milliseconds, the best of some rounds: reading and checking the text, then for each target planning
and writing the module.  `start` is a whole process, `lsrl compile std/gru`, with what Python loads for it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import lsrl
from lsrl.compiling import write_program
from lsrl.ir.cell import TIME
from lsrl.loader import library
from lsrl.measure import machine
from lsrl.program import Program

HERE = Path(__file__).parent
TARGETS = ("jax", "triton", "cpu")
SIZE = 24  # of every axis that has no default: what programs divide it by, it can be divided by


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds of one program, and the lines of its modules."""

    program: str
    read: float
    targets: Mapping[str, float]
    lines: Mapping[str, int]


def measured(name: str, rounds: int) -> Row | None:
    """One program; None for a file of functions, and for programs over grids and graphs, which have no module."""
    program = lsrl.load(name)
    if not program.has_cell or program.graph.axes != (TIME,):
        return None
    sizes = {size.name: SIZE for size in program.sizes.values() if size.default is None}
    read = min(_reading(name) for _ in range(rounds))
    found = {target: [_writing(program, target, sizes) for _ in range(rounds)] for target in TARGETS}
    best = {target: min(each)[0] for target, each in found.items()}
    return Row(name, read, best, {target: each[0][1] for target, each in found.items()})


def _reading(name: str) -> float:
    begin = process_time()
    lsrl.load(name)
    return round((process_time() - begin) * 1e3, 1)


def _writing(program: Program, target: str, sizes: Mapping[str, int]) -> tuple[float, int]:
    begin = process_time()
    text = write_program(program, target, sizes)
    return round((process_time() - begin) * 1e3, 1), text.source.count("\n")


def start(rounds: int) -> float:
    """Milliseconds of a process that compiles one program."""
    words = [sys.executable, "-m", "lsrl", "compile", "std/gru", "--target", "triton", "--set", "D=8", "--set", "H=8"]

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return round(min(once() for _ in range(rounds)) * 1e3, 1)


def table(rows: list[Row]) -> Iterator[str]:
    """The slowest first."""
    width = max(len(row.program) for row in rows)
    yield f"{'program':<{width}}  {'read':>6}" + "".join(f"  {target:>6}  {'lines':>6}" for target in TARGETS)
    for row in sorted(rows, key=lambda row: -max(row.targets.values())):
        cells = "".join(f"  {row.targets[target]:6.0f}  {row.lines[target]:6}" for target in TARGETS)
        yield f"{row.program:<{width}}  {row.read:6.1f}{cells}"
    for target in TARGETS:
        whole = [row.read + row.targets[target] for row in rows]
        quick = sum(each < 100 for each in whole)
        yield f"{target}: median {statistics.median(whole):.0f} ms, {quick} of {len(whole)} under 100 ms"


def main() -> None:
    """Measure, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", action="append", help="only this one; may be given several times")
    parser.add_argument("-o", type=Path, default=HERE / "results" / "compile_time.json")
    given = parser.parse_args()
    lsrl.load("std/gru")  # the grammar, once
    names = given.program or library()
    rows = [row for name in names if (row := measured(name, given.rounds)) is not None]
    for line in table(rows):
        print(line)
    whole = start(given.rounds)
    print(f"a process that compiles std/gru: {whole:.0f} ms")
    if not given.program:
        found = {"machine": machine("lark", "numpy"), "start": whole, "rows": [asdict(row) for row in rows]}
        given.o.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
