"""`lsrl bench`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import rich_click as click

from lsrl.bench import SECONDS, measure, place_of, table
from lsrl.cli.options import (
    SizedCommand,
    dtype_choice,
    enable_double,
    file_option,
    json_option,
    module_choice,
    program_argument,
    sizes_option,
)
from lsrl.cli.terminal import working
from lsrl.ir.schedules.how import parse_how
from lsrl.program import load
from lsrl.tuning import Setting


@click.command("bench", cls=SizedCommand)
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
@json_option
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
    as_json: bool,
) -> None:
    """Measure every legal schedule of a program on this machine.

    Random arrays; the time of a run, and of a run with all gradients, medians with quartiles, taken in turns so that
    a busy machine slows all alike. The fastest in training comes first. On a GPU the Triton target runs there.
    A program over a graph runs on a random one with so many nodes as --length says, or on that of --graph.

    \b
    Examples:
      lsrl bench std/gla --set N=4 K=64 V=64 --batch 2 --length 2048
      lsrl bench mine.lsrl --schedule scan --schedule sequential --target triton
    """
    program = load(prog, cell)
    bound_cell, bound = program.bind(sizes)
    place = place_of(bound_cell, graph, length)
    setting, hows = Setting(target, dtype, bound, batch, place.length), tuple(map(parse_how, schedules)) or None
    enable_double(target, dtype)
    with working(f"measuring {program.name}"):
        rows = measure(program, setting, hows, seconds, place.graph)
    click.echo(json.dumps([asdict(row) for row in rows], indent=2) if as_json else table(rows, setting, place.words))
