"""`lsrl list`"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import rich_click as click

from lsrl.cli.options import json_option
from lsrl.ir.cell import TIME
from lsrl.ir.cell import Cell as Graph
from lsrl.ir.pipeline import components
from lsrl.loader import library
from lsrl.program import Program, load
from lsrl.syntax import Cell, Function


@dataclass(frozen=True, slots=True)
class Entry:
    """A program of the library: what it is, and how it compiles."""

    name: str
    signature: str
    about: str
    how: str


@click.command("list")
@click.argument("search", default="")
@json_option
def command(search: str, as_json: bool) -> None:
    """List the library: what each program is, and how it compiles.

    With SEARCH only the programs whose name or description has these letters.

    \b
    Examples:
      lsrl list
      lsrl list gru
      lsrl explain std/gru               all about one of them
    """
    entries = [entry for entry in map(_entry, library()) if _matches(entry, search)]
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(_lines(entries)) if entries else f"nothing in the library has `{search}` in it")


def _matches(entry: Entry, search: str) -> bool:
    return search.lower() in f"{entry.name} {entry.signature} {entry.about}".lower()


def _entry(name: str) -> Entry:
    program = load(name)
    if not program.has_cell or program.name != name.rpartition("/")[2]:
        file = program.loaded.program
        names = [item.name.id for item in file.items if isinstance(item, Function | Cell)]
        return Entry(name, ", ".join(names), _title(file.doc or ""), "to be imported by programs that use them")
    return Entry(name, _signature(program), _title(program.doc), _how(program.graph))


def _signature(program: Program) -> str:
    inputs = ", ".join(f"{name}: {declared!r}" for name, declared in program.inputs.items())
    outputs = ", ".join(f"{name}: {declared!r}" for name, declared in program.outputs.items())
    return f"({', '.join(map(repr, program.sizes.values()))}) {inputs} -> {outputs}"


def _how(cell: Graph) -> str:
    recurrences = [part for part in components(cell) if part.cyclic]
    if cell.axes != (TIME,):
        return f"over {', '.join(cell.axes)}; reference only"
    parts = [" and ".join(state.name for state in part.states) for part in recurrences]
    return f"{_counted(parts)}; jax, triton" if parts else "no recurrence; jax, triton"


def _counted(parts: Sequence[str]) -> str:
    word = "recurrence" if len(parts) == 1 else "recurrences"
    return f"{len(parts)} {word}: {'; '.join(parts)}"


def _title(doc: str) -> str:
    return doc.strip().partition("\n")[0]


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        yield f"{click.style(f'{entry.name:<{width}}', bold=True)}  {entry.about}"
        yield f"{'':<{width}}  {entry.signature}"
        yield f"{'':<{width}}  {entry.how}"
