"""`lsrl list`"""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import rich_click as click

from lsrl.catalog import Check, Entry, Recurrence, catalog
from lsrl.cli.options import json_option

DETAILED = 12  # matches that are shown with all that is known of them


@click.command("list")
@click.argument("search", nargs=-1)
@json_option
def command(search: tuple[str, ...], as_json: bool) -> None:
    """List the library: what each program is, and how it compiles.

    With SEARCH only the programs that have all these words in their name, description, source, inputs, kind of
    recurrence, schedules or reference. A few are shown with all that is known about them.

    \b
    Examples:
      lsrl list
      lsrl list gru
      lsrl list diagonal newton          what Newton's method can run
      lsrl list titans                   programs of a paper, or of an author
      lsrl explain std/gru               how one of them runs
    """
    entries = [entry for entry in catalog() if entry.matches(" ".join(search))]
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    if not entries:
        click.echo(f"nothing in the library has `{' '.join(search)}` in it")
        return
    short = len(entries) > DETAILED
    click.echo("\n".join(_short(entries) if short else _long(entries)))


def _short(entries: Sequence[Entry]) -> Iterator[str]:
    """A line for each program, under its family."""
    width = max(len(entry.name) for entry in entries)
    room = max(shutil.get_terminal_size((120, 24)).columns - width - 4, 20)
    for family, members in groupby(entries, key=lambda entry: entry.family):
        yield click.style(family, bold=True)
        for entry in members:
            yield f"  {entry.name:<{width}}  {textwrap.shorten(entry.title, room, placeholder=' …')}"


def _long(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"{click.style(entry.name, bold=True)}  {entry.title}"
        yield f"  {entry.signature}"
        yield from (f"  {_recurrence(each)}" for each in entry.recurrences)
        yield from (f"  {_check(each)}" for each in entry.checks)


def _recurrence(found: Recurrence) -> str:
    return f"{', '.join(found.states)}: {found.kind}; {', '.join(found.schedules)}"


def _check(check: Check) -> str:
    slip = f" ({check.slip})" if check.slip else ""
    return f"agrees with {check.reference}: values {check.values:.0e}, gradients {check.gradients:.0e}{slip}"
