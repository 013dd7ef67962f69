"""The page about which network holds which exact program, computed as `lsrl explain --arch all` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lsrl.backends.given_ranges import read_given
from lsrl.backends.initialise import init_params
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.loader import library
from lsrl.program import load
from lsrl.weights_table import Row, weights_table

WITHIN: Mapping[str, tuple[str, ...]] = {
    "std/exact/sort": ("x=-8:8:1",),
    "std/exact/vec2vec": ("low=0:1:1/64", "high=0:1:1/64", "value=-4:4:1/4"),
}
"""The ranges of inputs of real numbers, as `--given` takes them."""

LENGTH = 512

HEAD = f"""\
# Programs and architectures

Every exact program of the library as the [weights](weights.md) of every network: depth × width, and the number of
parameters. Where nothing else is said a network is exact, in float32 and in float64, on sequences of up to {LENGTH}
positions; a dash is a program that the architecture does not hold, for the reason that is given below. Sizes are the
programs' defaults. `lsrl explain PROGRAM --arch all --horizon N` computes a row for other lengths: `mamba` and `hawk`,
whose states are float32 in either type, are the first of which exactness cannot be shown any more.

"""


def weights_page() -> str:
    """The table, then what was assumed, then every reason."""
    names = [name for name in library() if name.startswith("std/exact/")]
    found = {name: _rows(name) for name in names}
    table = [_line(["", *(f"`{name}`" for name in ARCHITECTURES)]), _line(["---"] * (1 + len(ARCHITECTURES)))]
    table += [_line([f"`{name}`", *map(_entry, rows)]) for name, rows in found.items()]
    ranges = [f"* `{name}`: `{' '.join(WITHIN[name])}`" for name in names if name in WITHIN]
    assumed = ["## Ranges of inputs", "", "Inputs that are real numbers lie on a grid:", "", *ranges]
    reasons = ["## Why not", "", *(line for name, rows in found.items() for line in _reasons(name, rows))]
    return HEAD + "\n".join([*table, "", *assumed, "", *reasons, ""])


def _rows(name: str) -> tuple[Row, ...]:
    cell, sizes = load(name).bind()
    given = read_given(WITHIN.get(name, ()))
    return weights_table(cell, sizes, init_params(cell, sizes), given, LENGTH, tuple(ARCHITECTURES))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _entry(row: Row) -> str:
    """The size of a network, and its bounds where it is not exact."""
    if row.obstacle is not None:
        return "–"
    size = f"{row.depth} × {row.width}, {row.parameters:,}"
    return size if row.exact else f"{size}, {row.exactness}"


def _reasons(name: str, rows: Sequence[Row]) -> Iterator[str]:
    """What is not held, with the architectures that do not hold it."""
    refused: dict[str, list[str]] = {}
    for row in rows:
        if row.obstacle is not None:
            refused.setdefault(row.obstacle, []).append(f"`{row.architecture}`")
    for reason, architectures in refused.items():
        yield f"* `{name}` in {', '.join(architectures)}: {reason}"
