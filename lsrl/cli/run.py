"""`lsrl run`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import rich_click as click
from rich_click import Context

from lsrl.array_files import read_arrays, write_arrays
from lsrl.backends.arrays import Array
from lsrl.backends.initialise import init_params
from lsrl.backends.result import Gradients, Result
from lsrl.cli.options import (
    SizedCommand,
    dtype_option,
    enable_double,
    file_option,
    program_argument,
    schedule_option,
    sizes_option,
    target_choice,
)
from lsrl.cli.terminal import working
from lsrl.compiled import METHODS, Compiled
from lsrl.compiling import compile_program
from lsrl.program import load
from lsrl.sizes import infer_sizes
from lsrl.stages import EXACT

Arrays = dict[str, Array]


class RunCommand(SizedCommand):
    """`--grad` alone is `--grad=reverse`, whatever follows it."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, name_method(args))


def name_method(words: Sequence[str]) -> list[str]:
    """The words with the method of every `--grad` written out."""
    named: list[str] = []
    for word in words:
        if word in METHODS and named[-1:] == ["--grad=reverse"]:
            named[-1] = f"--grad={word}"
        else:
            named.append("--grad=reverse" if word == "--grad" else word)
    return named


@click.command("run", cls=RunCommand)
@program_argument
@file_option("--inputs", help="Inputs by name, [B, T, …].")
@file_option("--params", help="Parameters by name; nested ones are dotted, layers.0.Wz.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Draws parameters, where there is no --params, and noise.",
)
@file_option("--state", help="Initial states by name, [B, …]; missing ones start as the program says.")
@click.option("--target", default="reference", show_default=True, type=target_choice, help="What runs it.")
@sizes_option
@schedule_option
@dtype_option
@click.option(
    "--grad",
    type=click.Choice(METHODS),
    help="Write gradients too: in reverse, or forward by real-time recurrent learning (rtrl).",
)
@file_option("--cotangents", help="Weights of outputs (by name) and final states (state.NAME) in what is derived.")
@click.option("--batch", type=click.IntRange(0), metavar="N", help="For programs without inputs.")
@click.option("--length", type=click.IntRange(0), metavar="N", help="For programs without inputs.")
@file_option("-o", "--output", required=True, help="Where results go: .npz or .safetensors.")
def command(
    prog: str,
    cell: str | None,
    inputs: Path | None,
    params: Path | None,
    seed: int,
    state: Path | None,
    target: str,
    sizes: dict[str, int],
    schedule: str,
    dtype: str | None,
    grad: str | None,
    cotangents: Path | None,
    batch: int | None,
    length: int | None,
    output: Path,
) -> None:
    """Run a program on arrays from files.

    Arrays are read from .npz or .safetensors files. Results are the outputs by name, final states as state.NAME and,
    with --grad, gradients as grad.NAME (inputs and parameters) and grad.state.NAME (initial states): those of the sum
    of all outputs, or of what --cotangents weighs. --grad rtrl computes them forward, without those of inputs, in
    memory that does not grow with the length; it is for element-wise recurrences. Sizes that are not set follow from
    the arrays. 16-bit results are written as float32, exact ones (--dtype exact: rational numbers, no rounding on the
    way) as float64.

    \b
    Examples:
      lsrl run std/gru --inputs in.npz --set H=16 --seed 0 -o out.npz
      lsrl run std/gru --inputs in.npz --params gru.safetensors --target jax -o out.npz
      lsrl run std/gru --inputs in.npz --params gru.npz --grad --cotangents c.npz -o grads.npz
    """
    if cotangents and not grad:
        raise click.UsageError("--cotangents weighs gradients: it needs --grad")
    program = load(prog, cell)
    given = {name: read_arrays(path) if path else {} for name, path in (("x", inputs), ("p", params), ("s", state))}
    graph, bound = program.bind(infer_sizes(program.graph, sizes, given["p"], given["x"], given["s"]))
    weights = given["p"] if params else init_params(graph, bound, seed)
    enable_double(target, dtype)
    with working(f"compiling {program.name} for {target}"):
        compiled = compile_program(program, target, bound, schedule, dtype)
    arrays = weights, given["x"], given["s"]
    with working(f"running {program.name}"):
        result = compiled(*arrays, seed=seed, batch=batch, length=length)
    found = dict(_results(compiled, result))
    for line in (*_told(compiled, result), *_rounded(compiled, result)):
        click.echo(line, err=True)
    if grad:
        weighed = read_arrays(cotangents) if cotangents else None
        with working(f"deriving {program.name}"):
            gradients = compiled.gradients(*arrays, weighed, method=grad, seed=seed, batch=batch, length=length)
            found |= dict(_gradients(compiled, gradients))
    write_arrays(output, found)
    click.echo(f"{output}: {', '.join(f'{name} {list(array.shape)}' for name, array in found.items())}", err=True)


def _results(compiled: Compiled, result: Result) -> Iterator[tuple[str, Array]]:
    """Outputs by name, final states as `state.NAME`."""
    to_numpy = compiled.engine.to_numpy
    yield from ((name, to_numpy(array)) for name, array in result.outputs.items())
    yield from ((f"state.{name}", to_numpy(array)) for name, array in result.state.items())


def _told(compiled: Compiled, result: Result) -> Iterator[str]:
    """How recurrences ran that tell of it: `h: 5 iterations at most, 0.2 of lanes step by step, residual 3e-08`."""
    for names, each in result.statistics.items():
        told = {word: compiled.engine.to_numpy(array) for word, array in each.items()}
        turns, share = told["iterations"].max(initial=0), told["fallback"].mean() if told["fallback"].size else 0.0
        residual = told["residual"].max(initial=0.0)
        clauses = f"{turns} iterations at most", f"{share:.3g} of lanes step by step", f"residual {residual:.1g}"
        yield f"{names}: {', '.join(clauses)}"


def _rounded(compiled: Compiled, result: Result) -> Iterator[str]:
    """Which exact results a file of floats does not hold: `y: 3 of 12 elements were rounded to float64`."""
    arrays = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
    for name, array in arrays.items():
        if compiled.dtype == EXACT:
            moved = sum(exact != written for exact, written in zip(array.flat, compiled.engine.to_numpy(array).flat))
            if moved:
                yield f"{name}: {moved} of {array.size} elements were rounded to float64"


def _gradients(compiled: Compiled, gradients: Gradients) -> Iterator[tuple[str, Array]]:
    """Gradients of inputs and parameters as `grad.NAME`, of initial states as `grad.state.NAME`."""
    to_numpy = compiled.engine.to_numpy
    for arrays, prefix in ((gradients.inputs, ""), (gradients.params, ""), (gradients.state, "state.")):
        yield from ((f"grad.{prefix}{name}", to_numpy(array)) for name, array in arrays.items())
