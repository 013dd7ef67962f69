"""`lsrl explain`"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import rich_click as click

from lsrl.backends.given_ranges import Given, read_given
from lsrl.backends.initialise import init_params
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.check_facts import check_facts
from lsrl.cli.options import (
    SizedCommand,
    device_option,
    dtype_choice,
    json_option,
    module_choice,
    program_argument,
    schedule_option,
    sizes_option,
)
from lsrl.cli.status import FAULT, FINE
from lsrl.explain import Setting, explain
from lsrl.explain_text import checks_text, report_text
from lsrl.ir.cell import TIME, Cell
from lsrl.ir.fault import Refusal
from lsrl.program import load
from lsrl.random_arrays import small_sizes
from lsrl.range_report import range_report, range_text
from lsrl.weights_table import HORIZON, table_text, weights_table

ASSUMED = 64

_setting = partial(click.option, show_default=True)


@click.command("explain", cls=SizedCommand)
@program_argument
@sizes_option
@_setting("--batch", default=8, type=click.IntRange(1), metavar="N", help="Sequences at a time, for costs.")
@_setting("--length", default=1024, type=click.IntRange(0), metavar="N", help="Positions, for costs.")
@_setting("--target", default="jax", type=module_choice, help="Whose loops.")
@_setting("--dtype", default="float32", type=dtype_choice, help="The type of floats, for costs.")
@device_option
@schedule_option
@click.option("--check", is_flag=True, help="Hold every fact against a numerical Jacobian instead, for small sizes.")
@click.option(
    "--ranges", is_flag=True, help="Tell instead what every value is between, and how wide comparisons' gaps are."
)
@click.option(
    "--given",
    multiple=True,
    metavar="NAME=RANGE",
    help="For --ranges and --arch: what an input is between, x=-1:1, x=0:9:1 (steps of 1), x=bool or x=one_hot.",
)
@click.option("--horizon", type=click.IntRange(1), metavar="N", help="For --ranges and --arch: the longest sequence.")
@click.option(
    "--arch",
    type=click.Choice(["all", *ARCHITECTURES]),
    help="Tell instead which networks hold the program as their weights, how exactly, or why not.",
)
@json_option
def command(
    prog: str,
    cell: str | None,
    sizes: dict[str, int],
    batch: int,
    length: int,
    target: str,
    dtype: str,
    device: str | None,
    schedule: str,
    check: bool,
    ranges: bool,
    given: tuple[str, ...],
    horizon: int | None,
    arch: str | None,
    as_json: bool,
) -> int:
    """Tell how a program runs, and what it costs.

    The states and which of them feed back; for each recurrence every schedule, whether it is legal, why, and what it
    costs; what is computed for all positions at once because it needs no state; products that are made one; the loops
    that remain, statement by statement; arithmetic and traffic. Sizes that are neither given nor have a default are
    taken to be 64.

    \b
    Examples:
      lsrl explain std/gru
      lsrl explain std/gated_delta --set N=8 K=64 V=128 --batch 16 --length 4096 --dtype bfloat16
      lsrl explain std/gla --target triton --device h100
      lsrl explain mingru.lsrl --json
      lsrl explain mingru.lsrl --check
      lsrl explain std/exact/majority --ranges --horizon 1000
      lsrl explain std/exact/parity --arch all
    """
    if (given or horizon) and not (ranges or arch):
        raise click.UsageError("--given and --horizon are for --ranges and --arch")
    program = load(prog, cell)
    if check:
        return _checked(*program.bind(small_sizes(program.graph, sizes)), as_json)
    assumed = tuple(name for name, size in program.sizes.items() if name not in sizes and size.default is None)
    graph, bound = program.bind({**sizes, **dict.fromkeys(assumed, ASSUMED)})
    if ranges:
        return _ranges(graph, bound, read_given(given), horizon, as_json)
    if arch:
        return _architectures(graph, bound, read_given(given), horizon or HORIZON, arch, as_json)
    setting = Setting(target, dtype, batch, length, device)
    report = explain(graph, bound, schedule, setting, assumed)
    click.echo(json.dumps(asdict(report), indent=2, ensure_ascii=False) if as_json else report_text(report), nl=as_json)
    return FINE


def _ranges(
    cell: Cell, sizes: Mapping[str, int], given: Mapping[str, Given], horizon: int | None, as_json: bool
) -> int:
    found = range_report(cell, sizes, given, horizon)
    click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False) if as_json else range_text(found), nl=as_json)
    return FINE


def _architectures(
    cell: Cell, sizes: Mapping[str, int], given: Mapping[str, Given], horizon: int, arch: str, as_json: bool
) -> int:
    """Parameters are drawn as `lsrl compile` draws them."""
    names = list(ARCHITECTURES) if arch == "all" else [arch]
    rows = weights_table(cell, sizes, init_params(cell, sizes), given, horizon, names)
    data = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)
    click.echo(data if as_json else table_text(rows), nl=as_json)
    return FINE if any(row.obstacle is None for row in rows) else FAULT


def _checked(cell: Cell, sizes: Mapping[str, int], as_json: bool) -> int:
    """Every claim with its largest error; the exit status is 1 when one is false."""
    if cell.axes != (TIME,):
        raise Refusal(f"{cell.name} runs over {', '.join(cell.axes)}; facts are held against numbers along one axis")
    found = list(check_facts(cell, sizes))
    rows = [{**asdict(each), "holds": each.holds} for each in found]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False) if as_json else checks_text(found), nl=as_json)
    return FINE if all(each.holds for each in found) else FAULT
