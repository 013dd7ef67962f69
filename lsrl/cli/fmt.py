"""`lsrl fmt`"""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from lsrl import diagnostics
from lsrl.cli.status import FAULT, FINE
from lsrl.cli.terminal import colour_on
from lsrl.files import write_text
from lsrl.format import format_program
from lsrl.ir.span import LsrlError
from lsrl.parser import parse_file

STDIN = Path("-")


@click.command("fmt")
@click.argument("progs", metavar="PROG…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit with 1 where a file would change.")
def command(progs: tuple[Path, ...], only_check: bool) -> int:
    """Print programs in the canonical layout.

    Files are rewritten in place, comments stay; what a program means never changes. `-` reads a program from standard
    input and prints it. A file with a syntax error is left as it is.

    \b
    Examples:
      lsrl fmt mingru.lsrl cells/*.lsrl
      lsrl fmt --check *.lsrl            for continuous integration
      lsrl fmt - < mingru.lsrl           for editors
    """
    faults = 0
    for path in progs:
        try:
            faults += _filter() if path == STDIN else _format(path, only_check)
        except LsrlError as error:
            sys.stderr.write(diagnostics.render(error.diagnostics, colour=colour_on(sys.stderr)))
            faults += 1
    return FAULT if faults else FINE


def _filter() -> bool:
    click.echo(format_program(parse_file(Path("/dev/stdin"), "<stdin>")), nl=False)
    return False


def _format(path: Path, only_check: bool) -> bool:
    """Format one file, or say that it is not formatted; True for the latter."""
    program = parse_file(path)
    formatted = format_program(program)
    if formatted.encode() == path.read_bytes():
        return False
    if only_check:
        click.echo(f"{path} would change")
        return True
    write_text(path, formatted)
    click.echo(f"{path} is formatted", err=True)
    return False
