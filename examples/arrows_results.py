"""The metrics of arrows.py, as tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A model after so many steps of training.

    Attributes:
        loss: the mean over the steps since the last row.
        trained_size, larger_size: shares of unseen images told right, of the size trained on and of the larger one.
    """

    model: str
    seed: int
    step: int
    loss: float
    trained_size: float
    larger_size: float


def write_rows(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows({**asdict(row), "loss": f"{row.loss:.5f}"} for row in rows)


def read_rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [
            Row(model, int(seed), int(step), *map(float, shares))
            for model, seed, step, *shares in list(csv.reader(file))[1:]
        ]
