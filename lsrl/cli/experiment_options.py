"""Options that several experiments share."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.cli.options import Decorated, file_option
from lsrl.icl_functions import EXAMPLES
from lsrl.icl_runners import NARROW
from lsrl.icl_studies import PROGRAM

output_option = click.option(
    "-o", "output", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Where to."
)
arch_option = click.option(
    "--arch",
    "archs",
    multiple=True,
    type=click.Choice([PROGRAM, *ARCHITECTURES]),
    default=(PROGRAM,),
    show_default=True,
    help="What answers: the program itself or a compiled network; may be repeated.",
)
dtype_option = click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(["float64", "float32", *NARROW]),
    default=("float32",),
    show_default=True,
    help="The type of floats; may be repeated.",
)
seeds_option = click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1), metavar="N", help="How many seeds: 0 … N-1."
)


def function_options(decorated: Decorated) -> Decorated:
    """`--function` and `--samples`."""
    named = click.option(
        "--function", "named", type=click.Choice(list(EXAMPLES)), default="wave", show_default=True, help="By name."
    )
    return named(file_option("--samples", help="Samples of a function instead: values, lower and upper.")(decorated))


def table_options(decorated: Decorated) -> Decorated:
    """`--pairs` and `--vocabulary` of random words."""
    pairs = click.option("--pairs", default=20, show_default=True, type=click.IntRange(1), help="Words in a table.")
    many = click.option("--vocabulary", default=10, show_default=True, type=click.IntRange(1), help="Kinds of tokens.")
    return pairs(many(decorated))


length_option = click.option(
    "--tokens", default=3, show_default=True, type=click.IntRange(1), metavar="T", help="Tokens of a word."
)
