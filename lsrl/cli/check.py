"""`lsrl check`"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import rich_click as click

from lsrl import diagnostics, elaborate, types_report
from lsrl.cli.options import ProgramName, json_option
from lsrl.cli.status import FAULT, FINE
from lsrl.cli.terminal import colour_on
from lsrl.ir.span import Diagnostic, LsrlError
from lsrl.loader import Loaded, load_source
from lsrl.syntax import Cell, Function
from lsrl.types_report import TypedLine

Types = Mapping[str, Sequence[TypedLine]]


@click.command("check")
@click.argument("prog", type=ProgramName())
@click.option("--types", is_flag=True, help="Show shape and kind of every named value beside its line.")
@json_option
def command(prog: str, types: bool, as_json: bool) -> int:
    """Find every mistake of a program, or show its shapes.

    Shapes and kinds are checked for all sizes at once, so no number is needed. All mistakes are listed, each with its
    place and, where one is likely, a remedy. The exit status is 1 when there is an error; warnings do not count.

    \b
    Examples:
      lsrl check mingru.lsrl
      lsrl check std/gru --types
      lsrl check mingru.lsrl --json      a list of diagnostics, for editors
    """
    found, reports = _checked(prog)
    if found is None:
        _report(reports, as_json, None)
        return FAULT
    if types:
        _report(reports, as_json, _types(found))
    else:
        _report(reports, as_json, None)
        if not as_json:
            click.echo(_summary(found))
    return FINE


def _checked(prog: str) -> tuple[Loaded | None, Sequence[Diagnostic]]:
    """The program, None when there is an error, and everything there is to say about it."""
    try:
        found = load_source(prog)
        reports = elaborate.check(found.program, loader=found.loader)
    except LsrlError as error:
        return None, error.diagnostics
    return (None if any(report.severity == "error" for report in reports) else found), reports


def _report(reports: Sequence[Diagnostic], as_json: bool, types: Types | None) -> None:
    if not as_json:
        sys.stderr.write(diagnostics.render(reports, colour=colour_on(sys.stderr)))
        click.echo("\n".join(_table(name, lines) for name, lines in (types or {}).items()), nl=False)
    elif types is None:
        click.echo(diagnostics.to_json(reports))
    else:
        fields = {
            "diagnostics": [diagnostics.as_fields(report) for report in reports],
            "types": {name: [asdict(line) for line in lines] for name, lines in types.items()},
        }
        click.echo(json.dumps(fields, indent=2, ensure_ascii=False))


def _types(found: Loaded) -> Types:
    """For each cell of the file the lines that define its values."""
    program = found.program
    cells = [item.name.id for item in program.items if isinstance(item, Cell)]
    graphs = {name: elaborate.elaborate(program, cell=name, loader=found.loader) for name in cells}
    return {name: types_report.typed_lines(graph, program.source) for name, graph in graphs.items()}


def _table(name: str, lines: Sequence[TypedLine]) -> str:
    return f"{click.style(name, bold=True)}\n{types_report.text(lines)}"


def _summary(found: Loaded) -> str:
    """`mingru.lsrl: ok, cell mingru(D, H)`"""
    cells, functions = [], []
    for item in found.program.items:
        match item:
            case Cell(name=name, sizes=sizes):
                cells.append(f"{name.id}({', '.join(size.name for size in sizes)})")
            case Function(name=name):
                functions.append(name.id)
            case _:
                pass
    parts = [f"{_counted('cell', cells)}"] if cells else []
    parts += [_counted("function", functions)] if functions else []
    return f"{found.program.source.name}: ok, {'; '.join(parts) or 'nothing in it'}"


def _counted(word: str, names: Sequence[str]) -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {', '.join(names)}"
