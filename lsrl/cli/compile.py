"""`lsrl compile`"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lsrl.cli.compile_weights import ARCHITECTURES, WeightsRequest, write_weights
from lsrl.cli.options import (
    SizedCommand,
    device_option,
    dtype_option,
    file_option,
    program_argument,
    schedule_option,
    sizes_option,
    target_choice,
)
from lsrl.compiling import Written, write_program
from lsrl.files import write_text
from lsrl.program import load

SUFFIXES = {"jax": "_jax.py", "triton": "_triton.py", "cpu": "_cpu.py", "reference": ".txt"}


_targets = click.Choice([*target_choice.choices, "weights"])


@click.command("compile", cls=SizedCommand)
@program_argument
@click.option("--target", required=True, type=_targets, help="What to write the module for.")
@click.option("--arch", type=click.Choice(ARCHITECTURES), help="For weights: the network that is to hold the program.")
@sizes_option
@schedule_option
@dtype_option
@device_option
@click.option("--batch", type=click.IntRange(1), metavar="N", help="What auto reckons with.  [default: 8]")
@click.option("--length", type=click.IntRange(0), metavar="N", help="What auto reckons with.  [default: 1024]")
@click.option("--no-grad", is_flag=True, help="Leave the backward pass out of the module.")
@file_option("--params", help="For weights: numbers of the parameters; those that are missing are drawn.")
@click.option("--given", multiple=True, metavar="RANGE", help="For weights: what an input is between, x=-1:1.")
@click.option(
    "--horizon", type=click.IntRange(1), metavar="N", help="For weights: the most positions.  [default: 4096]"
)
@click.option(
    "--gate-scale",
    type=click.FloatRange(1),
    metavar="K",
    help="For weights that are to be trained, 8 to 14: gates are sigmoid(±K), not saturated, at the cost of an error.",
)
@file_option("--html", help="For weights: draw every value, from the network and from the reference, as a heat map.")
@file_option("--inputs", help="For --html: the sequence, the first of a batch.  [default: a random one]")
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR/",
    help="Where to write it, instead of standard output. For weights: a folder, or an ONNX model, FILE.onnx.",
)
def command(
    prog: str,
    cell: str | None,
    target: str,
    arch: str | None,
    sizes: dict[str, int],
    schedule: str,
    dtype: str | None,
    device: str | None,
    batch: int | None,
    length: int | None,
    no_grad: bool,
    params: Path | None,
    given: tuple[str, ...],
    horizon: int | None,
    gate_scale: float | None,
    html: Path | None,
    inputs: Path | None,
    output: str | None,
) -> None:
    """Write a standalone module that runs a program.

    It imports jax, or torch and triton, and nothing of lsrl, so it can be copied into any project; the module of the
    target cpu imports torch, and carries its loops in C, which the system's compiler makes at first use. It has the
    functions init, initial_state, apply (whole sequences) and step (one position), with arrays by name and batch
    first. Batch and length stay free; sizes are fixed. The target reference gives the graph that the reference
    interprets. The target weights gives a folder with the weights of a network that computes what an exact program
    does, and a load.py that needs torch alone; or, where the name ends in .onnx, the network as an ONNX model.

    \b
    Examples:
      lsrl compile std/gru --target jax --set D=64 H=128 -o gru_jax.py
      lsrl compile mingru.lsrl --target triton --set D=64 H=128 --dtype bfloat16 -o build/
      lsrl compile mingru.lsrl --target jax --set D=4 H=4 | less
      lsrl compile std/exact/majority --target weights --arch lstm -o majority_lstm
      lsrl compile std/exact/majority --target weights --arch lstm -o majority.onnx
      lsrl compile std/exact/majority --target weights --arch lstm --html majority.html -o majority_lstm
    """
    program = load(prog, cell)
    if target == "weights":
        request = WeightsRequest(arch, sizes, params, dtype, given, horizon, gate_scale, html, inputs, output)
        click.echo(write_weights(program, request), err=True)
        return
    if arch or params or given or horizon or gate_scale or html or inputs:
        options = "--arch, --params, --given, --horizon, --gate-scale, --html and --inputs"
        raise click.UsageError(f"{options} are for --target weights")
    written = write_program(program, target, sizes, schedule, dtype, device, batch, length, gradients=not no_grad)
    if output is None:
        click.echo(written.source, nl=False)
        return
    path = _path(output, written)
    write_text(path, written.source)
    click.echo(f"{path}: {written.cell.name} for {target}, {_summary(written)}", err=True)


def _path(output: str, written: Written) -> Path:
    """The file itself, or one named after the program in a directory (which `build/` names, existing or not)."""
    path = Path(output)
    is_folder = output.endswith("/") or path.is_dir()
    return path / f"{written.cell.name}{SUFFIXES[written.target]}" if is_folder else path


def _summary(written: Written) -> str:
    sizes = ", ".join(f"{name}={number}" for name, number in written.sizes.items())
    return ", ".join(part for part in (written.dtype, sizes, f"schedule {written.schedule}") if part)
