"""Options that several experiments share, and what they are turned into before an experiment is given them."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import reduce, wraps
from pathlib import Path
from typing import Any, cast

import rich_click as click

from lsrl.cli.options import enable_double, file_option
from lsrl.cli.terminal import counting
from lsrl.icl_functions import EXAMPLES, Example, sampled_function, words_of_file
from lsrl.icl_prompts import Table
from lsrl.icl_runners import NARROW, Means
from lsrl.icl_studies import ANSWERING, PROGRAM, Sizes, all_means
from lsrl.icl_sweeps import Row, Sweep, run_sweep
from lsrl.icl_tasks import Approximating, Task, Translating

Command = Callable[..., Sweep]
Added = Callable[[Command], Command]


def gathered(name: str, make: Callable[..., object], *options: Callable[[Command], Command]) -> Added:
    """Options from which a function makes one argument of the command; they are called as the function's own."""
    own = tuple(inspect.signature(make).parameters)

    def add(command: Command) -> Command:
        @wraps(command)
        def called(**given: Any) -> Sweep:
            made = make(**{each: given.pop(each) for each in own})
            return command(**{name: made}, **given)

        return reduce(lambda above, option: option(above), reversed(options), cast(Command, called))

    return add


def counted(flag: str, default: int, says: str, name: str = "N") -> Added:
    """An option that takes a number from 1 on."""
    return click.option(flag, default=default, show_default=True, type=click.IntRange(1), metavar=name, help=says)


def several(
    flag: str, name: str, kind: click.ParamType[Any], default: tuple[object, ...], says: str, metavar: str | None = None
) -> Added:
    """An option that may be repeated; what is said twice counts once."""
    return click.option(
        flag,
        name,
        multiple=True,
        type=kind,
        default=default,
        show_default=True,
        metavar=metavar,
        help=f"{says}; may be repeated.",
        callback=lambda ctx, param, given: tuple(dict.fromkeys(given)),
    )


def _means(archs: tuple[str, ...], dtypes: tuple[str, ...]) -> tuple[Means, ...]:
    made = all_means(archs, dtypes)
    for means in made:
        if means.arch is None:
            enable_double(means.target, means.dtype)
    return made


def _function(named: str, samples: Path | None) -> tuple[str, Example]:
    return (named, EXAMPLES[named]) if samples is None else (_file_name(samples), sampled_function(samples))


def _tables(words: Path | None, tokens: int, pairs: int, vocabulary: int) -> Mapping[str, Callable[[int], Table]]:
    if words is None:
        sizes = Sizes(tokens, pairs, vocabulary)
        return {str(sizes): sizes.table}
    fixed = Table(dict(words_of_file(words).items()))
    return {_file_name(words): lambda seed: fixed}


def _sizes(lengths: tuple[int, ...], pairs: int, vocabulary: int) -> tuple[Sizes, ...]:
    return tuple(Sizes(tokens, pairs, vocabulary) for tokens in lengths)


def _tasks(tokens: int, pairs: int, vocabulary: int, resolution: int) -> Mapping[str, Task]:
    words = Translating(tokens, pairs, vocabulary, queries=min(pairs, Translating().queries))
    return {"tok2tok": words, "vec2vec": Approximating(resolution)}


def _file_name(path: Path) -> str:
    """With a checksum, so that results of a file that changed are not taken for its own."""
    return f"{path.name} {zlib.crc32(path.read_bytes()):08x}"


_TOKENS = counted("--tokens", 3, "Tokens of a word.", "T")
_PAIRS = counted("--pairs", 20, "Words in a table.")
_VOCABULARY = counted("--vocabulary", 10, "Kinds of tokens.")


def dtypes_option(default: str) -> Added:
    """`--dtype`"""
    kinds = click.Choice(["float64", "float32", *NARROW])
    return several("--dtype", "dtypes", kinds, (default,), "The type of floats")


seeds_option = counted("--seeds", 1, "How many seeds: 0 … N-1.")
means_options = gathered(
    "means",
    _means,
    several(
        "--arch",
        "archs",
        click.Choice(list(ANSWERING)),
        (PROGRAM,),
        "What answers: the program itself, on the reference, JAX or Triton, as published, or a compiled network",
    ),
    dtypes_option("float32"),
)
function_options = gathered(
    "function",
    _function,
    click.option(
        "--function", "named", type=click.Choice(list(EXAMPLES)), default="wave", show_default=True, help="By name."
    ),
    file_option("--samples", help="Samples of a function instead: values, lower and upper."),
)
tables_options = gathered(
    "tables",
    _tables,
    file_option("--words", help="A table: a CSV file of keys and values, words of one length."),
    _TOKENS,
    _PAIRS,
    _VOCABULARY,
)
sizes_options = gathered("sizes", Sizes, _TOKENS, _PAIRS, _VOCABULARY)
lengths_options = gathered(
    "sizes",
    _sizes,
    several("--tokens", "lengths", click.IntRange(1), (2, 3, 10), "Tokens of a word", "T"),
    _PAIRS,
    _VOCABULARY,
)

tasks_options = gathered(
    "tasks",
    _tasks,
    counted("--tokens", 10, "Tokens of a word.", "T"),
    _PAIRS,
    _VOCABULARY,
    counted("--resolution", 8, "Cells along both dimensions."),
)

_output_option = click.option(
    "-o", "output", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Where to."
)
_parquet_option = click.option("--parquet", is_flag=True, help="Write the numbers as Parquet too; needs pyarrow.")


def measured(command: Command) -> Callable[..., None]:
    """A command that measures what is missing of the sweep that it makes, and writes numbers, pages and figures."""

    @wraps(command)
    def called(output: Path, parquet: bool, **given: Any) -> None:
        from lsrl.icl_reports import REPORTS, write_report  # loads matplotlib

        sweep = command(**given)
        write_numbers = _parquet_writer() if parquet else None
        with counting(f"measuring {sweep.name}") as tell:
            rows = run_sweep(sweep, output / f"{sweep.name}.csv", tell)
        report = REPORTS[sweep.name](rows)
        write_report(report, output)
        files = [f"{sweep.name}.csv", "report.md", "report.html"]
        if write_numbers is not None:
            files.insert(1, f"{sweep.name}.parquet")
            write_numbers(rows, sweep.columns, output / files[1])
        click.echo(f"{report.text()}\n\n{output}: {', '.join(files)}")

    return _output_option(_parquet_option(called))


def _parquet_writer() -> Callable[[Sequence[Row], Sequence[str], Path], None]:
    """Asked for before anything is measured, since pyarrow may be missing."""
    from lsrl.icl_parquet import write_parquet

    return write_parquet
