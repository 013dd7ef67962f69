"""`lsrl experiment`"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import rich_click as click

from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.cli.experiment_options import (
    counted,
    dtypes_option,
    function_options,
    lengths_options,
    means_options,
    measured,
    seeds_option,
    several,
    sizes_options,
    tables_options,
    tasks_options,
)
from lsrl.icl_functions import Example
from lsrl.icl_prompts import Table
from lsrl.icl_published import CONDITIONALS
from lsrl.icl_runners import Means
from lsrl.icl_studies import Sizes, approximate_sweep, precision_sweep, scaling_sweep, tokens_sweep
from lsrl.icl_sweeps import Sweep
from lsrl.icl_tasks import DERIVED, FORMS, LEVELS, PUBLISHED, TASKS, TRAINED, Task


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
@measured
@function_options
@several("--resolution", "resolutions", click.IntRange(1), (4, 8, 16, 32), "Cells along each dimension", "N")
@counted("--queries", 256, "Random points.")
@means_options
@seeds_option
def approximate(
    function: tuple[str, Example], resolutions: Sequence[int], queries: int, means: Sequence[Means], seeds: int
) -> Sweep:
    """How far functions are approximated, by the length of the prompt, and the bound that their slopes give.

    \b
    Examples:
      lsrl experiment approximate --function rings --resolution 4 --resolution 16 -o rings
      lsrl experiment approximate --samples f.npz --arch lstm -o mine
    """
    return approximate_sweep(*function, resolutions, means, queries, seeds)


@command.command("tokens")
@measured
@tables_options
@means_options
@seeds_option
def tokens(tables: Mapping[str, Callable[[int], Table]], means: Sequence[Means], seeds: int) -> Sweep:
    """How many tokens of a table of words come out wrong.

    \b
    Examples:
      lsrl experiment tokens --words capitals.csv --arch lstm -o capitals
      lsrl experiment tokens --tokens 10 --pairs 20 --seeds 3 --arch rnn -o random
    """
    return tokens_sweep(tables, means, seeds)


@command.command("noise")
@measured
@several("--program", "programs", click.Choice(list(TASKS)), tuple(TASKS), "What is asked")
@tasks_options
@several(
    "--form",
    "forms",
    click.Choice([DERIVED, *FORMS, *TRAINED, *ARCHITECTURES]),
    (*PUBLISHED, DERIVED),
    f"{DERIVED}; published or mild and one of {', '.join(CONDITIONALS)}; {', '.join(TRAINED)}; or an architecture",
    "FORM",
)
@several("--level", "levels", click.FloatRange(0), LEVELS, "Standard deviation of the noise")
@counted("--seeds", 25, "How many seeds: 0 … N-1.")
@dtypes_option("float64")
@click.option("--alone", is_flag=True, help="Also without teacher forcing: errors add up over time.")
def noise(
    programs: Sequence[str],
    tasks: Mapping[str, Task],
    forms: Sequence[str],
    levels: Sequence[float],
    seeds: int,
    dtypes: Sequence[str],
    alone: bool,
) -> Sweep:
    """How wrong programs get when every number of their networks is noisy.

    The published protocol: 25 seeds, 20 pairs of words of 10 tokens and 5 queries, or 64 cells and 10 queries; every
    state is given its clean last value; float64. `derived` has constants that its ranges give; `published` ones are as
    published, and `mild` ones as small as they can be; `trained` ones start as derived and are trained under noise,
    which takes minutes unless words are short. Of an architecture the weights are perturbed, in its state dict.

    \b
    Examples:
      lsrl experiment noise --program tok2tok --seeds 5 -o noise
      lsrl experiment noise --program tok2tok --tokens 2 --pairs 5 --form derived --form "trained at 0.003" --alone -o n
      lsrl experiment noise --form derived --form rnn --alone --dtype float32 --dtype bfloat16 -o noise
    """
    from lsrl.icl_noise import noise_sweep  # loads torch

    taught = (True, False) if alone else (True,)
    return noise_sweep(programs, forms, levels, seeds, taught=taught, dtypes=dtypes, tasks=tasks)


@command.command("precision")
@measured
@function_options
@counted("--resolution", 32, "Cells along each dimension.")
@sizes_options
@means_options
@seeds_option
def precision(
    function: tuple[str, Example], resolution: int, sizes: Sizes, means: Sequence[Means], seeds: int
) -> Sweep:
    """How far both programs are from what they should say, by the type of floats.

    \b
    Examples:
      lsrl experiment precision --arch rnn --arch lstm --dtype float32 --dtype bfloat16 -o precision
    """
    return precision_sweep(*function, resolution, sizes, means, seeds)


@command.command("scaling")
@measured
@lengths_options
@counted("--batch", 256, "Queries at a time.")
@means_options
def scaling(sizes: Sequence[Sizes], batch: int, means: Sequence[Means]) -> Sweep:
    """How large token matching gets, how long it takes to compile, and how many positions a second it reads.

    \b
    Examples:
      lsrl experiment scaling --tokens 3 --tokens 10 --arch rnn --arch linear-rnn -o scaling
    """
    return scaling_sweep(sizes, batch, means)
