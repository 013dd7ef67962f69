"""`lsrl tune`"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lsrl.bench import SECONDS, measure, place_of, table
from lsrl.cli.options import (
    SizedCommand,
    dtype_choice,
    enable_double,
    file_option,
    module_choice,
    program_argument,
    sizes_option,
)
from lsrl.cli.terminal import working
from lsrl.ir.schedules.how import parse_how
from lsrl.program import load
from lsrl.tuning import Setting, keep


@click.command("tune", cls=SizedCommand)
@program_argument
@sizes_option
@click.option("--target", default="jax", show_default=True, type=module_choice, help="What runs it.")
@click.option("--dtype", default="float32", show_default=True, type=dtype_choice, help="The type of floats.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1), metavar="N", help="Sequences at a time.")
@click.option(
    "--length", default=1024, show_default=True, type=click.IntRange(1), metavar="N", help="Positions; nodes."
)
@file_option("--graph", help="What a program over a graph runs on: `edges`, and `turns`.  [default: a random graph]")
@click.option(
    "--schedule", "schedules", multiple=True, metavar="SCHEDULE", help="Only this one, chunk(64) say; may be repeated."
)
@click.option("--seconds", default=SECONDS, show_default=True, metavar="S", help="For each schedule, about.")
def command(
    prog: str,
    cell: str | None,
    sizes: dict[str, int],
    target: str,
    dtype: str,
    batch: int,
    length: int,
    graph: Path | None,
    schedules: tuple[str, ...],
    seconds: float,
) -> None:
    """Measure every legal schedule of a program and keep the fastest.

    `--schedule tuned` then takes it, for this program, these sizes, this target and machine, and for batches and
    lengths between the same powers of two; over a graph the length is the number of nodes. It is kept below
    $XDG_CACHE_HOME/lsrl, ~/.cache/lsrl by default.

    \b
    Examples:
      lsrl tune std/gla --set N=4 K=64 V=64 --batch 2 --length 2048
      lsrl compile std/gla --target jax --set N=4 K=64 V=64 --schedule tuned --batch 2 --length 3000
    """
    program = load(prog, cell)
    bound_cell, bound = program.bind(sizes)
    place = place_of(bound_cell, graph, length)
    setting, hows = Setting(target, dtype, bound, batch, place.length), tuple(map(parse_how, schedules)) or None
    enable_double(target, dtype)
    with working(f"measuring {program.name}"):
        rows = measure(program, setting, hows, seconds, place.graph)
    kept = keep(bound_cell, setting, rows[0].schedule)
    click.echo(f"{table(rows, setting, place.words)}\n\n{kept.schedule} is kept in {kept.path}")
