"""Sweeps of experiments: settings measured one after the other, kept as CSV, taken up again where they were left."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsrl.files import write_text
from lsrl.ir.fault import Refusal

Entry = str | int | float
Row = Mapping[str, Entry]
Told = Callable[[int, int], None]
"""Is told how many of how many rows are there."""


class SweepError(Refusal):
    """Results that belong to something else."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is measured.

    Attributes:
        name: of the experiment.
        settings: what one measurement is of, a compiled network say.
        draws: what is measured of each, levels and seeds say, all at once.
        measured: the columns that a measurement fills.
        measure: numbers by column for each of some draws of a setting, in order, in as many parts as are kept apart.
    """

    name: str
    settings: tuple[Row, ...]
    draws: tuple[Row, ...]
    measured: tuple[str, ...]
    measure: Callable[[Row, Sequence[Row]], Iterable[Sequence[Row]]]

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that say what a row is of."""
        return (*self.settings[0], *self.draws[0])

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.keys, *self.measured)


def run_sweep(sweep: Sweep, path: Path, tell: Told = lambda done, total: None) -> tuple[Row, ...]:
    """All rows of a sweep; those that a file has already are taken from it.

    The file is written anew after every part of a measurement, so that what is interrupted goes on from there.  Rows
    are in the order of the sweep; those that the sweep has not stay in the file, at its end.

    Raises:
        SweepError: the file has other columns.
    """
    kept = read_rows(path, sweep.columns) if path.exists() else ()
    found = {_key(row, sweep.keys): row for row in kept}
    asked = [_key({**setting, **draw}, sweep.keys) for setting in sweep.settings for draw in sweep.draws]
    places = {key: place for place, key in enumerate(asked)}
    wanted = [(setting, _missing(sweep, setting, found)) for setting in sweep.settings]
    total = len(asked)
    done = total - sum(len(missing) for _, missing in wanted)
    tell(done, total)
    for setting, missing in wanted:
        for rows in _measured(sweep, setting, missing):
            found |= {_key(row, sweep.keys): row for row in rows}
            ordered = sorted(found, key=lambda key: places.get(key, total))
            write_text(path, _text(sweep.columns, [found[key] for key in ordered]))
            done += len(rows)
            tell(done, total)
    return tuple(found[key] for key in asked)


def _missing(sweep: Sweep, setting: Row, found: Container[tuple[str, ...]]) -> list[Row]:
    """The draws of a setting that are not there yet."""
    return [draw for draw in sweep.draws if _key({**setting, **draw}, sweep.keys) not in found]


def _measured(sweep: Sweep, setting: Row, missing: Sequence[Row]) -> Iterator[list[Row]]:
    """Whole rows for the missing draws of a setting."""
    draws = iter(missing)
    for part in sweep.measure(setting, missing) if missing else ():
        yield [{**setting, **next(draws), **row} for row in part]


def read_rows(path: Path, columns: Sequence[str]) -> tuple[Row, ...]:
    """The rows of a file, numbers as numbers.

    Raises:
        SweepError: it is no CSV, or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise SweepError(f"{path}: not a CSV file in UTF-8 ({fault})") from fault
    if header != list(columns):
        raise SweepError(f"{path}: columns are {', '.join(header) or 'none'}; expected {', '.join(columns)}")
    for number, line in enumerate(lines, 2):
        if len(line) != len(columns):
            raise SweepError(f"{path}:{number}: {len(line)} entries, expected {len(columns)}")
    return tuple({name: _entry(text) for name, text in zip(columns, line)} for line in lines)


def grouped(rows: Sequence[Row], *names: str) -> Iterator[tuple[tuple[Entry, ...], list[Row]]]:
    """Rows that agree in some columns, in the order in which they come first."""
    groups: dict[tuple[Entry, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    yield from groups.items()


def number(row: Row, name: str) -> float:
    """A measured number.

    Raises:
        SweepError: a file had something else there.
    """
    entry = row[name]
    if isinstance(entry, str):
        raise SweepError(f"{name} is a number, not {entry!r}")
    return float(entry)


def _key(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """As a file has it."""
    return tuple(str(row[name]) for name in names)


def _text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _entry(text: str) -> Entry:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
