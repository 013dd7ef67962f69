"""`lsrl verify`"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict

import rich_click as click

from lsrl.cli.options import (
    SizedCommand,
    dtype_choice,
    enable_double,
    json_option,
    program_argument,
    sizes_option,
)
from lsrl.cli.status import FAULT, FINE
from lsrl.cli.terminal import working
from lsrl.ir.schedules.how import parse_how
from lsrl.program import load
from lsrl.stress import TOLERANCES as STRESS_TOLERANCES
from lsrl.stress import stressed
from lsrl.verify import BATCH, DTYPES, LENGTH, TARGETS, TOLERANCES, case, verify
from lsrl.verify_text import table


@click.command("verify", cls=SizedCommand)
@program_argument
@sizes_option
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    metavar="SCHEDULE",
    help="Only this one, chunk(64) say; may be repeated.  [default: every legal one]",
)
@click.option(
    "--target", "targets", multiple=True, type=click.Choice(TARGETS), help="Only this one.  [default: all three]"
)
@click.option("--dtype", "dtypes", multiple=True, type=dtype_choice, help="Only this one.  [default: all but float16]")
@click.option("--batch", default=BATCH, show_default=True, type=click.IntRange(1), metavar="N", help="Sequences.")
@click.option("--length", default=LENGTH, show_default=True, type=click.IntRange(0), metavar="N", help="Positions.")
@click.option("--stress", is_flag=True, help="Gates at extremes, e^-40 beside 1 and 0; 5e-5 is allowed in float32.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Draws the arrays.")
@json_option
def command(
    prog: str,
    cell: str | None,
    sizes: dict[str, int],
    schedules: tuple[str, ...],
    targets: tuple[str, ...],
    dtypes: tuple[str, ...],
    batch: int,
    length: int,
    stress: bool,
    seed: int,
    as_json: bool,
) -> int:
    """Hold every legal schedule of a program against the reference.

    Random parameters, inputs, initial states and weights of what is derived; outputs, final states and all gradients,
    in JAX, in PyTorch without kernels, with Triton kernels on a GPU or, where there is none, interpreted, and with
    loops in C (cpu). Errors are relative RMS, the largest of all arrays; 1e-10 is allowed in float64, 1e-5 in float32,
    1e-2 in 16 bits. The exit status is 1 when one is larger. Sizes that are neither given nor have a default are small.

    \b
    Examples:
      lsrl verify std/gla
      lsrl verify mine.lsrl --schedule scan --schedule newton --target jax --length 300
    """
    _prepare(targets or TARGETS)
    drawn = case(load(prog, cell), sizes, batch, length, seed)
    given = stressed(drawn, seed) if stress else drawn
    hows = tuple(map(parse_how, schedules)) or None
    with working(f"verifying {given.program.name}"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*plain PyTorch form")  # that is what `torch` is there for
        allowed = STRESS_TOLERANCES if stress else TOLERANCES
        rows = list(verify(given, targets or TARGETS, dtypes or DTYPES, hows, allowed))
    click.echo(json.dumps([asdict(row) for row in rows], indent=2) if as_json else table(rows))
    return FINE if all(row.holds for row in rows) else FAULT


def _prepare(targets: Sequence[str]) -> None:
    """What frameworks read when they are first imported: JAX has float64 on request only, Triton interprets so too."""
    if "triton" in targets and not _has_gpu():
        os.environ["TRITON_INTERPRET"] = "1"
    enable_double("jax" if "jax" in targets else "", "float64")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
