"""`lsrl tex`"""

from __future__ import annotations

import rich_click as click

from lsrl.cli.options import program_argument
from lsrl.program import load


@click.command("tex")
@program_argument
def command(prog: str, cell: str | None) -> None:
    """Print the equations of a program as LaTeX.

    One row for each line of the step, in an `aligned` environment of amsmath, to go into a paper. A state that arrives
    has the position before as its index; used cells and functions are named, not written out.

    \b
    Examples:
      lsrl tex mingru.lsrl
      lsrl tex std/counters --cell modulo_counter
    """
    click.echo(load(prog, cell).equations(), nl=False)
