"""`lsrl graph`"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lsrl.cli.options import SizedCommand, file_option, program_argument, sizes_option
from lsrl.draw import FORMATS, draw
from lsrl.files import write_text
from lsrl.program import load


@click.command("graph", cls=SizedCommand)
@program_argument
@sizes_option
@file_option("-o", "--output", required=True, help="Where to: .svg, .dot (Graphviz) or .mmd (Mermaid).")
def command(prog: str, cell: str | None, sizes: dict[str, int], output: Path) -> None:
    """Draw a program: its named values, and which states a recurrence carries back.

    Sizes matter only to programs that `repeat`; without them a `repeat` is drawn once.

    \b
    Examples:
      lsrl graph mingru.lsrl -o mingru.svg
      lsrl graph std/lstm -o lstm.mmd    for Markdown pages
    """
    format = output.suffix.removeprefix(".")
    if format not in FORMATS:
        raise click.BadParameter(f"the name must end in .{', .'.join(FORMATS)}", param_hint="-o")
    write_text(output, draw(load(prog, cell).cell(sizes), format))
