"""The rows of `lsrl verify` as text."""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.verify import Row

HEADER = ("schedule", "target", "dtype", "outputs", "final states", "gradients", "allowed", "")


def table(rows: Sequence[Row]) -> str:
    """A line for each row, and a verdict below."""
    cells = [HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([*lines, "", _summary(rows)])


def _cells(row: Row) -> tuple[str, ...]:
    errors = (_error(row.outputs), _error(row.state), _error(row.gradients))
    return row.schedule, row.target, row.dtype, *errors, _error(row.tolerance), "" if row.holds else f"MISS {row.worst}"


def _error(number: float) -> str:
    return f"{number:.1e}" if number else "0"


def _summary(rows: Sequence[Row]) -> str:
    missed = sum(not row.holds for row in rows)
    if missed:
        return f"{missed} of {len(rows)} differ from the reference by more than is allowed (relative RMS)"
    return f"all {len(rows)} agree with the reference (relative RMS)"
