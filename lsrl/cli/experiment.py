"""`lsrl experiment`"""

from __future__ import annotations

import zlib
from pathlib import Path

import rich_click as click

from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.cli.experiment_options import (
    arch_option,
    dtype_option,
    function_options,
    length_option,
    output_option,
    seeds_option,
    table_options,
)
from lsrl.cli.options import file_option
from lsrl.cli.terminal import counting
from lsrl.icl_functions import EXAMPLES, Example, sampled_function, words_of_file
from lsrl.icl_prompts import Table
from lsrl.icl_studies import Sizes, all_means, approximate_sweep, precision_sweep, scaling_sweep, tokens_sweep
from lsrl.icl_sweeps import Sweep, run_sweep
from lsrl.icl_tasks import DERIVED, FORMS, LEVELS, PUBLISHED, TASKS


@click.group("experiment")
def command() -> None:
    """Approximate functions in context, and see what it takes.

    The program or network is fixed; what it computes stands in its prompt (Petrov et al., 2024). Every experiment
    writes its numbers as CSV, a page in Markdown and HTML, and figures as SVG, into the folder that `-o` names. One
    that is interrupted, or asked for more, goes on from the numbers that are there.

    \b
    Examples:
      lsrl experiment approximate --function wave --resolution 8 --resolution 32 --arch lstm -o wave
      lsrl experiment tokens --words capitals.csv --arch rnn --arch gru -o capitals
      lsrl experiment noise --program tok2tok --seeds 5 -o noise
    """


@command.command("approximate")
@function_options
@click.option(
    "--resolution",
    "resolutions",
    multiple=True,
    default=(4, 8, 16, 32),
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Cells along each dimension; may be repeated.",
)
@click.option("--queries", default=256, show_default=True, type=click.IntRange(1), metavar="N", help="Random points.")
@arch_option
@dtype_option
@seeds_option
@output_option
def approximate(
    named: str,
    samples: Path | None,
    resolutions: tuple[int, ...],
    queries: int,
    archs: tuple[str, ...],
    dtypes: tuple[str, ...],
    seeds: int,
    output: Path,
) -> None:
    """How far functions are approximated, by the length of the prompt, and the bound that their slopes give.

    \b
    Examples:
      lsrl experiment approximate --function rings --resolution 4 --resolution 16 -o rings
      lsrl experiment approximate --samples f.npz --arch lstm -o mine
    """
    name, example = _function(named, samples)
    _finish(approximate_sweep(name, example, resolutions, all_means(archs, dtypes), queries, seeds), output)


@command.command("tokens")
@file_option("--words", help="A table: a CSV file of keys and values, words of one length.")
@length_option
@table_options
@arch_option
@dtype_option
@seeds_option
@output_option
def tokens(
    words: Path | None,
    tokens: int,
    pairs: int,
    vocabulary: int,
    archs: tuple[str, ...],
    dtypes: tuple[str, ...],
    seeds: int,
    output: Path,
) -> None:
    """How many tokens of a table of words come out wrong.

    \b
    Examples:
      lsrl experiment tokens --words capitals.csv --arch lstm -o capitals
      lsrl experiment tokens --tokens 10 --pairs 20 --seeds 3 --arch rnn -o random
    """
    if words is None:
        sizes = Sizes(tokens, pairs, vocabulary)
        tables = {str(sizes): sizes.table}
    else:
        fixed = Table(dict(words_of_file(words).items()))
        tables = {_file_name(words): lambda seed: fixed}
    _finish(tokens_sweep(tables, all_means(archs, dtypes), seeds), output)


