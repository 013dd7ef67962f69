"""The library's catalogue as the table of its tests makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import lsrl
from lsrl.catalog import Check, Entry, described, parts
from lsrl.loader import library
from support.exact_programs import PROGRAMS
from support.peers.row import Row, measure
from support.peers.table import FAMILIES, ROWS

EXACT = "Exact programs"


def entries() -> Iterator[Entry]:
    """Every program of the library, without the errors of its checks, family by family."""
    for family, rows in FAMILIES.items():
        programs = dict.fromkeys(row.name for row in rows)
        yield from (entry(family, [row for row in rows if row.name == name]) for name in programs)
    yield from (described(name, EXACT, lsrl.load(name), sizes) for name, sizes in sorted(PROGRAMS.items()))
    known = {row.name for row in ROWS} | set(PROGRAMS)
    yield from (parts(name, lsrl.load(name)) for name in library() if name not in known)


def entry(family: str, rows: list[Row]) -> Entry:
    """The entry of a program that these rows are about."""
    name, sizes = rows[0].name, rows[0].sizes
    checks = tuple(Check(row.reference, 0.0, 0.0, row.slip) for row in rows)
    return replace(described(name, family, lsrl.load(name), sizes), checks=checks)


def measured(entry: Entry) -> Entry:
    """The entry with the errors that its rows have here."""
    errors = [measure(row) for row in ROWS if row.name == entry.name]
    pairs = zip(entry.checks, errors, strict=True)
    return replace(entry, checks=tuple(replace(c, values=e.values, gradients=e.gradients) for c, e in pairs))
