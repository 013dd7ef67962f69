"""Measured choices, kept for later: which schedule was fastest for a program on this machine.

A choice is kept for a program's graph, sizes, target, precision and machine, and for a bucket of batches and of
lengths, [2^n, 2^(n+1)), never for one length: a module serves them all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lsrl.files import write_text
from lsrl.ir import text
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.measure import machine

TUNED = "tuned"
_FOLDER = "lsrl/tuned"


class TuningError(Refusal):
    """A measured choice that nobody has measured."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured.

    Attributes:
        sizes: the number of every size.
    """

    target: str
    dtype: str
    sizes: Mapping[str, int]
    batch: int
    length: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A choice and where it is kept."""

    schedule: str
    path: Path


def bucket(number: int) -> int:
    """The power of two at or below a number; 0 for 0."""
    return 1 << (number.bit_length() - 1) if number else 0


def keep(cell: Cell, setting: Setting, schedule: str) -> Kept:
    """Remember the fastest schedule."""
    path = _path(cell, setting)
    write_text(path, json.dumps({"program": cell.name, "schedule": schedule}, indent=1) + "\n")
    return Kept(schedule, path)


def tuned(cell: Cell, setting: Setting) -> str:
    """The schedule that was fastest when it was measured.

    Raises:
        TuningError: it was not measured for such a batch and length.
    """
    path = _path(cell, setting)
    if not path.is_file():
        raise TuningError(
            f"{cell.name} has not been tuned for {setting.target}, {setting.dtype}, batches from "
            f"{bucket(setting.batch)} and lengths from {bucket(setting.length)} on; `lsrl tune` does that"
        )
    return str(json.loads(path.read_text())["schedule"])


def _path(cell: Cell, setting: Setting) -> Path:
    sizes = sorted(setting.sizes.items())
    buckets = bucket(setting.batch), bucket(setting.length)
    words = [text.show(cell), sizes, setting.target, setting.dtype, buckets, _machine(setting.target)]
    name = sha256(repr(words).encode()).hexdigest()[:24]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / _FOLDER / f"{cell.name}-{name}.json"


def _machine(target: str) -> str:
    """What runs it: a GPU by its name, else the processor."""
    if target == "triton":
        import torch

        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
    found = machine()
    return f"{found['processor']}, {found['cores']} cores"
