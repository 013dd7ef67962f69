"""Exact programs, one sequence at a time and in batches: ours beside the original interpreter.

    python tests/benchmarks/exact.py [--quick] [--original CHECKOUT --original-python PYTHON] [-o FILE.json]

CHECKOUT is one of https://github.com/AleksandarPetrov/LSRL; PYTHON has sympy 1.12 and parameterized, which it needs
(see `original_lsrl.py`).  It runs its own program of the same map, one sequence at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from families import Family, Missing, Row, Work
from running import run
from ways import FORWARD, Arrays, Layer, Way
from weights_speed import original, prompts

MATCHER, BRACKETS = "std/exact/tok2tok", "std/exact/dyck"
LENGTH = prompts(1)[0].shape[1]
ORIGINAL = "the original interpreter"
INPUTS = {"std/exact/adder": ("a", "b")}
"""Of zeros and ones, where there are others than x."""
OUTPUTS = {MATCHER: "y", BRACKETS: "balanced", "std/exact/parity": "odd", "std/exact/adder": "digit"}


def _row(program: str, batch: int, length: int, **more: object) -> Row:
    name = f"{program.rpartition('/')[2]}, B={batch}, T={length}"
    return Row(name, program, batch, length, {}, output=OUTPUTS[program], **more)  # type: ignore[arg-type]


ROWS = (
    _row(MATCHER, 1, LENGTH, peers=(ORIGINAL,)),
    _row(MATCHER, 256, LENGTH, peers=(ORIGINAL,)),
    *(_row(f"std/exact/{name}", batch, 1024) for name in ("parity", "adder", "dyck") for batch in (1, 256)),
    _row("std/exact/parity", 4, 128, quick=True),
)


def draw(row: Row) -> tuple[Arrays, Arrays]:
    """Tokens; for the matcher queries and dictionaries that have them, for brackets each opened and closed."""
    if row.program == MATCHER:
        return {}, {"x": prompts(row.batch)[0].astype(np.int32)}
    rng = np.random.default_rng(0)
    shape = (row.batch, row.length)
    if row.program == BRACKETS:
        kinds = rng.integers(0, 2, (row.batch, row.length // 2), dtype=np.int32)
        return {}, {"token": np.stack([kinds, kinds + 2], -1).reshape(shape)}
    names = INPUTS.get(row.program, ("x",))
    return {}, {name: rng.integers(0, 2, shape, dtype=np.int32) for name in names}


def work(row: Row) -> Mapping[str, Work]:
    """A token read and a number written at each position, one after the other."""
    unit = 4 * row.batch * row.length
    return {FORWARD: Work((1 + len(INPUTS.get(row.program, ("x",)))) * unit, 0, row.length)}


def peers(row: Row) -> Iterator[Way | Layer | Missing]:
    """None that runs in this process."""
    if ORIGINAL in row.peers:
        yield Missing(ORIGINAL, "no checkout was given")


def elsewhere(checkout: Path, python: str, row: Row) -> Mapping[str, float]:
    """Seconds that the original takes for the tokens of a row, one sequence after the other."""
    if ORIGINAL not in row.peers:
        return {}
    found = _rates(checkout, python)
    tokens = row.batch * row.length
    return {f"{ORIGINAL}, {kind}": tokens / found[kind] for kind in ("as written", "simplified")}


@cache
def _rates(checkout: Path, python: str) -> Mapping[str, float]:
    """Tokens per second; once for all rows."""
    return original(checkout, python)


FAMILY = Family(
    name="exact",
    about="exact programs beside the original interpreter",
    rows=ROWS,
    draw=draw,
    peers=peers,
    work=work,
    passes=(FORWARD,),
)


def main() -> None:
    """The command, with the original where there is one."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--original", type=Path)
    parser.add_argument("--original-python", default="python3")
    given, words = parser.parse_known_args()
    if given.original is None:
        run(FAMILY, words)
        return
    foreign = partial(elsewhere, given.original, given.original_python)
    run(replace(FAMILY, peers=lambda row: iter(()), elsewhere=foreign), words)


if __name__ == "__main__":
    main()