@command.command("noise")
@click.option(
    "--program",
    "programs",
    multiple=True,
    type=click.Choice(list(TASKS)),
    default=tuple(TASKS),
    show_default=True,
    help="What is asked; may be repeated.",
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice([DERIVED, *FORMS, *ARCHITECTURES]),
    default=(*PUBLISHED, DERIVED),
    show_default=True,
    help="How it is written, or the network whose weights are perturbed; may be repeated.",
)
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.FloatRange(0),
    default=LEVELS,
    show_default=True,
    help="Standard deviation of the noise; may be repeated.",
)
@click.option(
    "--seeds", default=25, show_default=True, type=click.IntRange(1), metavar="N", help="How many seeds: 0 … N-1."
)
@click.option(
    "--dtype",
    default="float64",
    show_default=True,
    type=click.Choice(["float64", "float32"]),
    help="The type of floats.",
)
@click.option("--alone", is_flag=True, help="Also without teacher forcing: errors add up over time.")
@output_option
def noise(
    programs: tuple[str, ...],
    forms: tuple[str, ...],
    levels: tuple[float, ...],
    seeds: int,
    dtype: str,
    alone: bool,
    output: Path,
) -> None:
    """How wrong programs get when every number of their networks is noisy.

    The published protocol: 25 seeds, 20 pairs of words of 10 tokens and 5 queries, or 64 cells and 10 queries; every
    state is given its clean last value. `derived` has constants that its ranges give; `published` ones are as
    published, and `mild` ones as small as they can be.

    \b
    Examples:
      lsrl experiment noise --program tok2tok --seeds 5 -o noise
      lsrl experiment noise --form derived --form rnn --alone -o noise
    """
    from lsrl.icl_noise import noise_sweep  # loads torch

    taught = (True, False) if alone else (True,)
    _finish(noise_sweep(programs, forms, levels, seeds, taught=taught, dtype=dtype), output)


@command.command("precision")
@function_options
@click.option("--resolution", default=32, show_default=True, type=click.IntRange(1), metavar="N", help="Cells.")
@length_option
@table_options
@arch_option
@dtype_option
@seeds_option
@output_option
def precision(
    named: str,
    samples: Path | None,
    resolution: int,
    tokens: int,
    pairs: int,
    vocabulary: int,
    archs: tuple[str, ...],
    dtypes: tuple[str, ...],
    seeds: int,
    output: Path,
) -> None:
    """How far both programs are from what they should say, by the type of floats.

    \b
    Examples:
      lsrl experiment precision --arch rnn --arch lstm --dtype float32 --dtype bfloat16 -o precision
    """
    name, example = _function(named, samples)
    sizes = Sizes(tokens, pairs, vocabulary)
    _finish(precision_sweep(name, example, resolution, sizes, all_means(archs, dtypes), seeds), output)


@command.command("scaling")
@click.option(
    "--tokens",
    "lengths",
    multiple=True,
    default=(2, 3, 10),
    show_default=True,
    type=click.IntRange(1),
    metavar="T",
    help="Tokens of a word; may be repeated.",
)
@table_options
@click.option("--batch", default=256, show_default=True, type=click.IntRange(1), metavar="N", help="Queries at a time.")
@arch_option
@dtype_option
@output_option
def scaling(
    lengths: tuple[int, ...],
    pairs: int,
    vocabulary: int,
    batch: int,
    archs: tuple[str, ...],
    dtypes: tuple[str, ...],
    output: Path,
) -> None:
    """How large token matching gets, how long it takes to compile, and how many positions a second it reads.

    \b
    Examples:
      lsrl experiment scaling --tokens 3 --tokens 10 --arch rnn --arch linear-rnn -o scaling
    """
    _finish(scaling_sweep(lengths, pairs, vocabulary, batch, all_means(archs, dtypes)), output)


def _function(named: str, samples: Path | None) -> tuple[str, Example]:
    return (named, EXAMPLES[named]) if samples is None else (_file_name(samples), sampled_function(samples))


def _file_name(path: Path) -> str:
    """With a checksum, so that results of a file that changed are not taken for its own."""
    return f"{path.name} {zlib.crc32(path.read_bytes()):08x}"


def _finish(sweep: Sweep, output: Path) -> None:
    """Measure what is missing, and write the pages."""
    from lsrl.icl_reports import REPORTS, write_report  # loads matplotlib

    with counting(f"measuring {sweep.name}") as tell:
        rows = run_sweep(sweep, output / f"{sweep.name}.csv", tell)
    report = REPORTS[sweep.name](rows)
    write_report(report, output)
    click.echo(f"{report.text()}\n\n{output}: {sweep.name}.csv, report.md, report.html")
